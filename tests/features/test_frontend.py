"""The laws of ``batcache.features.frontend``: from a file to the cached numbers, whole.

The reference is written here from its parts' own libraries: soundfile, torchaudio or soxr, librosa, in float64.
"""

import warnings
from functools import lru_cache
from math import ceil
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torchaudio.functional import resample as torchaudio_resample

from batcache.config.features import FRONT_END_VERSION, FeatureConfig
from batcache.device import pick_device
from batcache.errors import ConfigError
from batcache.features.bands import dead_bands
from batcache.features.frontend import FrontEnd
from batcache.features.pcen_levels import rounding_level
from batcache.features.resample import SincKernel
from tests.features.levels import beyond, prolong
from tests.features.whole import (
    DEFAULT,
    FLOAT16,
    SHORT,
    TARGET,
    WriteWav,
    features,
    golden_recording,
    needs_cuda,
    on_every_engine,
)

ODD_RATES = [214_285, 166_666, 383_999]


@lru_cache(16)  # several engines meet the same one
def reference(path: Path, true_rate: int) -> NDArray[np.float64]:
    """librosa at the true rate, where a millisecond is a whole number of samples, else at the target rate."""
    samples = soundfile.read(path, always_2d=True)[0][:, 0]
    if true_rate in ODD_RATES:
        reach = ceil(128 * max(1, true_rate / TARGET))
        start, end = beyond(samples[:reach]), np.full(5000, beyond(samples[-reach:]))
        resampled = start + soxr.resample(np.r_[samples, end] - start, true_rate, TARGET, quality="HQ")
    elif true_rate % 1000:
        kernel = SincKernel(true_rate, TARGET)
        steps = 100 * kernel.orig
        start, end = beyond(samples[: kernel.context]), beyond(samples[-kernel.context - kernel.stride :])
        padded = torch.from_numpy(np.r_[np.full(steps, start), samples, np.full(steps, end)])
        resampled = torchaudio_resample(padded, true_rate, TARGET, lowpass_filter_width=32).numpy()[100 * kernel.new :]
    else:
        return librosa_features(samples, true_rate, true_rate)
    return librosa_features(resampled[: ceil(len(samples) * TARGET / true_rate)], TARGET, true_rate)


