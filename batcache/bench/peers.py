"""What else one would compute features with, given the same settings: librosa with soxr, torchaudio.

Each function here gives the same numbers as our front end (torchaudio: as its mel frames), to the tolerance that its
test states; otherwise a comparison of speeds would compare nothing. They resample whatever is not at the target rate,
as one does with them; our front end needs that at odd rates only.
"""

import importlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import threadpoolctl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram, Resample

from batcache.children import process_pool
from batcache.config.features import FeatureConfig
from batcache.features.bands import dead_bands
from batcache.features.pcen import SCALE, START_S, rounding_level, smoothing

Source = tuple[Path, int]
"""A recording and its true rate, Hz."""

_SINC_ZEROS = 32  # as ours: torchaudio's default of 6 would alias at -33 dB
_START_TIMEOUT_S = 300
_barrier: Any = None


def why_missing(package: str) -> str:
    """Empty where a package can be imported, else what to do about it. librosa loads its parts on first use."""
    try:
        importlib.import_module(package)
        if package == "librosa":
            importlib.import_module("librosa.feature.spectral")
    except ImportError:
        return "not installed: pip install 'batcache[bench]'"
    return ""


def read_samples(path: Path) -> NDArray[np.float32]:
    """The first channel, in -1..1."""
    return np.asarray(soundfile.read(path, dtype="float32", always_2d=True)[0][:, 0])


def librosa_features(source: Source, config: FeatureConfig) -> NDArray[np.float16]:
    """PCEN-mel or log-mel frames by librosa, resampled by soxr. Shape: ``[frames, n_mels]``."""
    import librosa

    path, true_rate = source
    samples = read_samples(path)
    if true_rate != config.target_sample_rate:
        samples = soxr.resample(samples, true_rate, config.target_sample_rate, quality="HQ")
    mel = librosa.feature.melspectrogram(
        y=samples,
        sr=config.target_sample_rate,
        hop_length=config.hop_length,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.fmin,
        fmax=config.fmax,
        power=1,
        pad_mode="constant",
    )
    energy = mel[:, : len(samples) // config.hop_length] * np.float32(SCALE)
    made = _pcen(energy, config) if config.compression == "pcen" else np.log10(1 + energy / rounding_level(config))
    made[config.n_mels - dead_bands(config, true_rate) :] = 0
    return np.asarray(made.T.astype(np.float16))


def _pcen(energy: NDArray[np.float32], config: FeatureConfig) -> NDArray[np.float32]:
    """Shape: ``[n_mels, frames]`` -> the same."""
    import librosa

    start = energy[:, : max(1, round(START_S * config.frames_per_second))].mean(1, keepdims=True)
    pcen: NDArray[np.float32] = librosa.pcen(
        energy,
        sr=config.target_sample_rate,
        hop_length=config.hop_length,
        gain=config.pcen_gain,
        bias=config.pcen_bias,
        power=config.pcen_power,
        time_constant=config.pcen_time_constant_s,
        eps=rounding_level(config),
        zi=((1 - smoothing(config)) * start).astype(energy.dtype),
    )
    return pcen


class TorchaudioMel(nn.Module):
    """Mel frames, not compressed, by torchaudio's ``Resample`` and ``MelSpectrogram``."""

    def __init__(self, config: FeatureConfig, true_rates: set[int]) -> None:
        super().__init__()
        self.hop, target = config.hop_length, config.target_sample_rate
        self.resample = {r: Resample(r, target, lowpass_filter_width=_SINC_ZEROS) for r in true_rates - {target}}
        self.mel = MelSpectrogram(
            target,
            n_fft=config.n_fft,
            hop_length=config.hop_length,
            n_mels=config.n_mels,
            f_min=config.fmin,
            f_max=config.fmax,
            power=1,
            norm="slaney",
            mel_scale="slaney",
            pad_mode="constant",
        )

    @torch.inference_mode()
    def forward(self, source: Source) -> Tensor:
        """Shape: ``[frames, n_mels]`` float16."""
        path, true_rate = source
        samples = torch.from_numpy(read_samples(path))
        if true_rate in self.resample:
            samples = self.resample[true_rate](samples)
        mel: Tensor = self.mel(samples)[:, : len(samples) // self.hop]
        return mel.T.half()


@contextmanager
def librosa_processes(count: int, source: Source, config: FeatureConfig) -> Iterator[Callable[[Sequence[Source]], int]]:
    """Processes that have imported librosa and computed a recording each; yields a function over many recordings.

    Each computes with one thread: ``count`` is the number of cores. Features stay where they were computed.
    """
    barrier = multiprocessing.get_context("spawn").Barrier(count)
    with process_pool(count, _warm_up, (source, config, barrier)) as pool:
        for waited in [pool.submit(_wait_for_all) for _ in range(count)]:
            waited.result()
        yield lambda sources: sum(pool.map(partial(_frames, config=config), sources))


def _warm_up(source: Source, config: FeatureConfig, barrier: Any) -> None:
    global _barrier  # noqa: PLW0603 (it reaches a process only while that is made)
    _barrier = barrier
    threadpoolctl.threadpool_limits(1)
    librosa_features(source, config)


def _wait_for_all() -> None:
    """Keep this process busy until all are warm, so that each of them is made."""
    _barrier.wait(_START_TIMEOUT_S)


def _frames(source: Source, config: FeatureConfig) -> int:
    return len(librosa_features(source, config))
