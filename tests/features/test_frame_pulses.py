"""Pulses in PCEN frames: what is short counts, what lasts does not."""

import pytest
import torch
from torch import Tensor

from batcache.features.frame_pulses import APART, count_pulses


def frames_with(*begins: int, length: int = 5, height: float = 3.0) -> Tensor:
    """Two instances of quiet noise, with blocks of some bands that begin at these frames."""
    frames = torch.rand(1000, 32, generator=torch.Generator().manual_seed(0)) * 0.05
    for begin in begins:
        frames[begin : begin + length, 10:14] += height
    return frames.view(2, 500, 32)


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
    assert count_pulses(frames.half()) == count_pulses(frames)


def test_zeros_have_none() -> None:
    assert count_pulses(torch.zeros(3, 500, 128)) == 0
