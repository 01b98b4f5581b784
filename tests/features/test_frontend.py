"""The laws of ``batcache.features.frontend``: from a file to the cached numbers, whole.

The reference is written here from its parts' own libraries: soundfile, torchaudio or soxr, librosa, in float64.
"""

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
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
from batcache.features.audio import read_header
from batcache.features.frontend import FrontEnd
from batcache.features.mel import ENGINES, BandEnergy, band_edges_hz, dead_bands
from batcache.features.pcen import rounding_level
from batcache.features.resample import SincResampler
from tests.conftest import noise, tone
from tests.features.levels import beyond, prolong

WriteWav = Callable[..., Path]
Features = NDArray[np.float16]

DEFAULT = FeatureConfig()
TARGET = DEFAULT.target_sample_rate
ODD_RATES = [214_285, 166_666, 383_999]
FLOAT16 = 2.0**-11
"""Largest relative error of rounding to float16."""
SHORT = [
    "20170701_213954-MYOMYS-LR_0_0.5.wav",  # 500 kHz
    "20180627_215323-RHIFER-LR_0_0.5.wav",  # 384 kHz
    "AudiomothNoBatCalls.WAV",  # 250 kHz, a tenth of a second
    "Barbastella_barbastellus_2_s.wav",
    "DaubentonSocialCalls.wav",  # 256 kHz
    "20230322_172000_selec2.wav",  # 192 kHz: dead bands
    "Kuhls-pipistrelle-Pipistrellus_kuhlii_Ski0145_S2_From1152515ms_To1170806ms.wav",  # 144 kHz, 24 bits, WAVEX
    "Vespertilio_murinus_Ski0136_S2_From2445870ms_To2450281ms_social.wav",  # 960 kHz, 24 bits
    "Mmyo_Ski0112_S1_From0748143ms_To0763637ms.wav",  # 312.5 kHz: resampled; 32 bits
    "Mdau_TE384.wav",  # time-expanded ten times
    "Miniopterus_schreibersii_Ski0139_S2_From1247635ms_To1258317ms.wav",  # 960 kHz, expanded, 24 bits
    "A004130_WOARYDBXLW.WAV",  # 300 kHz, loud low noise
]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
on_every_engine = pytest.mark.parametrize(
    "front_end",
    [("cpu", engine) for engine in ENGINES]
    + [pytest.param(("cuda", engine), marks=[pytest.mark.gpu, needs_cuda]) for engine in ENGINES],
    ids="-".join,
    indirect=True,
)


@pytest.fixture(scope="module")
def front_ends() -> dict[tuple[str, str], FrontEnd]:
    return {}


@pytest.fixture
def front_end(request: pytest.FixtureRequest, front_ends: dict[tuple[str, str], FrontEnd]) -> FrontEnd:
    """The front end on a device by an engine: by default FFT on the CPU."""
    where = getattr(request, "param", ("cpu", "fft"))
    if where not in front_ends:
        front_ends[where] = FrontEnd(DEFAULT, *where)
    return front_ends[where]


def features(front_end: FrontEnd, path: Path, true_rate: int = 384_000) -> Features:
    blocks = list(front_end.stream(path, read_header(path), true_rate))
    return np.concatenate(blocks) if blocks else np.zeros((0, DEFAULT.n_mels), np.float16)


@lru_cache(16)  # several engines meet the same one
def reference(path: Path, true_rate: int) -> NDArray[np.float64]:
    """librosa at the true rate, where a millisecond is a whole number of samples, else at the target rate."""
    samples = soundfile.read(path, always_2d=True)[0][:, 0]
    if true_rate in ODD_RATES:
        reach = ceil(128 * max(1, true_rate / TARGET))
        start, end = beyond(samples[:reach]), np.full(5000, beyond(samples[-reach:]))
        resampled = start + soxr.resample(np.r_[samples, end] - start, true_rate, TARGET, quality="HQ")
    elif true_rate % 1000:
        kernel = SincResampler(true_rate, TARGET)
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


