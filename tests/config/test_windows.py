"""Windows, hops and instances last equally long at every rate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcache.config.features import FeatureConfig, StftWindow
from batcache.config.settings import DataConfig


def test_five_seconds_are_ten_instances() -> None:
    data = DataConfig()
    assert data.frames_per_second == 1000
    assert data.frames_per_instance == 500
    assert data.frames(5 * 384_000, 384_000) == 10 * data.frames_per_instance


@given(samples=st.integers(0, 10**9), rate=st.integers(8_000, 2_000_000))
def test_a_recording_has_as_many_frames_as_whole_milliseconds(samples: int, rate: int) -> None:
    """But for the sample by which resampling may round up."""
    exact = samples * 1000 // rate
    assert FeatureConfig().frames(samples, rate) - exact in ((0, 1) if rate % 1000 else (0,))


@given(rate=st.integers(8_000, 2_000_000))
def test_windows_last_equally_long_at_every_rate(rate: int) -> None:
    """4.096 ms would be no whole number of samples at most rates: there, and only there, one resamples."""
    windows = FeatureConfig().stft_window(rate)
    assert (windows.size * 256_000, windows.hop * 256_000) == (1024 * windows.rate, 256 * windows.rate)
    assert windows.rate == (rate if rate % 1000 == 0 else 256_000)


@pytest.mark.parametrize(
    "rate, expected",
    [
        (256_000, StftWindow(256_000, 1024, 256)),
        (384_000, StftWindow(384_000, 1536, 384)),
        (500_000, StftWindow(500_000, 2000, 500)),
        (192_000, StftWindow(192_000, 768, 192)),
        (312_500, StftWindow(256_000, 1024, 256)),
        (44_100, StftWindow(256_000, 1024, 256)),
    ],
)
def test_windows_at_usual_rates(rate: int, expected: StftWindow) -> None:
    assert FeatureConfig().stft_window(rate) == expected


def test_a_window_of_an_odd_number_of_samples_has_no_centre_so_it_is_resampled() -> None:
    config = FeatureConfig(target_sample_rate=200_000, n_fft=300, hop_length=200)
    assert config.stft_window(100_000) == StftWindow(100_000, 150, 100)
    assert config.stft_window(50_000) == StftWindow(200_000, 300, 200)
