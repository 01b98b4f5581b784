"""Short sounds that stand out of a recording's PCEN frames: a witness for bats that has learnt nothing.

The frames are smoothed over 3 x 3, each moment takes the strongest band, and half a second's median is taken away: what
lasts falls to nothing, what is short stays. Peaks of at least ``LEAST``, 8 ms apart, are pulses. Of 77 recordings of
bats 95 in 100 have 1.6 or more in half a second; hiss, wind and tones have none, but insects and clicks do.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST = 0.5
APART = 8
"""Frames of 1 ms."""


@dataclass(frozen=True)
class FramePulses:
    """Pulses in order of time: the frame of each, counted through all instances, and by how much it stands out."""

    frame: NDArray[np.intp]
    height: NDArray[np.float32]


def find_frame_pulses(instances: NDArray[np.float16] | NDArray[np.float32]) -> FramePulses:
    """Find the pulses in instances of half a second or so. Shape: ``[N, T, M]`` PCEN frames."""
    smoothed = np.stack([_smooth(one.astype(np.float32)).max(1) for one in instances])
    strongest = (smoothed / 9).astype(np.float32)
    medians = np.partition(strongest, (strongest.shape[1] - 1) // 2, axis=1)[:, (strongest.shape[1] - 1) // 2]
    for i in np.flatnonzero(~instances[:, -1].any(1)):  # what is padded has no part in the median
        filled = np.flatnonzero(instances[i].any(1))
        if len(filled):
            medians[i] = np.median(strongest[i, : filled[-1] + 1])
    strongest -= medians[:, None]
    around = np.pad(strongest, ((0, 0), (APART, APART)), constant_values=-np.inf)
    highest = np.lib.stride_tricks.sliding_window_view(around, 2 * APART + 1, axis=1).max(2)
    peaks = (strongest >= LEAST) & (strongest == highest)
    # A plateau of equal frames, as digital sounds have, is one pulse.
    begins = peaks & ~np.pad(peaks, ((0, 0), (1, 0)))[:, :-1]
    frames = np.flatnonzero(begins)
    return FramePulses(frames, strongest.ravel()[frames])


def count_pulses(instances: NDArray[np.float16] | NDArray[np.float32]) -> int:
    """Count the pulses in instances of half a second or so. Shape: ``[N, T, M]`` PCEN frames."""
    return len(find_frame_pulses(instances).frame)


def _smooth(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum of 3 x 3 neighbours, with 0 beyond the edges. Shape: ``[T, M]`` -> the same

    An instance at a time stays in the processor's cache.
    """
    along_time = frames.copy()
    along_time[1:] += frames[:-1]
    along_time[:-1] += frames[1:]
    smooth = along_time.copy()
    smooth[:, 1:] += along_time[:, :-1]
    smooth[:, :-1] += along_time[:, 1:]
    return smooth
