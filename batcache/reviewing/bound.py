"""How many of some recordings are wrong at most, from a sample of them that was checked.

Where ``wrong`` of ``checked`` recordings were wrong, drawn at random from a finite number without putting any back, the
number of wrong ones in the sample is hypergeometric. The exact one-sided upper bound at 95 % is the largest number of
wrong recordings in all with which so few, or fewer, are in the sample in more than 5 % of samples. It is the bound of
Clopper and Pearson (1934) for a finite population.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95


def most_wrong(recordings: int, checked: int, wrong: int, confidence: float = CONFIDENCE) -> int:
    """The upper bound of the number of wrong recordings among all of them.

    Args:
        recordings: how many there are in all.
        checked: of these, how many were drawn and checked.
        wrong: of these, how many were wrong.
        confidence: in what share of samples the bound lies at or above the true number, or more.

    >>> most_wrong(100, 20, 0), most_wrong(100, 100, 3), most_wrong(100, 0, 0)
    (12, 3, 100)
    """
    low, high = wrong, recordings - (checked - wrong)
    while low < high:  # the chance of so few falls as more are wrong in all
        middle = (low + high + 1) // 2
        if chance_of_as_few(wrong, recordings, middle, checked) > 1 - confidence:
            low = middle
        else:
            high = middle - 1
    return low


def chance_of_as_few(few: int, recordings: int, wrong: int, checked: int) -> float:
    """How likely at most ``few`` of the ``checked`` are wrong, where ``wrong`` of all ``recordings`` are."""
    return float(chances(recordings, wrong, checked, few).sum())


def chances(recordings: int, wrong: int, checked: int, most: int) -> NDArray[np.float64]:
    """How likely 0, 1, 2, ... ``most`` of the ``checked`` are wrong. Shape: ``[min(wrong, checked, most) + 1]``"""
    found = np.arange(min(wrong, checked, most) + 1)
    right = checked - found
    possible = right <= recordings - wrong
    logs = _log_choose(wrong, found) + _log_choose(recordings - wrong, np.where(possible, right, 0))
    likely: NDArray[np.float64] = np.exp(logs - _log_choose(recordings, np.array(checked)))
    return np.where(possible, likely, 0.0)


def _log_choose(of: int, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    logs = _log_factorials(_room(of))
    return np.asarray(logs[of] - logs[chosen] - logs[of - chosen], np.float64)


def _room(number: int) -> int:
    """A power of two above a number, so that few tables are made."""
    return 1 << max(10, int(number).bit_length())


@lru_cache(maxsize=8)
def _log_factorials(count: int) -> NDArray[np.float64]:
    """The logarithms of 0!, 1!, ... Shape: ``[count]``"""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count)))])