def librosa_features(samples: NDArray[np.float64], rate: int, true_rate: int) -> NDArray[np.float64]:
    hop, size = rate // 1000, rate * 1024 // TARGET
    rates = {"sr": rate, "hop_length": hop}
    bands = {"n_mels": 128, "fmin": 10_000, "fmax": 100_000}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Empty filters detected")  # bands that a low rate cannot fill
        mel = librosa.feature.melspectrogram(
            y=prolong(samples, size // 2, size // 2), **rates, n_fft=size, **bands, power=1, center=False
        )
    mel = 2**31 * TARGET / rate * mel[:, : len(samples) // hop]
    step = 0.1 * 1000
    smoothing = (np.sqrt(1 + 4 * step**2) - 1) / (2 * step**2)
    pcen = librosa.pcen(
        mel,
        **rates,
        gain=0.98,
        bias=2,
        power=0.5,
        time_constant=0.1,
        eps=rounding_level(DEFAULT),
        zi=(1 - smoothing) * mel[:, :500].mean(1, keepdims=True),
    )
    upper_edges = librosa.mel_frequencies(130, fmin=10_000, fmax=100_000)[2:]
    pcen[upper_edges > 0.95 * true_rate / 2] = 0
    return pcen.T


def assert_is_reference(front_end: FrontEnd, path: Path, true_rate: int) -> None:
    made, expected = features(front_end, path, true_rate), reference(path, true_rate)
    assert made.dtype == np.float16
    # Half a step of float16 and, in quiet bins of loud recordings, the rounding of float32, which at full scale is
    # 1/300 of the rounding to 16 bits that eps stands for.
    np.testing.assert_allclose(made.astype(float), expected, rtol=FLOAT16, atol=6e-3)
    assert np.abs(made - expected).mean() < 1.5e-4


# --- the reference ---


@on_every_engine
@pytest.mark.parametrize("name", SHORT)
def test_features_of_real_recordings_are_the_references(real, recordings, front_end, name) -> None:
    (row,) = [row for row in recordings if row["filename"] == f"audio/{name}"]
    assert_is_reference(front_end, real / row["filename"], int(row["true_sample_rate"]))


@pytest.mark.slow
@on_every_engine
def test_features_of_all_real_recordings_are_the_references(real, recordings, front_end) -> None:
    for row in recordings:
        assert_is_reference(front_end, real / row["filename"], int(row["true_sample_rate"]))


@on_every_engine
@pytest.mark.parametrize("rate", ODD_RATES)
def test_features_at_odd_rates_are_the_references(real, write_wav: WriteWav, front_end, rate) -> None:
    samples, _ = soundfile.read(real / "audio" / SHORT[1], dtype="int16")
    assert_is_reference(front_end, write_wav("odd.wav", samples, rate), rate)


@needs_cuda
@pytest.mark.gpu
def test_tf32_convolutions_that_the_caller_allows_do_not_reach_the_features(write_wav: WriteWav) -> None:
    path, front_end = write_wav("golden.wav", golden_recording()), FrontEnd(DEFAULT, "cuda", "nnaudio")
    asked, made = torch.backends.cudnn.allow_tf32, []
    try:
        for allowed in (False, True):
            torch.backends.cudnn.allow_tf32 = allowed
            made.append(features(front_end, path))
    finally:
        torch.backends.cudnn.allow_tf32 = asked
    np.testing.assert_array_equal(made[1], made[0])


@pytest.mark.parametrize("name", [SHORT[1], SHORT[5], SHORT[7], SHORT[9]])  # 384, 192, 960 and 384 kHz
def test_features_differ_little_from_those_of_the_recording_resampled_first(real, recordings, front_end, name) -> None:
    """StftWindow of equal length see the same sound. What differs is the resampler: its ripple, and what it aliases."""
    (row,) = [row for row in recordings if row["filename"] == f"audio/{name}"]
    path, rate = real / row["filename"], int(row["true_sample_rate"])
    samples = torch.from_numpy(soundfile.read(path, always_2d=True)[0][:, 0])
    resampled = torchaudio_resample(samples, rate, TARGET, lowpass_filter_width=32).numpy()
    difference = np.abs(features(front_end, path, rate) - librosa_features(resampled, TARGET, rate))
    # Of 74 real recordings at such rates: at most 0.12, in the first and last frames, where a resampler takes silence
    # to lie beyond the ends; of the values of each at most one in a thousand by more than 0.01.
    assert difference.max() < 0.12
    assert np.quantile(difference, 0.999) < 0.01
    assert np.median(difference) < 1e-3


@pytest.mark.parametrize("rate", [250_000, 312_500, 500_000, 960_000, 383_999])
def test_a_sound_has_the_same_features_at_every_rate(write_wav: WriteWav, front_end, rate) -> None:
    """Clicks and chirps below 95 kHz, by formula, so that no resampler has made them."""

    def scene(at: int) -> NDArray[np.float64]:
        t = np.arange(round(0.7 * at)) / at
        calls = [
            np.exp(-(((t - s) / 2e-3) ** 2)) * np.sin(2 * np.pi * 1e3 * (60 - 20 * s) * t) for s in (0.1, 0.3, 0.5)
        ]
        hum = sum(np.sin(2 * np.pi * hz * t + hz) for hz in range(8_000, 95_000, 1_370))
        return 0.1 * sum(calls) + 1e-3 * hum

    made, usual = (
        features(front_end, write_wav(f"{at}.wav", scene(at), at, subtype="FLOAT"), at) for at in (rate, 384_000)
    )
    # Not in the first and last frames: a tone that is cut off is a click of all frequencies. A step of float16, and
    # the ripple of the resampler where there is one.
    alive = DEFAULT.n_mels - dead_bands(DEFAULT, rate)
    difference = np.abs(made.astype(float) - usual)[5:-5, :alive]
    assert difference.max() < 0.02, "features reach 5"


# --- the golden numbers ---


GOLDEN_VERSION = 3
GOLDEN = [
    [0.389, 0.243, 0.163, 0.024, 0.008, 0.005, 2.234, 0.217],
    [0.243, 0.285, 0.333, 2.008, 3.779, 3.992, 0.328, 0.377],
    [0.564, 0.488, 0.358, 0.015, 0.012, 0.396, 4.438, 0.273],
    [0.204, 0.095, 0.237, 0.054, 1.018, 4.137, 3.406, 0.434],
    [0.549, 0.522, 0.265, 0.044, 0.014, 0.005, 2.893, 0.223],
    [0.615, 0.364, 0.163, 0.013, 0.008, 0.006, 0.013, 0.254],
    [0.46, 0.357, 0.252, 2.566, 4.609, 4.699, 0.41, 0.306],
    [0.211, 0.383, 0.336, 0.044, 0.021, 0.008, 0.02, 0.356],
]


def test_the_golden_numbers_hold(write_wav: WriteWav) -> None:
    made = features(FrontEnd(DEFAULT), write_wav("golden.wav", golden_recording()))
    assert made.shape == (700, 128)
    sampled = made[[0, 3, 71, 142, 350, 505, 633, 699]][:, [0, 20, 40, 60, 75, 90, 110, 127]].astype(float)
    numbers = [[round(float(value), 3) for value in row] for row in sampled]
    remedy = (
        "The front end makes other numbers than it did. If that was not meant, it is a bug. If it was, raise "
        "FRONT_END_VERSION in batcache/config/features.py (caches built before are then only read; not needed "
        f"where only a default changed, which is in the fingerprint) and set GOLDEN_VERSION and GOLDEN = {numbers}"
    )
    assert FRONT_END_VERSION == GOLDEN_VERSION, remedy
    # The third decimal, and one step of float16, since another CPU may round float32 sums to the other side.
    assert np.allclose(numbers, GOLDEN, rtol=2 * FLOAT16, atol=1e-3), remedy


# --- devices ---


def test_a_device_that_is_not_there_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="--device cuda: no CUDA device"):
        pick_device("cuda")
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda")


def test_bands_too_narrow_for_the_fft_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"data.n_mels"):
        FrontEnd(FeatureConfig(n_mels=256))
