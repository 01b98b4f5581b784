"""How many short sounds stand out of a recording's PCEN frames: a witness for bats that has learnt nothing.

The frames are smoothed over 3 x 3, each moment takes the strongest band, and half a second's median is taken away: what
lasts falls to nothing, what is short stays. Peaks of at least ``LEAST``, 8 ms apart, are pulses. Of 77 recordings of
bats 95 in 100 have 1.6 or more in half a second; hiss, wind and tones have none, but insects and clicks do.
"""

import torch.nn.functional as F
from torch import Tensor

LEAST = 0.5
APART = 8
"""Frames of 1 ms."""


def count_pulses(instances: Tensor) -> int:
    """Count the pulses in instances of half a second or so. Shape: ``[N, T, M]`` PCEN frames, any float type."""
    smooth = F.avg_pool2d(instances.float().unsqueeze(1), 3, 1, 1).squeeze(1)
    strongest = smooth.amax(2)
    strongest = strongest - strongest.median(1, keepdim=True).values
    highest = F.max_pool1d(strongest.unsqueeze(1), 2 * APART + 1, 1, APART).squeeze(1)
    peaks = (strongest >= LEAST) & (strongest == highest)
    # A plateau of equal frames, as digital sounds have, is one pulse.
    begins = peaks & ~F.pad(peaks, (1, 0))[:, :-1]
    return int(begins.sum())
