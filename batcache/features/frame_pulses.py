"""How many short sounds stand out of a recording's PCEN frames: a witness for bats that has learnt nothing.

The frames are smoothed over 3 x 3, each moment takes the strongest band, and half a second's median is taken away: what
lasts falls to nothing, what is short stays. Peaks of at least ``LEAST``, 8 ms apart, are pulses. Of 77 recordings of
bats 95 in 100 have 1.6 or more in half a second; hiss, wind and tones have none, but insects and clicks do.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

LEAST = 0.5
APART = 8
"""Frames of 1 ms."""


def count_pulses(instances: NDArray[Any]) -> int:
    """Count the pulses in instances of half a second or so. Shape: ``[N, T, M]`` PCEN frames, any float type."""
    padded = np.pad(np.asarray(instances, np.float32), ((0, 0), (1, 1), (1, 1)))
    along = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    smooth = (along[..., :-2] + along[..., 1:-1] + along[..., 2:]) / 9
    strongest = smooth.max(2)
    lasting = np.partition(strongest, (strongest.shape[1] - 1) // 2, 1)[:, [(strongest.shape[1] - 1) // 2]]
    strongest = strongest - lasting  # the lower of two medians
    around = np.pad(strongest, ((0, 0), (APART, APART)), constant_values=-np.inf)
    highest = sliding_window_view(around, 2 * APART + 1, 1).max(2)
    peaks = (strongest >= LEAST) & (strongest == highest)
    # A plateau of equal frames, as digital sounds have, is one pulse.
    begins = peaks & ~np.pad(peaks, ((0, 0), (1, 0)))[:, :-1]
    return int(begins.sum())
