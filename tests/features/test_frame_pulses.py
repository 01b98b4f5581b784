"""Pulses in PCEN frames: what is short counts, what lasts does not."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from batcache.features.frame_pulses import APART, LEAST, count_pulses


def frames_with(*begins: int, length: int = 5, height: float = 3.0) -> np.ndarray:
    """Two instances of quiet noise, with blocks of some bands that begin at these frames."""
    frames = np.random.default_rng(0).random((1000, 32), np.float32) * 0.05
    for begin in begins:
        frames[begin : begin + length, 10:14] += height
    return frames.reshape(2, 500, 32)


@pytest.mark.parametrize("begins", [(), (20,), (20, 100, 180, 600, 900)])
def test_each_short_sound_is_one_pulse(begins: tuple[int, ...]) -> None:
    assert count_pulses(frames_with(*begins)) == len(begins)


def test_what_lasts_is_no_pulse() -> None:
    """A tone through the whole of an instance is its own median."""
    assert count_pulses(frames_with(0, length=1000)) == 0


def test_pulses_nearer_than_8_ms_are_one_and_others_are_two() -> None:
    near, far = frames_with(100, 100 + APART - 3, length=2), frames_with(100, 100 + 2 * APART, length=2)
    assert (count_pulses(near), count_pulses(far)) == (1, 2)


def test_half_precision_counts_the_same() -> None:
    frames = frames_with(50, 300, 700)
    assert count_pulses(frames.astype(np.float16)) == count_pulses(frames)


def test_padding_is_no_background_above_which_noise_stands_out() -> None:
    frames = np.random.default_rng(1).random((1, 500, 32), np.float32) + 1.0
    frames[0, 150:] = 0
    assert count_pulses(frames) == 0


def test_zeros_have_none() -> None:
    assert count_pulses(np.zeros((3, 500, 128), np.float16)) == 0


def count_by_torch(instances: np.ndarray) -> int:
    """The same in the words of torch's poolings."""
    smooth = F.avg_pool2d(torch.from_numpy(instances).float().unsqueeze(1), 3, 1, 1).squeeze(1)
    strongest = smooth.amax(2)
    strongest = strongest - strongest.median(1, keepdim=True).values
    peaks = (strongest >= LEAST) & (
        strongest == F.max_pool1d(strongest.unsqueeze(1), 2 * APART + 1, 1, APART).squeeze(1)
    )
    return int((peaks & ~F.pad(peaks, (1, 0))[:, :-1]).sum())


@pytest.mark.parametrize("shape", [(1, 500, 128), (7, 500, 100), (3, 333, 40), (2, 17, 1), (4, 1, 8)])
def test_poolings_of_another_library_count_as_many(shape: tuple[int, int, int]) -> None:
    """In noise that has many peaks; sums in another order may tell one of a thousand otherwise."""
    frames = np.random.default_rng(0).gamma(0.3, 2, shape).astype(np.float16)
    assert abs(count_pulses(frames) - count_by_torch(frames)) <= count_by_torch(frames) / 1000
