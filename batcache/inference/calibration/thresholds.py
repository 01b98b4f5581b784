"""At and above which score a species counts: a promised precision where enough is known, else the best F1.

**Promised precision** (Angelopoulos et al. 2021, "Learn then test", by a fixed sequence). Thresholds are walked from
high to low, each with a twentieth more clips above it than the last; at each the exact one-sided 95 % bound of the
precision is taken, and the first that falls below the wanted precision ends the walk. Which thresholds are walked is
decided by scores and groups alone, before any label is looked at, and the walk begins where the bound could first reach
the wanted precision, all clips being right (29 clips for 0.9). So no more than 5 % of thresholds chosen like this miss
what they promise, though many are looked at.

What is assumed: nights like those of the held-out clips, labelled whatever their score. Clips of one site-night are no
independent witnesses: a wrong bat may have called all night. In the bound m_1 ... m_G clips of G groups count as
(sum m)^2 / sum m^2 (Kish's effective number), which is the number of groups where all are alike: clips of one group
count as one, as if right or wrong together.

**Best F1**, where that promises nothing: a clip is reported where its calibrated probability is at least F/2, which is
best where F is the highest F1 that can be expected (Lipton, Elkan and Naryanaswamy 2014): the maximum over scores of
2 E[right] / (E[reported] + E[present]), with expectations by these probabilities. Their slopes are pooled over species,
see ``platt``: else a handful of clips would decide alone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batcache.inference.calibration.bounds import chance_of_as_many, fewest_to_promise
from batcache.inference.calibration.platt import Floats, Platt, known_of, sigmoid

PROMISED, BEST_F1, EVEN = "promised precision", "best F1", "a probability of 0.5"
NOTHING, GIVEN = "no threshold can be promised", "given"
"""What a threshold rests on."""
USUAL = 0.5
"""The threshold where nothing is known of any."""
PRECISION = 0.9
"""What is wanted by default."""
FEWEST = 3
"""For a best F1, so many clips must hold the species, and so many lack it."""
_RISK = 0.05
_GROWTH = 1.05
_STEPS = 1e6
"""Thresholds are whole multiples of 1 / so many, so that a table can hold them."""


@dataclass(frozen=True)
class Threshold:
    """The threshold of one species.

    Attributes:
        value: of the scores, 0 to 1, at and above which it counts.
        basis: ``PROMISED``, ``BEST_F1``, ``EVEN`` (of groups), ``NOTHING`` or ``GIVEN``.
        clips: held-out clips with a score of which it is known whether they hold the species.
        positives: that hold it.
        groups: of how many site-nights, or recordings where no group is given, these clips are.
        promised: the precision that is promised, with 95 % confidence; None where none is.
    """

    value: float = USUAL
    basis: str = NOTHING
    clips: int = 0
    positives: int = 0
    groups: int = 0
    promised: float | None = None


def choose_threshold(
    logits: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    groups: NDArray[np.integer[Any]],
    platt: Platt | None,
    precision: float = PRECISION,
    *,
    even: bool = False,
) -> Threshold:
    """Choose the threshold of one species, or of one group of species.

    Args:
        logits: of scores of held-out clips; NaN where there is none. Shape: ``[R]``
        labels: 1, 0 or -1, unknown. Shape: ``[R]``
        groups: a number for each clip's site-night or recording. Shape: ``[R]``
        platt: its calibration, for a best F1 or an even probability; None where there is none.
        precision: that is wanted, above 0 and below 1.
        even: where nothing can be promised, take the score at which the probability is 0.5, not that of the best F1.
    """
    x, there, known = known_of(logits, labels)
    of = groups[known]
    counts = len(x), int(there.sum()), len(np.unique(of))
    scores = _to_steps(sigmoid(x))
    if (value := _walk(scores, there, of, precision)) is not None:
        return Threshold(value, PROMISED, *counts, precision)
    if platt is not None and min(there.sum(), (~there).sum()) >= FEWEST:
        return Threshold(even_score(platt), EVEN, *counts) if even else Threshold(_best_f1(x, platt), BEST_F1, *counts)
    return Threshold(USUAL, NOTHING, *counts)


def _walk(scores: Floats, there: NDArray[np.bool_], groups: NDArray[np.integer[Any]], precision: float) -> float | None:
    """The lowest threshold of the walk at which the precision can be promised; None where even the first fails."""
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], np.cumsum(there[order])
    above = np.arange(1, len(scores) + 1)
    effective = above**2 / np.cumsum(2 * _earlier_of_group(groups[order]) + 1)
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else above
    begun, most, found = False, 0, None
    for last in ends.tolist():
        n = last + 1
        if not begun and effective[last] < fewest_to_promise(precision):
            continue
        if begun and n < _GROWTH * most and last != ends[-1]:
            continue
        begun, most = True, n
        kish = float(effective[last])
        if chance_of_as_many(kish * float(right[last]) / n, kish, precision) > _RISK:
            break
        found = float(scores[last])
    return found


def count_effective(groups: NDArray[np.integer[Any]]) -> float:
    """How many independent witnesses these clips count as, by the groups that they are of; 0 of none."""
    sizes = np.unique(groups, return_counts=True)[1]
    return float(sizes.sum() ** 2 / (sizes**2).sum()) if len(sizes) else 0.0


def _earlier_of_group(groups: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """How many before each are of its group. Shape: ``[R]`` -> ``[R]``

    A group's m-th clip raises the sum of squares by m^2 - (m - 1)^2 = 2 (m - 1) + 1.
    """
    order = np.argsort(groups, kind="stable")
    together = groups[order]
    begins = np.flatnonzero(np.append(True, together[1:] != together[:-1])[: len(together)])
    lengths = np.diff(np.append(begins, len(together)))
    earlier = np.empty(len(groups), np.int64)
    earlier[order] = np.arange(len(groups)) - np.repeat(begins, lengths)
    return earlier


def _best_f1(logits: Floats, platt: Platt) -> float:
    """The score of the best F1, no lower and no higher than the scores that there are."""
    probabilities = np.sort(platt.probabilities(logits))[::-1]
    right = np.cumsum(probabilities)
    best = float((right / (np.arange(1, len(right) + 1) + right[-1])).max())  # half of F
    logit = (np.log(best / (1 - best)) - platt.intercept) / platt.slope
    return float(_to_steps(sigmoid(np.clip(logit, logits.min(), logits.max()))))


def even_score(platt: Platt) -> float:
    """The score from which on a species, or a group, is as likely there as not."""
    return float(np.ceil(sigmoid(np.array(-platt.intercept / platt.slope)) * _STEPS) / _STEPS)


def _to_steps(scores: Floats) -> Floats:
    return np.floor(scores * _STEPS) / _STEPS
