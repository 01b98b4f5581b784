"""The laws of ``data.compression: log``: librosa's mel frames and numpy's logarithm, from blocks cut anywhere."""

import warnings
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from batcache.config.features import FeatureConfig
from batcache.features.audio import read_header
from batcache.features.bands import band_edges_hz, dead_bands
from batcache.features.frontend import FrontEnd
from batcache.features.logmel import LogMel
from batcache.features.mel import ENGINES
from batcache.features.pcen_levels import SCALE, rounding_level
from tests.conftest import noise, tone
from tests.features.levels import prolong
from tests.features.whole import FLOAT16, SHORT, WriteWav, burst_in_noise, features

LOG = FeatureConfig(compression="log")
EPS = rounding_level(LOG)
engines = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture(scope="module")
def front_ends() -> dict[str, FrontEnd]:
    return {engine: FrontEnd(LOG, "cpu", engine) for engine in ENGINES}


def reference(path: Path, rate: int) -> NDArray[np.float64]:
    """In float64, at the recording's own rate, of which a millisecond is a whole number of samples."""
    samples = soundfile.read(path, always_2d=True)[0][:, 0]
    hop, size = rate // 1000, rate * 1024 // 256_000
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Empty filters detected")  # bands that a low rate cannot fill
        mel = librosa.feature.melspectrogram(
            y=prolong(samples, size // 2, size // 2),
            sr=rate,
            n_fft=size,
            hop_length=hop,
            n_mels=128,
            fmin=10_000,
            fmax=100_000,
            power=1,
            center=False,
        )
    level = 2**31 * 256_000 / rate * mel[:, : len(samples) // hop]
    made = np.log10(1 + level / EPS)
    made[128 - dead_bands(LOG, rate) :] = 0
    return np.asarray(made.T)


@engines
@pytest.mark.parametrize("name", [SHORT[0], SHORT[1], SHORT[3], SHORT[5]])  # 500, 384, 384 and 192 kHz: dead bands
def test_features_of_real_recordings_are_librosas(real, recordings, front_ends, engine, name) -> None:
    (rate,) = [int(row["true_sample_rate"]) for row in recordings if row["filename"] == f"audio/{name}"]
    made, expected = features(front_ends[engine], real / "audio" / name, rate), reference(real / "audio" / name, rate)
    assert made.dtype == np.float16 and made.shape == expected.shape
    # A step of float16; in quiet bins of loud recordings float32 sums, 1/300 of the rounding at full scale.
    np.testing.assert_allclose(made.astype(float), expected, rtol=FLOAT16, atol=2e-3)
    assert made.min() >= 0 and (made[:, 128 - dead_bands(LOG, rate) :] == 0).all()


@pytest.mark.parametrize("rate", [384_000, 214_285])
def test_both_engines_agree(write_wav: WriteWav, front_ends, rate) -> None:
    path = write_wav("a.wav", burst_in_noise(45_000, 0.3, rate), rate)
    fft, nnaudio = (features(front_ends[engine], path, rate).astype(float) for engine in ENGINES)
    np.testing.assert_allclose(nnaudio, fft, rtol=2 * FLOAT16, atol=2e-3)


@engines
@pytest.mark.parametrize("block_frames", [1, 64, 300, 4096])
def test_the_length_of_blocks_does_not_matter(write_wav: WriteWav, front_ends, engine, block_frames) -> None:
    path, other = write_wav("a.wav", burst_in_noise(45_000, 0.3, 384_000)), FrontEnd(LOG, "cpu", engine)
    other.block_frames = block_frames
    made, expected = features(other, path), features(front_ends[engine], path)
    np.testing.assert_allclose(made.astype(float), expected.astype(float), rtol=2 * FLOAT16, atol=1e-4)


def test_silence_is_zero_and_the_level_of_rounding_is_a_third_of_20_db(write_wav: WriteWav, front_ends) -> None:
    assert not features(front_ends["fft"], write_wav("silence.wav", np.zeros(38_400, np.int16))).any()
    level = torch.tensor([0.0, 1.0, 9.0, 99.0]) * EPS / SCALE
    torch.testing.assert_close(LogMel(LOG).compress(level), torch.tensor([0.0, float(np.log10(2)), 1.0, 2.0]))


def test_twenty_decibels_are_one(write_wav: WriteWav, front_ends) -> None:
    """Of a tone far above the rounding, in its band; and full scale is what the docstring says."""
    band = int(np.abs(band_edges_hz(LOG)[:, 1] - 45_000).argmin())
    levels = [
        features(front_ends["fft"], write_wav(f"{size}.wav", tone(45_000, 0.2, 384_000, size), subtype="FLOAT"))
        for size in (0.01, 0.1, 1.0)
    ]
    quiet, usual, full = (float(level[100, band]) for level in levels)
    assert usual - quiet == pytest.approx(1, abs=4e-3) and full - usual == pytest.approx(1, abs=4e-3)
    assert 5.7 < full < 6


def test_no_frame_depends_on_what_came_before(write_wav: WriteWav, front_ends) -> None:
    """PCEN would: its smoother remembers."""
    calm = noise(0.4, 384_000, 0.002)
    loud = calm + np.where(np.arange(len(calm)) < 38_400, tone(45_000, 0.4, 384_000, 0.5), 0)
    made = [features(front_ends["fft"], write_wav(f"{i}.wav", samples)) for i, samples in enumerate((calm, loud))]
    assert not np.array_equal(made[0][:90], made[1][:90])
    np.testing.assert_array_equal(made[0][110:], made[1][110:])


def test_absurdly_loud_samples_stay_finite(write_wav: WriteWav, front_ends) -> None:
    path = write_wav("loud.wav", 1e6 * tone(45_000, 0.1, 384_000, 1.0), subtype="FLOAT")
    (block,) = front_ends["fft"].stream(path, read_header(path), 384_000)
    assert np.isfinite(block).all()