def golden_recording() -> np.ndarray:
    """0.7 s at 384 kHz, int16, by formula: chirps from 90 to 20 kHz each 70 ms, in noise of a multiplicative generator.

    The generator is x[n] = a^n mod 2^64 with Knuth's a; its upper 32 bits are the noise. That is so quiet (3 steps of
    16 bits) that eps matters. All stands on an offset of half a per cent of full scale.
    """
    n = np.arange(268_800)
    powers = np.cumprod(np.full(len(n), 6364136223846793005, np.uint64))  # wraps at 2^64, which is the modulus
    hiss = (powers >> np.uint64(32)).astype(np.float64) / 2**32 - 0.5
    t = n % 26_880 / 384_000  # seconds since the last chirp began; each takes 5 ms
    chirp = np.where(t < 0.005, np.sin(np.pi * t / 0.005) ** 2 * np.sin(2 * np.pi * (90_000 * t - 7e6 * t**2)), 0)
    return np.round(32768 * (0.1 * chirp + 0.0003 * hiss + 0.005)).astype(np.int16)


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


# --- physics ---


def burst_in_noise(hz: float, at_s: float, rate: int) -> np.ndarray:
    """0.7 s of noise with 5 ms of a tone centred at ``at_s``."""
    wave = noise(0.7, rate, 0.002)
    t = np.arange(len(wave)) / rate - at_s
    return wave + np.where(np.abs(t) < 0.0025, 0.1 * np.cos(np.pi * t / 0.005) ** 2 * np.sin(2 * np.pi * hz * t), 0)


@on_every_engine
@pytest.mark.parametrize("header_rate, expansion", [(384_000, 1), (500_000, 1), (38_400, 10), (214_285, 1)])
def test_a_45_khz_call_lights_its_band_at_its_time(write_wav: WriteWav, front_end, header_rate, expansion) -> None:
    rate = header_rate * expansion
    path = write_wav("call.wav", burst_in_noise(45_000, 0.3, rate), header_rate)
    made = features(front_end, path, rate)
    frame, band = np.unravel_index(made.argmax(), made.shape)
    lower, _, upper = band_edges_hz(DEFAULT)[band].tolist()
    assert lower < 45_000 < upper
    assert abs(frame - 300) <= 2  # the call is 5 frames long, and PCEN's onset stands before its middle


def test_a_steady_45_khz_tone_lights_its_band(write_wav: WriteWav, front_end) -> None:
    made = features(front_end, write_wav("tone.wav", tone(45_000, 0.6, 384_000))).astype(float).mean(0)
    lower, _, upper = band_edges_hz(DEFAULT)[made.argmax()].tolist()
    assert lower < 45_000 < upper
    assert made.max() > 2 * np.median(made)  # PCEN lifts a steady tone to 0.45; far bands hold rounding, held down


@on_every_engine
def test_five_seconds_are_5000_frames(write_wav: WriteWav, front_end) -> None:
    assert len(features(front_end, write_wav("five.wav", np.zeros(1_920_000)))) == 5000


@pytest.mark.parametrize("rate", [384_000, 250_000, 256_000, 214_285, 192_000])
@pytest.mark.parametrize("samples", [1, 255, 256, 257, 383, 384, 1000, 20_001])
def test_a_recording_has_as_many_frames_as_whole_hops(write_wav: WriteWav, front_end, rate, samples) -> None:
    path = write_wav("a.wav", noise(0.1, rate)[:samples].clip(-1, 1), rate)
    read = min(samples, round(0.1 * rate))
    samples_at = ceil(read * TARGET / rate) // 256 if rate % 1000 else read * 1000 // rate
    assert len(features(front_end, path, rate)) == samples_at


