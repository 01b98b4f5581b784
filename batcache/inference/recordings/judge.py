"""Recordings through a model: several at once, each as it would be judged alone, a bad one no end of the others."""

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from threading import Event

import torch
from torch import Tensor

from batcache.errors import AudioError
from batcache.inference.recordings.framed import LONGEST_HELD, Framed
from batcache.inference.recordings.journal import Scored
from batcache.inference.score import Instances, score_bags
from batcache.model.checkpoint import Model
from batcache.storage.ahead import map_ahead
from batcache.storage.memory import give_back_freed_memory

_RECORDINGS_AT_ONCE = {"cpu": 1, "cuda": 64}
"""How many go through the network together: a core is as fast with one as with several, and two cores take two."""
_INSTANCES_AT_ONCE = {"cpu": 5, "cuda": LONGEST_HELD}


@dataclass(frozen=True)
class Rejected:
    """A recording that could not be turned into frames, and why."""

    name: str
    reason: str


class _StoppedError(Exception):
    """Nobody waits for the scores any more."""


def judge(model: Model, recordings: Iterable[Framed], workers: int) -> Generator[Scored | Rejected, None, None]:
    """Score recordings in order, ``workers`` of them at a time on a CPU, batches of them on a GPU.

    On a CPU a recording's numbers do not depend on the others, on a GPU but for rounding. Left before its end, as by
    Ctrl-C, it drops those that it is at, however long they are.

    Raises:
        RunError: the model's scores are not finite.
        StoreError: damage, where the frames come from a store.
    """
    kind = next(model.parameters()).device.type
    at_once = 1 if kind == "cuda" else workers
    stopped = Event()
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(1,)))
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        stack.callback(stopped.set)
        batches = _batches(recordings, _RECORDINGS_AT_ONCE[kind])
        most = _INSTANCES_AT_ONCE[kind]
        for judged in map_ahead(pool, lambda batch: _judge_batch(model, batch, most, stopped), batches, at_once + 1):
            yield from judged


def _batches(recordings: Iterable[Framed], most: int) -> Iterator[list[Framed]]:
    """Consecutive recordings that go through the model together. One that may fail while it is read goes alone."""
    batch: list[Framed] = []
    for framed in recordings:
        row = framed.computed.row
        alone = row is None or bool(row.failure) or framed.count > LONGEST_HELD
        if batch and (alone or len(batch) == most or sum(one.count for one in batch) + framed.count > LONGEST_HELD):
            yield batch
            batch = []
        batch.append(framed)
        if alone:
            yield batch
            batch = []
    if batch:
        yield batch


def _judge_batch(model: Model, batch: list[Framed], most: int, stopped: Event) -> list[Scored | Rejected]:
    def stoppable(instances: Instances) -> Instances:
        def read(first: int, count: int) -> Tensor:
            if stopped.is_set():
                raise _StoppedError
            if first and first % LONGEST_HELD < count:  # of a long recording
                give_back_freed_memory()
            return instances.read(first, count)

        return replace(instances, read=read)

    try:
        scores = list(score_bags(model, [stoppable(framed.instances) for framed in batch], len(batch), most))
        return [Scored.of(framed.finish(), said, framed.pulses) for framed, said in zip(batch, scores, strict=True)]
    except AudioError as error:
        (alone,) = batch
        return [Rejected(alone.name, error.reason)]
