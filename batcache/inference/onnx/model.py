"""An ONNX file of ours as a model that judges recordings, without torch.

Spectra are taken by FFT, at each recording's own rate, and a recording is streamed; from magnitudes on, all is done by
the functions that the file holds (see ``export``).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from batcache.config.features import FeatureConfig
from batcache.errors import ConfigError
from batcache.features.audio import AudioHeader, read_blocks
from batcache.features.bands import dead_bands
from batcache.features.ends import stream_spans
from batcache.features.energy import BandEnergy
from batcache.features.kernels import hann_magnitudes
from batcache.features.resample import SincKernel, stream_soxr, uses_sinc
from batcache.inference.bag_scores import BagScores, check_scores
from batcache.inference.model_file import ModelFile
from batcache.inference.onnx.facts import OnnxFacts
from batcache.inference.onnx.file import Functions, read_file
from batcache.inference.recordings.framed import Framed

_INSTANCES_AT_ONCE = 5
Floats = NDArray[np.float32]


class OnnxFrontEnd:
    """The front end of a file; see ``store.build.compute.FrameMaker``."""

    on_gpu = False

    def __init__(self, functions: Functions, facts: OnnxFacts) -> None:
        self.config, self.functions, self.facts = facts.features, functions, facts
        self.block_frames = max(1024, round(self.config.frames_per_second))  # enough for the smoother's start

    def stream(
        self, path: Path, header: AudioHeader, true_rate: int, energy: BandEnergy
    ) -> Iterator[NDArray[np.float16]]:
        """Yield the frames of one recording, ``[frames, n_mels]``, in blocks. ``energy`` hears what passes.

        Raises:
            AudioError: from decoding.
        """
        config, level = self.config, None
        samples = self.block_frames * config.hop_length * true_rate // config.target_sample_rate
        blocks = _in_steps(read_blocks(path, header, samples, energy.levels[0]), energy)
        windows = config.stft_window(true_rate)
        alive = config.n_mels - dead_bands(config, true_rate)
        for span in stream_spans(_resample(blocks, true_rate, windows.rate), windows.size, windows.hop):
            magnitudes = _magnitudes(span[0], windows.size, windows.hop, config)
            energy.add(np.square(magnitudes[energy.next_frames :: energy.step]).sum(0)[None], len(magnitudes))
            heard = self.facts.pick_bins(magnitudes, windows.size)[None]
            if level is None:
                (level,) = self.functions.run("start", heard)
            features, level = self.functions.run("compress", heard, level)
            features[..., alive:] = 0
            yield features[0].astype(np.float16)


def _in_steps(blocks: Iterable[NDArray[Any]], energy: BandEnergy) -> Iterator[NDArray[Any]]:
    """Samples ``[1, n]`` in 16-bit steps. Those of 16 bits do not go beyond full scale."""
    for block in blocks:
        if block.dtype == np.int16:
            yield block[None]
            continue
        steps = block[None] * np.float32(2**15)
        energy.add_peak(np.abs(steps).max(-1))
        yield steps


def _resample(blocks: Iterable[NDArray[Any]], rate: int, target: int) -> Iterable[NDArray[Any]]:
    """Bring blocks to the rate at which their spectra are taken."""
    if rate == target:
        return blocks
    floats = (block.astype(np.float32) for block in blocks)
    if not uses_sinc(rate, target):
        return stream_soxr(floats, rate, target)
    kernel = SincKernel(rate, target)
    return kernel.stream(floats, kernel)


def _magnitudes(samples: NDArray[Any], size: int, hop: int, config: FeatureConfig) -> Floats:
    """Magnitudes of the spectra of Hann windows. Shape: ``[(frames - 1) * hop + size]`` -> ``[frames, bins]``."""
    framed = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float32), size)[::hop]
    spectra = np.fft.rfft(framed).astype(np.complex64, copy=False)
    magnitudes = np.empty((len(spectra), min(config.n_fft, size) // 2 + 1), np.float32)
    hann_magnitudes(spectra, magnitudes)
    return magnitudes


class OnnxJudge:
    """A file's functions, ready to score; see ``inference.recordings.judge.Judge``."""

    recordings_at_once = 1

    def __init__(self, functions: Functions, facts: OnnxFacts) -> None:
        self.functions, self.facts = functions, facts

    def front_end(self) -> OnnxFrontEnd:
        """What makes the frames that the file takes."""
        return OnnxFrontEnd(self.functions, self.facts)

    def threads(self, workers: int) -> int:
        """As many recordings at a time as there are workers."""
        return workers

    def score(self, batch: Sequence[Framed], check: Callable[[], None]) -> list[BagScores]:
        """Score each recording; ``check`` is called before each read."""
        return [self._score(framed, check) for framed in batch]

    def _score(self, framed: Framed, check: Callable[[], None]) -> BagScores:
        held: list[list[NDArray[np.float32]]] = []  # what each instance holds, and what a kernel says of it
        for start in range(0, framed.count, _INSTANCES_AT_ONCE):
            check()
            instances = framed.read(min(_INSTANCES_AT_ONCE, framed.count - start))
            held.append(self.functions.run("embed", instances.astype(np.float32)))
        whole = [np.concatenate(parts)[None] for parts in zip(*held, strict=True)]
        logits, evidence, *bat = self.functions.run("score", *whole)
        return check_scores(framed.name, BagScores(logits[0], evidence[0], *(float(one[0]) for one in bat)))


@dataclass(frozen=True)
class OnnxFile(ModelFile):
    """An ONNX file of ours; ``checkpoint`` is what it says of the model that it was written from."""

    checkpoint: OnnxFacts
    functions: Functions

    def judge_on(self, device: str) -> OnnxJudge:
        """The model ready to score, on the CPU.

        Raises:
            ConfigError: another device.
        """
        if device not in ("auto", "cpu"):
            finding = "an ONNX file is judged by on the CPU"
            raise ConfigError(f"--device {device}", finding, "Pass --device cpu, or the checkpoint (.pt)")
        return OnnxJudge(self.functions, self.checkpoint)


def open_onnx(file: Path) -> OnnxFile:
    """Read an ONNX file that batcache wrote.

    Raises:
        RunError: damaged, of another kind or of a newer batcache; or onnx and onnxruntime are not installed.
    """
    model, facts = read_file(file)
    return OnnxFile(file, blake3(file.read_bytes()).hexdigest(), facts, Functions(model))