@on_every_engine
@pytest.mark.parametrize("rate", [384_000, 192_000, 144_000])
def test_stationary_noise_is_stationary_from_the_first_frame(write_wav: WriteWav, front_end, rate) -> None:
    made = features(front_end, write_wav("noise.wav", noise(2, rate, 0.05), rate), rate).astype(float)
    dead = dead_bands(DEFAULT, rate)
    alive = made[:, : DEFAULT.n_mels - dead]
    # 50 frames of 128 bands scatter by 2 %; librosa's own start would be off by a factor of 20.
    assert alive[:50].mean() == pytest.approx(alive[-50:].mean(), rel=0.2)
    assert (alive > 0).all()
    assert (made[:, DEFAULT.n_mels - dead :] == 0).all()
    assert (rate == 384_000) == (dead == 0)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_silence_gives_zero(write_wav: WriteWav, front_end, subtype) -> None:
    assert not features(front_end, write_wav("a.wav", np.zeros(300_000), subtype=subtype)).any()


def test_the_level_of_a_recording_hardly_matters(write_wav: WriteWav, front_end) -> None:
    """E / M^0.98 grows as E^0.02: 20 dB change a value by 4.7 % at most."""
    wave = burst_in_noise(45_000, 0.3, 384_000) + noise(0.7, 384_000, 0.02, seed=1)
    quiet, loud = (
        features(front_end, write_wav(f"{gain}.wav", gain * wave, subtype="FLOAT")).astype(float) for gain in (1, 10)
    )
    # Above 0.1, where steps of float16 are small; half a per cent for them and for eps.
    ratio = (loud / quiet)[quiet > 0.1]
    assert 0.995 < ratio.min() < ratio.max() < 10**0.02 + 0.005


def test_shares_of_energy_tell_where_it_lies(write_wav: WriteWav, front_end) -> None:
    for hz, expected in ((5_000, (1, 0)), (45_000, (0, 0)), (120_000, (0, 1))):
        energy = BandEnergy(DEFAULT)
        path = write_wav("tone.wav", tone(hz, 0.3, 384_000))
        list(front_end.stream(path, read_header(path), 384_000, energy))
        assert energy.shares() == pytest.approx(expected, abs=1e-3)
    assert BandEnergy(DEFAULT).shares() == (0, 0)


def test_an_offset_is_no_energy_below_the_bands(write_wav: WriteWav, front_end) -> None:
    energy = BandEnergy(DEFAULT)
    path = write_wav("tone.wav", tone(45_000, 0.3, 384_000) + 0.03)
    list(front_end.stream(path, read_header(path), 384_000, energy))
    assert energy.shares() == pytest.approx((0, 0), abs=1e-3)


@pytest.mark.parametrize("block", [100_000, 384, 50])
def test_float_samples_beyond_full_scale_are_known_by_their_peak(front_end, block) -> None:
    """Those of each recording of a batch, whatever the blocks."""
    samples = torch.from_numpy(np.stack([noise(0.1, 384_000, 0.1), 32_767 * tone(45_000, 0.1, 384_000)])).float()
    samples[0, 20_000] = -1.25
    energy = BandEnergy(DEFAULT, 3)
    whole = torch.cat([samples, torch.ones(1, samples.shape[1])])
    list(front_end.stream_batch(torch.split(whole, block, 1), 384_000, energy))
    assert [energy.overscale(i) for i in range(3)] == [1.25, 3277, 0]  # four digits; full scale itself is not beyond it


def test_samples_of_16_bits_never_go_beyond_full_scale(front_end) -> None:
    energy = BandEnergy(DEFAULT)
    list(front_end.stream_batch([torch.full((1, 4000), -(2**15), dtype=torch.int16)], 384_000, energy))
    assert energy.overscale() == 0


# --- independence ---


def assert_within_a_step(made: Features, expected: Features) -> None:
    """Equal but for float32 rounding, which may tip a value over to the next float16."""
    np.testing.assert_allclose(made.astype(float), expected.astype(float), rtol=2 * FLOAT16, atol=1e-5)


@on_every_engine
@pytest.mark.parametrize("rate", [384_000, 214_285])
@pytest.mark.parametrize("block_frames", [1, 64, 300, 4096])
def test_the_length_of_blocks_does_not_matter(write_wav: WriteWav, front_end, rate, block_frames) -> None:
    path = write_wav("a.wav", burst_in_noise(45_000, 0.3, rate), rate)
    expected = features(front_end, path, rate)
    usual = front_end.block_frames
    front_end.block_frames = block_frames
    try:
        made = features(front_end, path, rate)
    finally:
        front_end.block_frames = usual
    assert_within_a_step(made, expected)


