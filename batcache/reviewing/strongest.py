"""The strongest pulses of a part of a clip, with the measures by which people tell bats: when, how high, how long.

Frames are smoothed over 3 x 3; of each moment the strongest band is taken, less the median of all moments, which keeps
what lasts out. Highest moments that stand ``LEAST`` above that, ``APART`` frames from each other, are pulses. A pulse
lasts as long as it stays above half of its height: to a frame, commonly 1 ms. Its frequency is that of the strongest
band at the highest moment: to a band, commonly 1 to 3 kHz.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batcache.features.bands import band_edges_hz
from batcache.features.frame_pulses import APART, LEAST
from batcache.reviewing.recordings import Span

MOST = 6


@dataclass(frozen=True)
class Pulse:
    """A short sound: its highest moment in true seconds of the recording, the frequency then, and how long it lasts."""

    at_s: float
    peak_khz: float
    duration_ms: float


def find_strongest(span: Span, most: int = MOST) -> tuple[Pulse, ...]:
    """The strongest pulses, in the order of time; none where the features are not PCEN."""
    if span.features.compression != "pcen" or len(span.frames) < 2:
        return ()
    smooth = _smooth(span.frames)
    strongest = smooth.max(1)
    strongest = strongest - np.median(strongest)
    around = np.pad(strongest, APART, constant_values=-np.inf)
    highest = np.lib.stride_tricks.sliding_window_view(around, 2 * APART + 1).max(1)
    is_peak = (strongest >= LEAST) & (strongest == highest)
    peaks = np.flatnonzero(is_peak & ~np.pad(is_peak, (1, 0))[:-1])  # of equal frames in a row the first
    centres = band_edges_hz(span.features)[:, 1] / 1000
    found = sorted(peaks[np.argsort(-strongest[peaks], kind="stable")][:most].tolist())
    per_second = span.features.frames_per_second
    return tuple(
        Pulse(
            span.start_s + at / per_second,
            float(centres[smooth[at].argmax()]),
            1000 * _length(strongest, at) / per_second,
        )
        for at in found
    )


def _length(strongest: NDArray[np.float32], at: int) -> int:
    """How many frames around a peak stay above half of it."""
    below = strongest < strongest[at] / 2
    before, after = np.flatnonzero(below[:at]), np.flatnonzero(below[at:])
    first = before[-1] + 1 if len(before) else 0
    return int((at + after[0] if len(after) else len(below)) - first)


def _smooth(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of 3 x 3 neighbours, with the edge repeated beyond it. Shape: ``[F, n_mels]`` -> the same"""
    padded = np.pad(frames, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return np.asarray((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9, np.float32)
