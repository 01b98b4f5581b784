"""Recordings through a model: several at once, each as it would be judged alone, a bad one no end of the others."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Event
from typing import Protocol

from batcache.device import use_one_thread
from batcache.errors import AudioError
from batcache.inference.bag_scores import BagScores
from batcache.inference.recordings.framed import LONGEST_HELD, Framed
from batcache.inference.recordings.journal import Scored
from batcache.storage.ahead import map_ahead
from batcache.store.build.compute import FrameMaker


class Judge(Protocol):
    """A model that is ready to score: a network of torch's, or an ONNX file."""

    recordings_at_once: int
    """How many go through the network together."""

    def front_end(self) -> FrameMaker:
        """What makes the frames that it takes."""

    def threads(self, workers: int) -> int:
        """How many batches it scores at a time, where there are so many workers."""

    def score(self, batch: Sequence[Framed], check: Callable[[], None]) -> list[BagScores]:
        """Score recordings; ``check`` is called before each read, and raises where nobody waits any more.

        Raises:
            RunError: the model's scores are not finite.
        """


@dataclass(frozen=True)
class Rejected:
    """A recording that could not be turned into frames, and why."""

    name: str
    reason: str


class _StoppedError(Exception):
    """Nobody waits for the scores any more."""


def judge(model: Judge, recordings: Iterable[Framed], workers: int) -> Generator[Scored | Rejected, None, None]:
    """Score recordings in order, ``workers`` of them at a time on a CPU, batches of them on a GPU.

    On a CPU a recording's numbers do not depend on the others, on a GPU but for rounding. Left before its end, as by
    Ctrl-C, it drops those that it is at, however long they are.

    Raises:
        RunError: the model's scores are not finite.
        StoreError: damage, where the frames come from a store.
    """
    at_once, stopped = model.threads(workers), Event()
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(at_once, initializer=use_one_thread))
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        stack.callback(stopped.set)
        batches = _batches(recordings, model.recordings_at_once)
        for judged in map_ahead(pool, lambda batch: _judge_batch(model, batch, stopped), batches, at_once + 1):
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


def _judge_batch(model: Judge, batch: list[Framed], stopped: Event) -> list[Scored | Rejected]:
    def check() -> None:
        if stopped.is_set():
            raise _StoppedError

    try:
        scores = model.score(batch, check)
        return [_scored(framed, said) for framed, said in zip(batch, scores, strict=True)]
    except AudioError as error:
        (alone,) = batch
        return [Rejected(alone.name, error.reason)]


def _scored(framed: Framed, said: BagScores) -> Scored:
    """What is kept of a recording whose instances were all taken."""
    row, meter = framed.finish(), framed.meter
    return Scored.of(row, said, *(() if meter is None else (meter.pulses, meter.finish())))
