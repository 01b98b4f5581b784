"""Pulses in a signal: short sounds of one moving frequency that stand out of the noise, by the header's clock.

The window is counted in samples. So a bat's call of some milliseconds spans some tens of hops whether it was recorded
at 96 kHz or at 384 kHz and then expanded: the number of samples in a call does not know the factor.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_SAMPLES = 1 << 20
"""What is looked at: the first 11 s at a header rate of 96 kHz, 27 s at 38.4 kHz."""

_WINDOW, _HOP = 256, 64
_CONTRAST = 10**1.7
"""A pulse's power over its band's noise. The greatest of 2 million exponentially distributed values is 15 times their
mean, 11.6 dB: at 17 dB noise alone makes no pulse."""

_QUIET_SHARE = 0.2
_QUIET_OVER_MEAN = -np.log(1 - _QUIET_SHARE)
"""The 0.2 quantile of an exponential distribution over its mean: horseshoe bats call for up to 0.7 of the time."""

_DEEPEST = 1e-7
"""Of the loudest: noise is never taken for less, so that stretches of digital silence make nothing else stand out."""

_NEAR = 3  # bins: a tone in a Hann window fills 3, a fast sweep some more; a click fills all
_SHORTEST, _LONGEST_GAP = 3, 8  # hops


@dataclass(frozen=True)
class Pulses:
    """Pulses in order. Shapes: ``[P]``; times in seconds and frequencies in Hz by the header's clock.

    ``hz`` is the frequency at the loudest moment. ``falls`` where the pulse ends lower than it began, or as high.
    """

    start_s: NDArray[np.float64]
    duration_s: NDArray[np.float64]
    hz: NDArray[np.float64]
    falls: NDArray[np.bool_]


def find_pulses(blocks: Iterable[NDArray[np.int16] | NDArray[np.float32]], rate: int) -> Pulses:
    """Find the pulses in at most the first ``MOST_SAMPLES`` samples."""
    taken: list[NDArray[np.float32]] = []
    for block in blocks:
        taken.append(block[: MOST_SAMPLES - sum(map(len, taken))].astype(np.float32))
        if sum(map(len, taken)) == MOST_SAMPLES:
            break
    samples = np.concatenate(taken)
    if len(samples) < 2 * _WINDOW:
        return _measure([], np.zeros((0, 1), np.float32), np.zeros(0, np.int64), rate)
    power = _spectrogram(samples)
    frames = np.arange(len(power))
    noise = np.quantile(power[:: -(-len(power) // 2000)], _QUIET_SHARE, axis=0) / _QUIET_OVER_MEAN
    contrast = power / np.maximum(noise, _DEEPEST * power.max() or 1.0).astype(np.float32)
    peak = contrast.argmax(axis=1)
    near = np.zeros(len(power), np.float32)
    for offset in range(-_NEAR, _NEAR + 1):
        near += contrast[frames, np.clip(peak + offset, 0, power.shape[1] - 1)]
    loud = (contrast[frames, peak] > _CONTRAST) & (near > 0.5 * contrast.sum(axis=1))
    return _measure(_runs(loud), power, peak, rate)


def _spectrogram(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power by Hann windows, without the bands at 0 and at Nyquist. Shape: ``[frames, 127]``."""
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    power = np.empty((len(frames), _WINDOW // 2 - 1), np.float32)
    for first in range(0, len(frames), 1024):
        spectrum = np.fft.rfft(frames[first : first + 1024] * window)[:, 1:-1]
        power[first : first + 1024] = spectrum.real**2 + spectrum.imag**2
    return power


def _runs(loud: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Spans (first, behind the last) of loud frames; those with a short gap between them, as of one call, are one."""
    edges = np.flatnonzero(np.diff(loud.astype(np.int8), prepend=0, append=0))
    runs: list[tuple[int, int]] = []
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if runs and first - runs[-1][1] <= _LONGEST_GAP:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((first, end))
    return [run for run in runs if run[1] - run[0] >= _SHORTEST]


def _measure(runs: list[tuple[int, int]], power: NDArray[np.float32], peak: NDArray[np.int64], rate: int) -> Pulses:
    bin_hz, hop_s = rate / _WINDOW, _HOP / rate
    loudest = [first + int(power[np.arange(first, end), peak[first:end]].argmax()) for first, end in runs]
    spans = np.array(runs, np.float64).reshape(-1, 2) * hop_s
    return Pulses(
        start_s=spans[:, 0],
        duration_s=spans[:, 1] - spans[:, 0],
        hz=(peak[np.array(loudest, np.int64)] + 1).astype(np.float64) * bin_hz,
        falls=np.array([peak[end - 1] <= peak[first] for first, end in runs], np.bool_),
    )
