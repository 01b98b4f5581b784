"""How many short sounds stand out of a recording's PCEN frames: a witness for bats that has learnt nothing.

The frames are smoothed over 3 x 3, each moment takes the strongest band, and half a second's median is taken away: what
lasts falls to nothing, what is short stays. Peaks of at least ``LEAST``, 8 ms apart, are pulses. Of 77 recordings of
bats 95 in 100 have 1.6 or more in half a second; hiss, wind and tones have none, but insects and clicks do.
"""

import numpy as np
from numpy.typing import NDArray

LEAST = 0.5
APART = 8
"""Frames of 1 ms."""


def count_pulses(instances: NDArray[np.float16] | NDArray[np.float32]) -> int:
    """Count the pulses in instances of half a second or so. Shape: ``[N, T, M]`` PCEN frames."""
    strongest = _smooth(instances.astype(np.float32)).max(2)
    medians = np.partition(strongest, (strongest.shape[1] - 1) // 2, axis=1)[:, (strongest.shape[1] - 1) // 2]
    filled = (instances != 0).any(2)
    for i in np.flatnonzero(filled.any(1) & ~filled[:, -1]):  # what is padded has no part in the median
        medians[i] = np.median(strongest[i, : np.flatnonzero(filled[i])[-1] + 1])
    strongest -= medians[:, None]
    around = np.pad(strongest, ((0, 0), (APART, APART)), constant_values=-np.inf)
    highest = np.lib.stride_tricks.sliding_window_view(around, 2 * APART + 1, axis=1).max(2)
    peaks = (strongest >= LEAST) & (strongest == highest)
    # A plateau of equal frames, as digital sounds have, is one pulse.
    begins = peaks & ~np.pad(peaks, ((0, 0), (1, 0)))[:, :-1]
    return int(begins.sum())


def _smooth(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of 3 x 3 neighbours, with 0 beyond the edges. Shape: ``[N, T, M]`` -> the same"""
    along_time, smooth = frames.copy(), np.empty_like(frames)
    along_time[:, 1:] += frames[:, :-1]
    along_time[:, :-1] += frames[:, 1:]
    smooth[:] = along_time
    smooth[:, :, 1:] += along_time[:, :, :-1]
    smooth[:, :, :-1] += along_time[:, :, 1:]
    smooth /= 9
    return smooth
