"""The laws of ``batcache.features.mel``: librosa's bands, frames centred on ``i * hop``, two engines that agree."""

import warnings
from itertools import pairwise

import librosa
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from batcache.config.features import FeatureConfig
from batcache.errors import ConfigError
from batcache.features.bands import band_edges_hz, check_bands, dead_bands
from batcache.features.ends import stream_spans
from batcache.features.mel import ENGINES, Mel
from tests.conftest import noise, tone
from tests.features.levels import prolong

DEFAULT = FeatureConfig()
RATE = DEFAULT.target_sample_rate
engines = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture(scope="module")
def mels() -> dict[str, torch.nn.Module]:
    return {engine: Mel(DEFAULT, RATE, engine) for engine in ENGINES}


STEPS = 2**15  # of 16 bits, in full scale


def mel_of(engine: torch.nn.Module, samples: np.ndarray) -> Tensor:
    """Of samples in -1..1."""
    blocks = [torch.from_numpy(samples * STEPS).float()[None]]
    spans = stream_spans(blocks, DEFAULT.n_fft, DEFAULT.hop_length)
    return torch.cat([engine(span)[0] for span in spans])


def librosa_mel(samples: np.ndarray, config: FeatureConfig = DEFAULT) -> np.ndarray:
    """In float64, ``[frames, bands]``, of the first ``floor(n / hop)`` frames."""
    half = config.n_fft // 2
    frames = librosa.feature.melspectrogram(
        y=prolong(samples.astype(np.float64), half, half),
        sr=config.target_sample_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        n_mels=config.n_mels,
        fmin=config.fmin,
        fmax=config.fmax,
        power=1,
        center=False,
    )
    return frames[:, : len(samples) // config.hop_length].T


def librosa_bank(config: FeatureConfig) -> np.ndarray:
    """Weights, ``[bands, bins]``."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Empty filters detected")
        rate, bands = config.target_sample_rate, config.n_mels
        return librosa.filters.mel(
            sr=rate, n_fft=config.n_fft, n_mels=bands, fmin=config.fmin, fmax=config.fmax, dtype=np.float64
        )


@settings(deadline=None)  # librosa loads itself on first use
@given(low=st.floats(1, 50_000), width=st.floats(100, 70_000), bands=st.integers(1, 300))
def test_band_edges_are_librosas(low, width, bands) -> None:
    config = FeatureConfig(fmin=low, fmax=low + width, n_mels=bands)
    expected = librosa.mel_frequencies(bands + 2, fmin=low, fmax=low + width)
    edges = band_edges_hz(config)
    np.testing.assert_allclose(edges[:, 0], expected[:-2], rtol=1e-9)  # float64 through a logarithm and back
    np.testing.assert_allclose(edges[:, 1], expected[1:-1], rtol=1e-9)
    np.testing.assert_allclose(edges[:, 2], expected[2:], rtol=1e-9)


@pytest.mark.parametrize(
    "config", [DEFAULT, FeatureConfig(n_mels=64), FeatureConfig(384_000, 2048, 384, 96, 15_000.0, 190_000.0)]
)
def test_the_bank_is_librosas(config) -> None:
    mel = Mel(config, config.target_sample_rate)
    bank = np.zeros((config.n_mels, config.n_fft // 2 + 1))
    for group, (bins, bands) in enumerate(zip(mel.bins, np.array_split(np.arange(config.n_mels), 4), strict=True)):
        bank[bands, bins] = mel.get_buffer(f"bank_{group}").T
    expected = librosa_bank(config)
    # torchaudio places the edges in float32: 0.02 Hz of a triangle's half width of 350 Hz and more.
    np.testing.assert_allclose(bank * STEPS, expected, rtol=0, atol=1e-4 * expected.max())


@settings(deadline=None)
@given(low=st.integers(4, 200), width=st.integers(40, 300), bands=st.integers(20, 400), bins=st.booleans())
def test_bands_are_refused_if_and_only_if_one_of_them_holds_no_bin(low, width, bands, bins) -> None:
    fmin = low * 250 + (0 if bins else 77)  # on a bin, where the strictness counts, and off it
    assume(fmin + width * 250 <= RATE / 2)
    config = FeatureConfig(fmin=float(fmin), fmax=fmin + width * 250.0, n_mels=bands)
    bank = librosa_bank(config)
    heaviest = bank.max(1) / bank.max()
    assume(not ((heaviest > 1e-9) & (heaviest < 1e-6)).any())  # a bin on an edge to within rounding
    if (heaviest < 1e-9).any():
        with pytest.raises(ConfigError, match=r"data.n_mels: .* hold no FFT bin"):
            check_bands(config)
    else:
        check_bands(config)


@pytest.mark.parametrize("fmin, bands", [(10_000.0, 186), (8_000.0, 164), (5_000.0, 122), (74_000.0, 178)])
def test_a_band_that_only_touches_a_bin_with_its_edge_is_empty(fmin, bands) -> None:
    """The lower edge of the first band is a bin, which gets the weight 0; the next bin is beyond its upper edge."""
    config = FeatureConfig(fmin=fmin, n_mels=bands)
    assert band_edges_hz(config)[0, 2] < fmin + 250
    with pytest.raises(ConfigError, match=f"1 of {bands} mel bands"):
        check_bands(config)


def test_the_default_bands_hold_bins_each() -> None:
    check_bands(DEFAULT)


@given(rate=st.integers(20_000, 2_000_000))
def test_bands_are_dead_where_their_upper_edge_lies_above_95_percent_of_nyquist(rate) -> None:
    upper = librosa.mel_frequencies(130, fmin=10_000, fmax=100_000)[2:]
    assert dead_bands(DEFAULT, rate) == (upper > 0.95 * rate / 2).sum()


@pytest.mark.parametrize("rate, dead", [(384_000, 0), (214_285, 0), (192_000, 6), (144_000, 22), (20_000, 128)])
def test_dead_bands_of_usual_rates(rate, dead) -> None:
    assert dead_bands(DEFAULT, rate) == dead


@engines
@pytest.mark.parametrize("rate", [384_000, 500_000, 192_000, 48_000])
def test_mel_frames_at_another_rate_are_librosas_there(engine, rate) -> None:
    """Of windows that last as long, at the level that they have at the target rate."""
    mel, samples = Mel(DEFAULT, rate, engine), noise(0.1, rate, 0.1)
    half = rate * 1024 // RATE // 2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Empty filters detected")  # above 24 kHz of the last
        expected = librosa.feature.melspectrogram(
            y=prolong(samples, half, half), sr=rate, n_fft=2 * half, hop_length=rate // 1000,
            n_mels=128, fmin=DEFAULT.fmin, fmax=DEFAULT.fmax, power=1, center=False,
        )[:, :100].T  # fmt: skip
    spans = stream_spans([torch.from_numpy(samples * STEPS).float()[None]], mel.windows.size, mel.windows.hop)
    made = torch.cat([mel(span)[0] for span in spans])
    alive = DEFAULT.n_mels - dead_bands(DEFAULT, rate)  # in the others librosa cuts triangles otherwise
    level = RATE / rate
    np.testing.assert_allclose(
        made[:, :alive], level * expected[:, :alive], rtol=2e-4, atol=1e-6 * level * expected.max()
    )


@engines
def test_mel_frames_are_librosas(mels, engine) -> None:
    samples = noise(0.2, RATE, 0.1)[:51_150] + tone(45_000, 0.2, RATE)[:51_150]
    expected = librosa_mel(samples)
    # Float32 sums over 1,024 samples, and edges placed in float32, of values near the loudest.
    np.testing.assert_allclose(mel_of(mels[engine], samples), expected, rtol=2e-4, atol=1e-6 * expected.max())


def test_both_engines_agree_to_float32_rounding(mels) -> None:
    fft, convolved = (mel_of(mels[engine], noise(0.5, RATE, 0.1)) for engine in ("fft", "nnaudio"))
    torch.testing.assert_close(fft, convolved, rtol=2e-4, atol=1e-6 * float(fft.max()))


@engines
@settings(max_examples=20, deadline=None)
@given(place=st.integers(0, 20 * 256 - 1))
def test_frame_i_is_centred_on_i_times_hop(mels, engine, place) -> None:
    frames = 20
    click = np.zeros(frames * DEFAULT.hop_length)
    click[place] = 1
    mel = mel_of(mels[engine], click)
    assert mel.shape == (frames, DEFAULT.n_mels)
    loudest = int(mel.sum(1).argmax())
    # Half way between two centres both are right; behind the last centre stands no other frame.
    nearest = {min(frames - 1, (place + half) // DEFAULT.hop_length) for half in (127, 128)}
    assert loudest in nearest


@engines
@pytest.mark.parametrize("hz", [12_000, 30_000, 45_000, 80_000, 98_000])
def test_a_tone_lights_the_band_that_holds_it_at_the_level_of_its_amplitude(mels, engine, hz) -> None:
    mel = mel_of(mels[engine], tone(hz, 0.05, RATE, 0.1))[5:-5].mean(0).numpy()
    lower, _, upper = band_edges_hz(DEFAULT)[mel.argmax()]
    assert lower < hz < upper
    # Far from it there is only what leaks past the Hann window: -60 dB at 5 kHz.
    edges = band_edges_hz(DEFAULT)
    far = (edges[:, 0] > hz + 5000) | (edges[:, 2] < hz - 5000)
    assert mel[far].max() < 1e-3 * mel.max()


@engines
def test_mel_is_a_magnitude_so_twice_the_amplitude_is_twice_the_value(mels, engine) -> None:
    wave = noise(0.1, RATE)
    torch.testing.assert_close(mel_of(mels[engine], 2 * wave), 2 * mel_of(mels[engine], wave))


@engines
def test_int16_samples_give_the_same_bits_as_float32_ones(mels, engine) -> None:
    wave = torch.from_numpy((noise(0.1, RATE) * STEPS).clip(-STEPS, STEPS - 1)).short()[None]
    assert torch.equal(mels[engine](wave), mels[engine](wave.float()))


@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=20),
    n_fft=st.sampled_from([16, 30]),
    hop=st.integers(1, 16),
)
def test_spans_hold_the_windows_of_the_whole_each_once(lengths, n_fft, hop) -> None:
    samples = torch.arange(1.0, sum(lengths) + 1)
    ends = [0, *np.cumsum(lengths).tolist()]
    spans = [span[0] for span in stream_spans([samples[None, a:b] for a, b in pairwise(ends)], n_fft, hop)]
    windows = [span.unfold(0, n_fft, hop) for span in spans]
    assert all((window.shape[0] - 1) * hop + n_fft == len(span) for window, span in zip(windows, spans, strict=True))
    frames = len(samples) // hop
    assert sum(map(len, windows)) == frames
    if frames:
        padded = torch.from_numpy(prolong(samples.double().numpy() / STEPS, n_fft // 2, n_fft // 2) * STEPS).float()
        assert torch.equal(torch.cat(windows), padded.unfold(0, n_fft, hop)[:frames])
