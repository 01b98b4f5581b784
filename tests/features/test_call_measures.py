"""Measures of calls: those of simulated calls are what was put in, whatever the noise and however frames pass."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from batcache.config.features import FeatureConfig
from batcache.features.audio import read_header
from batcache.features.call_measures import CallMeasures, CallMeter
from batcache.features.energy import BandEnergy
from batcache.features.frontend import FrontEnd
from tests.conftest import noise

RATE, SECONDS = 384_000, 2.0
CONFIG = FeatureConfig()
Write = Callable[..., Path]


def frames_of(path: Path, true_rate: int = RATE) -> np.ndarray:
    """PCEN frames in instances of half a second, the last one padded."""
    front_end = FrontEnd(CONFIG, torch.device("cpu"), "fft")
    blocks = front_end.stream(path, read_header(path), true_rate, BandEnergy(CONFIG))
    frames = np.concatenate(list(blocks))
    return np.pad(frames, ((0, -len(frames) % 500), (0, 0))).reshape(-1, 500, CONFIG.n_mels)


def measure(instances: np.ndarray, piece: int = 60) -> CallMeasures | None:
    meter = CallMeter(CONFIG)
    for start in range(0, len(instances), piece):
        meter.add(instances[start : start + piece])
    return meter.finish()


def train_of_calls(from_hz: float, to_hz: float, ms: float, interval_ms: float, snr_db: float) -> np.ndarray:
    """Calls that sweep in a straight line, in white noise; ``snr_db`` is amplitude over the noise's deviation."""
    samples, count = noise(SECONDS, RATE, 0.003), round(ms / 1000 * RATE)
    call = np.sin(2 * np.pi * np.cumsum(np.linspace(from_hz, to_hz, count)) / RATE)
    edge = np.sin(np.pi / 2 * np.linspace(0, 1, 100)) ** 2  # 0.3 ms
    call[:100] *= edge
    call[-100:] *= edge[::-1]
    for start in np.arange(0.1, SECONDS - 0.2, interval_ms / 1000):
        samples[round(start * RATE) :][:count] += 0.003 * 10 ** (snr_db / 20) * call
    return samples


CALLS = [
    (45e3, 45e3, 6, 90),
    (50e3, 42e3, 6, 90),
    (80e3, 45e3, 5, 90),
    (25e3, 20e3, 15, 250),
    (60e3, 30e3, 8, 120),
    (45e3, 45e3, 3, 60),
]


@pytest.mark.parametrize("snr_db", [10, 25, 40])
@pytest.mark.parametrize(("from_hz", "to_hz", "ms", "interval_ms"), CALLS)
def test_simulated_calls_have_the_measures_that_they_were_given(
    from_hz: float, to_hz: float, ms: float, interval_ms: float, snr_db: float, write_wav: Write
) -> None:
    """Frequencies within three bands of 2 % and a bin of 250 Hz, durations within 2 ms, intervals within one frame."""
    samples = train_of_calls(from_hz, to_hz, ms, interval_ms, snr_db)
    found = measure(frames_of(write_wav("a.wav", samples, RATE)))
    assert found is not None and found.measured >= 3
    assert found.lowest_khz == pytest.approx(to_hz / 1000, rel=0.1)
    assert found.highest_khz == pytest.approx(from_hz / 1000, rel=0.1)
    assert 0.95 * to_hz / 1000 <= found.peak_khz <= 1.05 * from_hz / 1000
    assert found.duration_ms == pytest.approx(ms, abs=2)
    assert found.interval_ms == pytest.approx(interval_ms, abs=1)


@pytest.mark.parametrize("interval_ms", [80, 300])
@pytest.mark.parametrize("snr_db", [30, 40])
def test_a_long_tone_is_as_long_as_it_is_though_pcen_grows_used_to_it(
    interval_ms: float, snr_db: float, write_wav: Write
) -> None:
    """Horseshoe bats: of frames as they are, half of the peak is over after some milliseconds."""
    found = measure(frames_of(write_wav("a.wav", train_of_calls(82e3, 82e3, 50, interval_ms, snr_db), RATE)))
    assert found is not None
    assert found.duration_ms == pytest.approx(50, abs=3) and found.interval_ms == pytest.approx(interval_ms, abs=1)
    assert found.peak_khz == pytest.approx(82, rel=0.02)


def test_the_peak_is_where_the_call_is_loudest(write_wav: Write) -> None:
    loud_end = train_of_calls(70e3, 40e3, 6, 90, 25) + train_of_calls(40e3, 40e3, 6, 90, 25)
    found = measure(frames_of(write_wav("a.wav", loud_end, RATE)))
    assert found is not None and found.peak_khz == pytest.approx(40, rel=0.03)


@pytest.mark.parametrize("piece", [1, 2, 3])
def test_measures_do_not_depend_on_the_pieces_in_which_frames_pass(piece: int, write_wav: Write) -> None:
    """Calls lie across the borders of pieces too."""
    instances = frames_of(write_wav("a.wav", train_of_calls(80e3, 40e3, 8, 99.5, 25), RATE))
    assert measure(instances, piece) == measure(instances)


def test_an_expanded_file_has_the_measures_of_the_bat(write_wav: Write) -> None:
    """The same samples under a tenth of the rate in the header, read at their true rate."""
    samples = train_of_calls(50e3, 42e3, 6, 90, 25)
    true, slowed = write_wav("true.wav", samples, RATE), write_wav("slowed.wav", samples, RATE // 10)
    assert measure(frames_of(slowed)) == measure(frames_of(true))


def test_noise_and_silence_have_no_measures(write_wav: Write) -> None:
    assert measure(frames_of(write_wav("a.wav", noise(1.0, RATE), RATE))) is None
    assert measure(np.zeros((3, 500, 128), np.float16)) is None


@pytest.mark.parametrize("height", [1.0, 100.0, 60_000.0])
def test_frames_that_no_pcen_has_made_are_measured_without_a_warning(height: float) -> None:
    frames = np.random.default_rng(0).random((2, 500, 128)) * height
    measure(frames.astype(np.float16))


@pytest.mark.slow
def test_real_calls_are_measured_as_an_expert_measured_them(real: Path) -> None:
    """Of loud pipistrelles and serotines; the expert's calls end in their echoes, so no duration is compared."""
    with (real / "events.csv").open(newline="", encoding="utf-8") as file:
        events = [row for row in csv.DictReader(file) if row["code"] in ("Pippip", "Pippyg", "Eptser", "Minsch")]
    off = []
    for name in sorted({row["filename"] for row in events}):
        meter = CallMeter(CONFIG)
        meter.add(frames_of(real / name, 10 * read_header(real / name).rate))
        found = meter.finish()
        lows = [float(row["fmin_khz"]) for row in events if row["filename"] == name]
        if found is not None and len(lows) >= 10:
            off.append(found.lowest_khz / float(np.median(lows)))
    assert len(off) >= 8
    assert np.median(off) == pytest.approx(1, abs=0.1), "an expert's lowest frequencies lie a little lower"
