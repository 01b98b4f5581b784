"""How fast features are made: whole builds, and the mel engines alone, beside those of others."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from batcache.bench.peers import TorchaudioMel, librosa_processes, why_missing
from batcache.bench.recordings import Sample
from batcache.bench.rows import Mark, Row
from batcache.bench.timing import take_turns, threads
from batcache.config.features import FeatureConfig
from batcache.config.settings import DataConfig, Engine
from batcache.features.audio import AudioHeader, read_blocks
from batcache.features.frontend import FrontEnd
from batcache.features.resample import uses_sinc
from batcache.store.build.build import build

BUILD_MARK = Mark("ratio", ">=", 3.0)
ENGINE_MARK = Mark("ratio", ">=", 4.0)
_OURS, _LIBROSA, _TORCHAUDIO = "batcache", "librosa", "torchaudio"


def measure_builds(sample: Sample, config: DataConfig, folder: Path, rounds: int) -> Iterator[Row]:
    """Yield rows of whole builds on the CPU: WAV on disk to committed shards, all cores; the last store stays."""
    cores = os.cpu_count() or 1
    sources = sample.sources()
    builder = Builder(sample, config, folder, "cpu")
    tasks: dict[str, Callable[[], object]] = {_OURS: builder}
    builder.warm_up()
    missing = why_missing(_LIBROSA)
    beyond = sorted({rate for _, rate in sources if not uses_sinc(rate, config.target_sample_rate)})
    if not beyond:
        torchaudio = TorchaudioMel(config, {rate for _, rate in sources})
        torchaudio(sources[0])
        tasks[_TORCHAUDIO] = lambda: _run_torchaudio(torchaudio, sources, cores)
    if missing:
        taken = take_turns(tasks, rounds, before={_OURS: builder.clear})
    else:
        with librosa_processes(cores, sources[0], config.features) as compute:
            tasks[_LIBROSA] = lambda: compute(sources)
            taken = take_turns(tasks, rounds, before={_OURS: builder.clear})
    speed = {name: len(sample) / seconds for name, seconds in taken.items()}
    section, unit = f"whole build on {cores} cores", "recordings/s"
    note = f"{sample.seconds / taken[_OURS]:,.0f} times real time"
    peers = {
        _LIBROSA: (f"librosa + soxr, {cores} processes, nothing written", missing, BUILD_MARK),
        _TORCHAUDIO: (
            "torchaudio Resample + mel, not compressed, nothing written",
            f"not run: {beyond[0]:,} Hz would need a huge kernel" if beyond else "",
            None,
        ),
    }
    for name, (peer, why_not, mark) in peers.items():
        yield Row(
            section,
            "WAV to committed store",
            speed[_OURS],
            unit,
            peer,
            speed.get(name),
            mark=mark,
            note=why_not or note,
        )


def measure_build_on(device: str, sample: Sample, config: DataConfig, folder: Path, rounds: int) -> Iterator[Row]:
    """Yield a row for each engine: whole builds on a device, beside whole builds on the CPU by its own engine."""
    engines: tuple[Engine, ...] = ("nnaudio", "fft")
    builders: dict[str, Builder] = {
        engine: Builder(sample, replace(config, engine=engine), folder / engine, device) for engine in engines
    }
    for builder in builders.values():
        builder.warm_up()
    tasks: dict[str, Builder] = {**builders, "cpu": Builder(sample, config, folder, "cpu")}
    taken = take_turns(tasks, rounds, before={name: builder.clear for name, builder in tasks.items()})
    for engine in engines:
        yield Row(
            f"whole build on {device}",
            f"WAV to committed store, by {engine}",
            len(sample) / taken[engine],
            "recordings/s",
            f"the same on {os.cpu_count()} cores",
            len(sample) / taken["cpu"],
            note=f"{sample.seconds / taken[engine]:,.0f} times real time",
        )


class Builder:
    """Builds a store with each call, where there is none; the last one is left, as ``store``."""

    def __init__(self, sample: Sample, config: DataConfig, folder: Path, device: str) -> None:
        self.sample, self.config, self.device = sample, config, device
        self.store = folder / device / "features.zarr"

    def __call__(self) -> None:
        """Do the measured work once."""
        self._build(self.sample, self.store)

    def clear(self) -> None:
        """Remove the store of the round before, off the clock."""
        shutil.rmtree(self.store, ignore_errors=True)

    def warm_up(self) -> None:
        """Build a few recordings first, so that nothing is compiled or imported on the clock."""
        self._build(self.sample.first(4), self.store.with_name("warm.zarr"))

    def _build(self, sample: Sample, store: Path) -> None:
        build(sample.manifest, store, self.config, self.device)


def measure_engines(sample: Sample, config: FeatureConfig, device: str, rounds: int) -> Iterator[Row]:
    """Yield a row of features of decoded samples by FFT beside nnAudio's convolutions, on a CPU with one thread."""
    sources = zip(sample.sources(), sample.files, strict=True)
    decoded = [(rate, _decode(path, file.header)) for (path, rate), file in sources]
    with threads(1):
        engines: tuple[Engine, ...] = ("fft", "nnaudio")
        runs: dict[str, EngineRun] = {
            engine: EngineRun(FrontEnd(config, device, engine), decoded) for engine in engines
        }
        for run in runs.values():
            run()
        taken = take_turns(runs, rounds)
    where = "one thread" if device == "cpu" else device
    yield Row(
        f"mel + {config.compressed_by} of decoded samples, {where}",
        "FFT",
        len(sample) / taken["fft"],
        "recordings/s",
        "nnAudio's convolutions, all else the same",
        len(sample) / taken["nnaudio"],
        mark=ENGINE_MARK if device == "cpu" else None,
        note=f"{sample.seconds / taken['fft']:,.0f} times real time",
    )


class EngineRun:
    """Features of recordings that are decoded already: each its true rate and its samples, ``[1, n]``."""

    def __init__(self, front_end: FrontEnd, decoded: Sequence[tuple[int, Tensor]]) -> None:
        self.front_end, self.decoded = front_end, decoded

    def __call__(self) -> None:
        """Do the measured work once."""
        for rate, samples in self.decoded:
            self.compute(rate, samples)
        if self.front_end.device.type == "cuda":
            torch.cuda.synchronize()

    def compute(self, rate: int, samples: Tensor) -> Tensor:
        """Shape: ``[frames, n_mels]``."""
        blocks = torch.split(samples, self.front_end.block_samples(rate), 1)
        return torch.cat(list(self.front_end.stream_batch(blocks, rate)), 1)[0]


def _decode(path: Path, header: AudioHeader) -> Tensor:
    return torch.from_numpy(np.concatenate(list(read_blocks(path, header, header.samples))))[None]


def _run_torchaudio(mel: TorchaudioMel, sources: Sequence[tuple[Path, int]], cores: int) -> None:
    with threads(cores):
        for source in sources:
            mel(source)
