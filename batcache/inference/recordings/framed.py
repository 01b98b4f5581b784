"""Recordings as a model takes them: instances in order, whether their frames are computed now or lie in a store.

What a file becomes is decided by the code of ``build``; here its frames are cut at the model's instance length and
handed on, so that no long recording is held whole.
"""

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import groupby
from pathlib import Path

import numpy as np

from batcache.config.features import FeatureConfig
from batcache.device import use_one_thread
from batcache.errors import AudioError
from batcache.features.call_measures import CallMeter
from batcache.storage.ahead import take_ahead
from batcache.storage.memory import give_back_freed_memory
from batcache.store.build.compute import Computed, FrameMaker, Frames, compute, stream
from batcache.store.build.plan import Placed
from batcache.store.format.commit import CachedRecording
from batcache.store.reader import Store

LONGEST_HELD = 60
"""Instances. A recording that has more is never held whole."""
_BLOCKS_AHEAD = 4
_FRAMES_A_READ = 1 << 14


class Framed:
    """A recording whose instances can be taken once, in order.

    Args:
        name: of the recording, for errors.
        count: how many instances it has, the last one padded with 0.
        shape: of an instance: frames, mel bands.
        computed: its frames, and what the index says of it once all of them were taken.
        meter: counts and measures the pulses in the instances that are taken; None where its frames tell of none.
    """

    def __init__(
        self, name: str, count: int, shape: tuple[int, int], computed: Computed, meter: CallMeter | None = None
    ) -> None:
        self.name, self.count, self.shape, self.computed, self.meter = name, count, shape, computed, meter
        self._left = np.zeros((0, shape[1]), np.float16)
        self._given = 0

    def read(self, count: int) -> Frames:
        """The next instances, which are given once. Shape: ``[count, T, M]``.

        Raises:
            AudioError: see ``finish``.
        """
        if self._given and self._given % LONGEST_HELD < count:  # of a long recording
            give_back_freed_memory()
        self._given += count
        cut = np.zeros((count * self.shape[0], self.shape[1]), np.float16)
        done = 0
        while done < len(cut):
            if not len(self._left):
                block = next(self.computed.frames, None)
                if block is None:
                    self.finish()
                    break
                self._left = block
            taken = self._left[: len(cut) - done]
            cut[done : done + len(taken)] = taken
            self._left = self._left[len(taken) :]
            done += len(taken)
        instances = cut.reshape(count, *self.shape)
        if self.meter is not None:
            self.meter.add(instances)
        return instances

    def finish(self) -> CachedRecording:
        """What the index says of the recording. Frames that were not read yet are dropped.

        Raises:
            AudioError: its samples could not all be turned into frames.
        """
        for _ in self.computed.frames:
            pass
        row = self.computed.row
        assert row is not None, "frames taken to their end leave a row"
        if row.failure:
            raise AudioError(self.name, row.failure)
        return row


def compute_framed(
    recordings: Iterable[Placed], root: Path, front_end: FrameMaker, workers: int, frames_per_instance: int
) -> Generator[Framed, None, None]:
    """Yield files in order, as instances of ``frames_per_instance``; threads compute ahead of whoever takes them."""
    shape, features = (frames_per_instance, front_end.config.n_mels), front_end.config
    for is_long, some in groupby(recordings, key=lambda placed: placed.instances > LONGEST_HELD):
        if is_long:
            for placed in some:
                computed = stream(placed, root, front_end)
                computed.frames = _in_a_thread(computed.frames)
                yield Framed(placed.file.path, placed.instances, shape, computed, _meter_of(features))
        else:
            with closing(compute(some, root, front_end, workers)) as whole:
                for computed in whole:
                    row = computed.row
                    assert row is not None, "what is held whole has its row"
                    yield Framed(row.path, row.instances, shape, computed, _meter_of(features))


def read_framed(
    store: Store, rows: Iterable[CachedRecording], frames_per_instance: int
) -> Generator[Framed, None, None]:
    """Yield recordings of a store, cut at another length than the store's where it asks for one.

    Raises:
        StoreError: damage, when they are read.
    """
    shape = frames_per_instance, store.layout.n_mels
    for row in rows:
        count = max(1, -(-row.frames // frames_per_instance))
        yield Framed(row.path, count, shape, Computed(_frames_of(store, row), row), _meter_of(store.features))


def _meter_of(features: FeatureConfig) -> CallMeter | None:
    """What counts and measures pulses in PCEN frames; log-mel frames tell of none."""
    return CallMeter(features) if features.compression == "pcen" else None


def _frames_of(store: Store, row: CachedRecording) -> Iterator[Frames]:
    for start in range(0, row.frames, _FRAMES_A_READ):
        yield store.read_frames(row, start, start + _FRAMES_A_READ)


def _in_a_thread(frames: Iterator[Frames]) -> Iterator[Frames]:
    """The same frames, computed by a thread of their own."""
    pool = ThreadPoolExecutor(1, initializer=use_one_thread)
    try:
        yield from take_ahead(pool, frames, _BLOCKS_AHEAD)
    finally:
        pool.shutdown(cancel_futures=True)
