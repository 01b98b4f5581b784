"""How fast features are made: whole builds, and the mel engines alone, beside those of others."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from batcache.bench.peers import TorchaudioMel, librosa_processes, why_missing
from batcache.bench.recordings import Sample
from batcache.bench.rows import Mark, Row
from batcache.bench.timing import take_turns, threads
from batcache.config import DataConfig, FeatureConfig
from batcache.features.audio import read_blocks
from batcache.features.frontend import FrontEnd
from batcache.features.mel import ENGINES, stream_spans
from batcache.features.pcen import Pcen
from batcache.features.resample import uses_sinc
from batcache.store.build import build

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
        taken = take_turns(tasks, rounds)
    else:
        with librosa_processes(cores, sources[0], config.features) as compute:
            taken = take_turns(tasks | {_LIBROSA: lambda: compute(sources)}, rounds)
    speed = {name: len(sample) / seconds for name, seconds in taken.items()}
    section, unit = f"whole build on {cores} cores", "recordings/s"
    note = f"{sample.seconds / taken[_OURS]:,.0f} times real time"
    peers = {
        _LIBROSA: (f"librosa + soxr, {cores} processes, nothing written", missing, BUILD_MARK),
        _TORCHAUDIO: (
            "torchaudio Resample + mel, no PCEN, nothing written",
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
    """Yield a row of whole builds on a device beside whole builds on the CPU."""
    ours, cpu = Builder(sample, config, folder, device), Builder(sample, config, folder, "cpu")
    ours.warm_up()
    taken = take_turns({device: ours, "cpu": cpu}, rounds)
    yield Row(
        f"whole build on {device}",
        "WAV to committed store",
        len(sample) / taken[device],
        "recordings/s",
        f"the same on {os.cpu_count()} cores",
        len(sample) / taken["cpu"],
        note=f"{sample.seconds / taken[device]:,.0f} times real time",
    )


class Builder:
    """Builds a store anew with each call; the last one is left, as ``store``."""

    def __init__(self, sample: Sample, config: DataConfig, folder: Path, device: str) -> None:
        self.sample, self.config, self.device = sample, config, device
        self.store = folder / device / "features.zarr"

    def __call__(self) -> None:
        self._build(self.sample, self.store)

    def warm_up(self) -> None:
        self._build(self.sample.first(4), self.store.with_name("warm.zarr"))

    def _build(self, sample: Sample, store: Path) -> None:
        shutil.rmtree(store, ignore_errors=True)
        for _ in build(sample.manifest, store, self.config, self.device):
            pass


def measure_engines(sample: Sample, config: FeatureConfig, device: str, rounds: int) -> Iterator[Row]:
    """Yield a row of mel + PCEN by the front end's engine on a device beside the other: same samples, same blocks.

    On the CPU with one thread each.
    """
    front_end = FrontEnd(config, device)
    with torch.inference_mode(), threads(1):
        resampled = [list(_resample(front_end, sample, i)) for i in range(len(sample))]
        pcen = Pcen(config).to(device)
        tasks = {
            name: EngineRun(config, engine(config).to(device), pcen, resampled) for name, engine in ENGINES.items()
        }
        for task in tasks.values():
            task()
        taken = take_turns(tasks, rounds)
    ours, other = sorted(ENGINES, key=lambda name: not isinstance(front_end.mel, ENGINES[name]))
    names = {"fft": "FFT", "nnaudio": "nnAudio's convolutions"}
    where = "one thread" if device == "cpu" else device
    yield Row(
        f"mel + PCEN of resampled samples, {where}",
        names[ours],
        len(sample) / taken[ours],
        "recordings/s",
        f"{names[other]}, same PCEN",
        len(sample) / taken[other],
        mark=ENGINE_MARK if device == "cpu" else None,
        note=f"{sample.seconds / taken[ours]:,.0f} times real time",
    )


class EngineRun:
    """Mel frames by one engine, then PCEN, of recordings already resampled, in the front end's blocks."""

    def __init__(
        self, config: FeatureConfig, mel: nn.Module, pcen: Pcen, resampled: Sequence[Sequence[Tensor]]
    ) -> None:
        self.config, self.mel, self.pcen, self.resampled = config, mel, pcen, resampled

    def __call__(self) -> None:
        for blocks in self.resampled:
            self.compute(blocks)
        if blocks[0].is_cuda:
            torch.cuda.synchronize()

    def compute(self, blocks: Sequence[Tensor]) -> Tensor:
        """Shape: ``[frames, n_mels]``."""
        spans = stream_spans(blocks, self.config.n_fft, self.config.hop_length)
        return torch.cat(list(self.pcen.stream(self.mel(span) for span in spans)), 1)[0]


def _resample(front_end: FrontEnd, sample: Sample, number: int) -> Iterator[Tensor]:
    (path, rate), header = sample.sources()[number], sample.facts[number].header
    blocks = read_blocks(path, header, front_end.block_samples(rate))
    samples = (torch.from_numpy(block)[None].to(front_end.device) for block in blocks)
    floats = (block.float() / 32768 if block.dtype == torch.int16 else block for block in samples)
    yield from front_end.resample(floats, rate)


def _run_torchaudio(mel: TorchaudioMel, sources: Sequence[tuple[Path, int]], cores: int) -> None:
    with threads(cores):
        for source in sources:
            mel(source)
