"""When a sample is large enough that it need not grow: a rule that allows for being looked at after every recording.

Whoever computes a 95 % bound after each recording and stops as soon as it is low enough is wrong in more than 5 % of
surveys, since there are many occasions to be lucky. So the sample ends after n recordings with at most c(n) wrong ones
among them, where c(n) is the highest number that a stricter level allows. That level is the highest at which, were one
recording more wrong than is wanted, the sample would end at any moment with a chance of at most 5 %. The chance is
computed exactly, recording by recording; were still more wrong, it would be lower.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from batcache.reviewing.bound import CONFIDENCE, chances

LONGEST = 30
"""Over the wanted share: the size of the largest sample that may end before all are checked, 300 for 0.1."""
_HALVINGS = 12


@lru_cache(maxsize=8)
def most_wrong_to_stop(recordings: int, error: float, confidence: float = CONFIDENCE) -> tuple[int, ...]:
    """With how many wrong ones at most a sample of 0, 1, 2, ... recordings ends; -1 where it goes on in any case.

    Args:
        recordings: how many there are in all.
        error: the share of wrong ones that is wanted at most.
        confidence: that at most so many are wrong where the sample has ended.

    >>> ends = most_wrong_to_stop(100, 0.1)
    >>> ends.index(0), ends[-1]
    (33, 10)
    """
    wanted = int(error * recordings + 1e-9)
    if wanted >= recordings:
        return (0,)
    horizon = min(recordings, round(LONGEST / error)) if wanted else recordings
    expected = (int(error * n) + 1 for n in range(horizon + 1))  # a sample that ends has fewer wrong ones
    sums = [np.cumsum(chances(recordings, wanted + 1, n, most)) for n, most in enumerate(expected)]
    low, high = 0.0, 1 - confidence
    for _ in range(_HALVINGS):
        level = (low + high) / 2
        if _chance_to_stop(_limits(sums, level), recordings, wanted + 1) <= 1 - confidence:
            low = level
        else:
            high = level
    limits = _limits(sums, low)
    if horizon == recordings:
        limits[-1] = wanted  # then all were checked
    return tuple(limits.tolist())


def _limits(sums: list[NDArray[np.float64]], level: float) -> NDArray[np.int64]:
    """The highest number of wrong ones, at each size, that is as unlikely as the level. Shape: ``[sizes]``"""
    return np.array([int(np.searchsorted(of, level, side="right")) - 1 for of in sums])


def _chance_to_stop(limits: NDArray[np.int64], recordings: int, wrong: int) -> float:
    """How likely a sample ever ends, where so many of all recordings are wrong."""
    going_on, ended = np.zeros(min(wrong, int(limits.max(initial=0)) + 1) + 1), 0.0  # the last: as many, or more
    going_on[0] = 1.0
    found = np.arange(len(going_on))
    for n, limit in enumerate(limits.tolist()):
        if n:
            share = np.clip((wrong - found) / (recordings - n + 1), 0, 1)
            moved = going_on * share
            going_on -= moved
            going_on[1:] += moved[:-1]
        ended += going_on[: limit + 1].sum()
        going_on[: limit + 1] = 0
    return float(ended)
