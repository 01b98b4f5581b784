"""Where the front end's time goes: the real one, with a stopwatch between its stages.

The stages are generators, each pulling from the one before. A stopwatch behind each adds up all that lies upstream; a
stage's own time is the difference of two neighbours.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batcache.bench.recordings import Sample
from batcache.bench.rows import Row
from batcache.bench.timing import threads
from batcache.config.features import FeatureConfig
from batcache.features.audio import AudioHeader, content_hash
from batcache.features.energy import BandEnergy
from batcache.features.frontend import FrontEnd
from batcache.store.format.layout import Layout
from batcache.store.format.shard import ShardWriter

T = TypeVar("T")

DECODE, COPY, RESAMPLE, MEL, COMPRESS, QUANTISE, WRITE, HASH = (
    "decode",
    "copy to the device",
    "resample",
    "mel, and energy beside the bands",
    "PCEN, or the logarithm",
    "quantise to float16",
    "checksum and write",
    "content hash",
)
STAGES = (DECODE, COPY, RESAMPLE, MEL, COMPRESS, QUANTISE)


class Stopwatch:
    """Seconds by name."""

    def __init__(self, synchronise: Callable[[], object]) -> None:
        self.spent: dict[str, float] = {}
        self.synchronise = synchronise

    def clock(self, name: str, blocks: Iterable[T]) -> Iterator[T]:
        """Pass blocks on; all the time that making them takes, upstream included, goes under ``name``."""
        iterator = iter(blocks)
        while True:
            began = time.perf_counter()
            try:
                block = next(iterator)
            except StopIteration:
                return
            finally:
                self.synchronise()
                self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - began
            yield block


class ClockedFrontEnd(FrontEnd):
    """The front end itself, with a stopwatch behind each stage."""

    def __init__(self, config: FeatureConfig, device: torch.device | str = "cpu") -> None:
        super().__init__(config, device)
        self.watch = Stopwatch(torch.cuda.synchronize if self.device.type == "cuda" else lambda: None)

    def stream(
        self, path: Path, header: AudioHeader, true_rate: int, energy: BandEnergy | None = None
    ) -> Iterator[NDArray[np.float16]]:
        """As ``FrontEnd.stream``, with the time of its last stage taken."""
        yield from self.watch.clock(QUANTISE, super().stream(path, header, true_rate, energy))

    def resample(self, blocks: Iterable[Tensor], true_rate: int) -> Iterator[Tensor]:
        """As ``FrontEnd.resample``, with its time taken."""
        upstream = self.watch.clock(DECODE, blocks)
        yield from self.watch.clock(RESAMPLE, super().resample(upstream, true_rate))

    def compress(self, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        """As ``FrontEnd.compress``, with its time taken."""
        yield from self.watch.clock(COMPRESS, super().compress(self.watch.clock(MEL, frames)))

    def _to_device(self, block: Tensor) -> Tensor:
        return next(self.watch.clock(COPY, map(super()._to_device, [block])))

    def take_times(self) -> dict[str, float]:
        """Seconds that each stage itself took since the last call."""
        total = {name: self.watch.spent.get(name, 0.0) for name in STAGES}
        self.watch.spent.clear()
        chain = [DECODE, RESAMPLE, MEL, COMPRESS, QUANTISE]
        own = {name: total[name] - total[upstream] for upstream, name in pairwise(chain)}
        return {**total, **own, DECODE: total[DECODE] - total[COPY]}


def measure_stages(
    sample: Sample, config: FeatureConfig, frames_per_instance: int, device: str, rounds: int
) -> Iterator[Row]:
    """Yield a row for each stage, on one core: recordings a second and times real time."""
    front_end = ClockedFrontEnd(config, device)
    layout = Layout(frames_per_instance, config.n_mels)
    with threads(1):
        _run(front_end, sample.first(1), layout)
        taken = [_run(front_end, sample, layout) for _ in range(rounds)]
    where = "one core" if device == "cpu" else f"one core and {device}"
    times = {name: median(t[name] for t in taken) for name in taken[0]}
    times = {f"all, {where}": sum(times.values()), **times}
    for name, seconds in times.items():
        note = f"{sample.seconds / seconds:,.0f} times real time, {1000 * seconds / len(sample):.2f} ms a recording"
        yield Row(f"front end, stage by stage, {where}", name, len(sample) / seconds, "recordings/s", note=note)


def _run(front_end: ClockedFrontEnd, sample: Sample, layout: Layout) -> dict[str, float]:
    """Compute all recordings one by one. Seconds in each stage."""
    write, hashing = 0.0, 0.0
    front_end.take_times()
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "shard").open("wb") as shard:
        writer = ShardWriter(shard, layout)
        for file in sample.files:
            path = sample.manifest.data_dir / file.path
            frames = np.concatenate(
                list(front_end.stream(path, file.header, file.true_rate, BandEnergy(front_end.config)))
            )
            began = time.perf_counter()
            for start in range(0, len(frames), layout.frames_per_instance):
                if not writer.room:
                    writer.finish()
                    writer = ShardWriter(shard, layout)
                instance = frames[start : start + layout.frames_per_instance]
                writer.append(np.pad(instance, ((0, layout.frames_per_instance - len(instance)), (0, 0))))
            write += time.perf_counter() - began
            began = time.perf_counter()
            content_hash(path, file.header)
            hashing += time.perf_counter() - began
        began = time.perf_counter()
        writer.finish()
        shard.flush()
        os.fsync(shard.fileno())
        write += time.perf_counter() - began
    return front_end.take_times() | {WRITE: write, HASH: hashing}
