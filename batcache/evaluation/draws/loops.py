"""Loops over a million clips, compiled for the CPU: numpy would take minutes and gigabytes for them."""

import numpy as np
from numpy.typing import NDArray

from batcache.features.kernels import compiled

POSITIVE, OPENS, CLOSES = 1, 2, 4
"""Flags of a ranked clip: it holds the species; it is the first, or the last, of a step that holds such a clip."""


def add_draw(drawn: NDArray[np.uint32], times: NDArray[np.uint8]) -> None:
    """Count how often each unit was drawn. Shape: drawn ``[n]``; times ``[units]``, added to. Both contiguous."""
    compiled(_add_draw, "void(uint32[::1], uint8[::1])")(drawn, times)


def sum_steps(
    units: NDArray[np.int32],
    flags: NDArray[np.uint8],
    reaching: int,
    weights: NDArray[np.uint8],
    precision: NDArray[np.float64],
    false_above: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    """Walk from the best clip to the worst under many draws at once, and sum what `Ranking` needs.

    Shape: all contiguous
        - units, flags: ``[clips]``, the best first; of each its unit, and its flags
        - reaching: how many of them reach the threshold
        - weights: ``[units, D]``
        - precision: ``[D]``, zeros; becomes the sum over steps of ``t T / (T + F)``
        - false_above: ``[D]``, zeros; becomes that of ``t (F before the step + F after it)``
        - counts: ``[4, D]``; becomes positives and all clips that reach the threshold, positives and negatives in all

    The sums of weights must stay below 2^31.
    """
    signature = "void(int32[::1], uint8[::1], int64, uint8[:,::1], float64[::1], float64[::1], int64[:,::1])"
    compiled(_sum_steps, signature)(units, flags, reaching, weights, precision, false_above, counts)


def _add_draw(drawn: NDArray[np.uint32], times: NDArray[np.uint8]) -> None:
    for i in range(drawn.shape[0]):
        times[drawn[i]] += np.uint8(1)


def _sum_steps(
    units: NDArray[np.int32],
    flags: NDArray[np.uint8],
    reaching: int,
    weights: NDArray[np.uint8],
    precision: NDArray[np.float64],
    false_above: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    draws, clips = weights.shape[1], units.shape[0]
    true, false = np.zeros(draws, np.int32), np.zeros(draws, np.int32)
    false_before, step = np.zeros(draws, np.int32), np.zeros(draws, np.int32)
    for i in range(clips):
        if i == reaching:
            counts[0], counts[1] = true, true + false
        flag, times = flags[i], weights[units[i]]
        if flag & OPENS:
            false_before[:], step[:] = false, 0
        if flag & POSITIVE:
            for d in range(draws):
                step[d] += times[d]
        else:
            for d in range(draws):
                false[d] += times[d]
        if flag & CLOSES:
            for d in range(draws):
                true[d] += step[d]
                predicted = max(true[d] + false[d], 1)
                precision[d] += np.float64(step[d]) * np.float64(true[d]) / np.float64(predicted)
                false_above[d] += np.float64(step[d]) * (np.float64(false_before[d]) + np.float64(false[d]))
    if reaching == clips:
        counts[0], counts[1] = true, true + false
    counts[2], counts[3] = true, false