@pytest.fixture
def restored_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("restored_threads")
@pytest.mark.parametrize("front_end", [("cpu", engine) for engine in ENGINES], ids="-".join, indirect=True)
@pytest.mark.parametrize("name", [SHORT[1], SHORT[3]])
def test_the_number_of_threads_does_not_matter(real, recordings, front_end, name) -> None:
    (rate,) = [int(row["true_sample_rate"]) for row in recordings if row["filename"] == f"audio/{name}"]
    made = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        made.append(features(front_end, real / "audio" / name, rate))
    np.testing.assert_array_equal(made[1], made[0])
    np.testing.assert_array_equal(made[2], made[0])


def test_recordings_processed_before_do_not_matter(real, write_wav: WriteWav) -> None:
    path = real / "audio" / SHORT[1]
    fresh, used = FrontEnd(DEFAULT), FrontEnd(DEFAULT)
    features(used, write_wav("loud.wav", noise(0.7, 384_000, 0.3)))
    features(used, write_wav("odd.wav", noise(0.2, 214_285, 0.3), 214_285), 214_285)
    unfinished = used.stream(path, read_header(path), 384_000)
    next(unfinished)  # another one is under way
    np.testing.assert_array_equal(features(used, path), features(fresh, path))


def test_float_samples_give_what_the_same_16_bit_samples_give(write_wav: WriteWav, front_end) -> None:
    samples = golden_recording()
    expected = features(front_end, write_wav("a.wav", samples))
    for subtype in ("FLOAT", "DOUBLE", "PCM_24", "PCM_32"):
        wave = samples / 32768 if subtype in ("FLOAT", "DOUBLE") else samples.astype(np.int32) << 16
        # All of them hold a 16-bit sample exactly, and so does float32: equal to the bit.
        np.testing.assert_array_equal(features(front_end, write_wav("b.wav", wave, subtype=subtype)), expected)


def test_a_flac_gives_the_features_of_its_wav(write_wav: WriteWav, front_end) -> None:
    wav, flac = (write_wav(name, golden_recording()) for name in ("a.wav", "a.flac"))
    np.testing.assert_array_equal(features(front_end, flac), features(front_end, wav))


def test_time_expansion_is_only_another_rate(write_wav: WriteWav, front_end) -> None:
    direct, expanded = (write_wav(f"{rate}.wav", golden_recording(), rate) for rate in (384_000, 38_400))
    np.testing.assert_array_equal(features(front_end, expanded), features(front_end, direct))


PEAK_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from batcache.config.features import FeatureConfig
from batcache.features.audio import read_header
from batcache.features.frontend import FrontEnd

torch.set_num_threads(1)
path = Path(sys.argv[1])
frames = sum(len(block) for block in FrontEnd(FeatureConfig()).stream(path, read_header(path), int(sys.argv[2])))
print(frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("rate", [384_000, 383_999])
def test_memory_does_not_grow_with_the_recording(tmp_path, rate) -> None:
    peaks = []
    for seconds in (30, 180):
        path = tmp_path / f"{seconds}.wav"
        with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
            for second in range(seconds):
                file.write(noise(1, rate, seed=second % 5))
        run = [sys.executable, "-c", PEAK_MEMORY, str(path), str(rate)]
        frames, peak_kb = map(int, subprocess.run(run, check=True, capture_output=True, text=True).stdout.split())
        assert frames == 1000 * seconds
        peaks.append(peak_kb)
    # Its samples alone are 230 MB as float32, its features 46; 20 are what the allocator's moods may take.
    assert peaks[1] - peaks[0] < 20_000


def test_blocks_are_small(write_wav: WriteWav, front_end) -> None:
    path = write_wav("a.wav", noise(5, 384_000))
    lengths = [len(block) for block in front_end.stream(path, read_header(path), 384_000)]
    assert max(lengths) <= 1024
    assert sum(lengths) == 5000


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
