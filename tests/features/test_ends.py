"""The laws of ``batcache.features.ends``: an offset is no sound, neither in a recording nor where it begins or ends."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from batcache.config.features import FeatureConfig
from batcache.features.ends import continued
from batcache.features.frontend import FrontEnd
from batcache.features.mel import ENGINES
from tests.conftest import noise

RATES = [384_000, 312_500, 214_285]  # spectra at its own rate, after the sinc kernel, after soxr
OFFSET = 983  # 16-bit steps: 3 % of full scale
engines = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture(scope="module")
def front_ends() -> dict[str, FrontEnd]:
    return {engine: FrontEnd(FeatureConfig(), "cpu", engine) for engine in ENGINES}


def features(front_end: FrontEnd, samples: np.ndarray, rate: int) -> np.ndarray:
    """Of int16 samples."""
    return torch.cat([frames[0] for frames in front_end.stream_batch([torch.from_numpy(samples)[None]], rate)]).numpy()


def hiss(rate: int, seconds: float = 0.3) -> np.ndarray:
    """Noise of a quiet recorder, 16 steps."""
    return np.round(noise(seconds, rate, 16)).astype(np.int16)


@engines
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("offset", [OFFSET, -OFFSET, 10_000])
def test_an_offset_changes_no_feature(front_ends, engine, rate, offset) -> None:
    quiet = hiss(rate)
    made, expected = (features(front_ends[engine], quiet + np.int16(shift), rate) for shift in (offset, 0))
    # Float32 sums over 1,500 samples near 10,000 where the noise is 16; the resamplers' DC gain is 1 within 1e-5.
    assert np.abs(made.astype(float) - expected).max() < 0.02, "features of noise are near 0.45"


@engines
@pytest.mark.parametrize("rate", RATES)
def test_the_first_and_the_last_frame_of_a_recording_with_an_offset_are_like_their_neighbours(
    front_ends, engine, rate
) -> None:
    made = features(front_ends[engine], hiss(rate) + np.int16(OFFSET), rate).astype(float)
    within, ends = made[3:-3].mean(1), made[[0, 1, -2, -1]].mean(1)
    # Half of the first window is silent: 0.7 of the magnitude. Against zeros the offset gave 13 times as much.
    assert (ends > 0.5 * within.min()).all() and (ends < 1.1 * within.max()).all()
    assert made[[0, -1]].max() < 1.1 * made[3:-3].max()


def test_recordings_of_one_batch_have_their_own_level(front_ends) -> None:
    rows = [hiss(384_000), hiss(384_000) + np.int16(OFFSET), hiss(384_000) - np.int16(5000)]
    together = torch.cat(list(front_ends["fft"].stream_batch([torch.from_numpy(np.stack(rows))], 384_000)), 1)
    for row, made in zip(rows, together.numpy(), strict=True):
        np.testing.assert_array_equal(made, features(front_ends["fft"], row, 384_000))


@pytest.mark.parametrize("rate", RATES)
def test_a_recording_that_is_one_value_has_no_features(front_ends, rate) -> None:
    constant = np.full(round(0.2 * rate), 1234, np.int16)
    # Not quite none: what float32 makes of 1,500 equal samples.
    assert np.abs(features(front_ends["fft"], constant, rate)).max() < 1e-2


def test_a_recording_shorter_than_its_ends_goes_on_at_its_mean() -> None:
    (made,) = continued([torch.tensor([[1.0, 3.0]])], 4, 3)
    assert made.tolist() == [[2, 2, 2, 2, 1, 3, 2, 2, 2]]
    assert list(continued([], 4, 3)) == []


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=20),
    before=st.integers(1, 50),
    after=st.integers(1, 50),
    dtype=st.sampled_from([torch.int16, torch.float32]),
)
def test_ends_are_the_mean_of_as_many_samples_however_blocks_are_cut(lengths, before, after, dtype) -> None:
    samples = torch.from_numpy(np.random.default_rng(0).normal(100, 30, (2, sum(lengths)))).to(dtype)
    ends = [0, *np.cumsum(lengths).tolist()]
    blocks = list(continued([samples[:, a:b] for a, b in pairwise(ends)], before, after))
    joined = torch.cat(blocks, -1)
    assert joined.dtype == dtype
    assert torch.equal(joined[:, before:-after], samples)
    if samples.shape[1]:
        first, last = (samples[:, part].double().mean(1).round() for part in (slice(before), slice(-after, None)))
        assert torch.equal(joined[:, :before].double(), first[:, None].expand(-1, before))
        assert torch.equal(joined[:, -after:].double(), last[:, None].expand(-1, after))
