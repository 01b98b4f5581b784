"""A species' clips in order of score, judged under the weights of many draws."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batcache.evaluation.draws.loops import CLOSES, OPENS, POSITIVE, sum_steps
from batcache.evaluation.draws.units import Weights

Floats = NDArray[np.float64]
_MOST_SUMMED = 2**31 - 1


@dataclass(frozen=True)
class Judged:
    """One species under D draws; a clip counts as often as its unit was drawn. Shape: ``[D]`` each

    Attributes:
        average_precision: NaN where not both labels have any weight.
        roc_auc: the same.
        true: positives that reach the threshold.
        reported: all known clips that do.
        positives: known clips that hold the species.
    """

    average_precision: Floats
    roc_auc: Floats
    true: NDArray[np.int64]
    reported: NDArray[np.int64]
    positives: NDArray[np.int64]


class Ranking:
    """The known clips of one species, best score first, to be judged under many weights.

    With the clips of equal scores as one step, ``t_k`` the weight of the positives in step k, ``T_k`` and ``F_k`` that
    of all positives and negatives up to it, T and F in all:

        average precision = sum_k t_k / T  *  T_k / (T_k + F_k)
        ROC-AUC           = sum_k t_k / T  *  (F - (F_k-1 + F_k) / 2) / F

    which is what scikit-learn's ``average_precision_score`` and ``roc_auc_score`` give with ``sample_weight``. Only
    steps that hold a positive add to either sum. A clip is reported where ``score >= threshold``, in float64.

    Shape: scores, labels, unit_of ``[R]``; ``unit_of`` is the row of a clip's weight
    """

    def __init__(
        self,
        scores: NDArray[np.floating[Any]],
        labels: NDArray[np.int8],
        unit_of: NDArray[np.intp],
        threshold: float = 0.5,
    ) -> None:
        known = np.flatnonzero(labels >= 0)
        order = known[np.argsort(-scores[known])]
        ranked = scores[order]
        ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else known
        self._positives = np.flatnonzero(labels[order] == 1)
        steps = np.unique(np.searchsorted(ends, self._positives))
        self._units = unit_of[order].astype(np.int32)
        self._ends = ends[steps]  # of the steps that hold a positive
        self._begins = np.where(steps > 0, ends[steps - 1] + 1, 0)
        self._reaching = int((ranked.astype(np.float64) >= threshold).sum())

    def judge(self, weights: Weights, *, compiled: bool = False) -> Judged:
        """Judge under each draw's weights; ``compiled`` pays, after some seconds, where clips times draws are many.

        Shape: weights ``[units, D]``
        """
        if compiled and len(self._units) * int(weights.max(initial=0)) <= _MOST_SUMMED:
            return self._walk(weights)
        of_clips = weights[self._units]
        sums = np.zeros((len(of_clips) + 1, weights.shape[1]), np.int64)  # of the weights of so many of the best
        np.cumsum(of_clips, axis=0, out=sums[1:])
        true_sums = np.zeros((len(self._positives) + 1, weights.shape[1]), np.int64)
        np.cumsum(of_clips[self._positives], axis=0, out=true_sums[1:])
        predicted, before = sums[self._ends + 1], sums[self._begins]
        true, true_before, reached = (
            true_sums[np.searchsorted(self._positives, place)]
            for place in (self._ends + 1, self._begins, self._reaching)
        )
        step, false, false_before = true - true_before, predicted - true, before - true_before
        counts = np.array([reached, sums[self._reaching], true_sums[-1], sums[-1] - true_sums[-1]])
        return _judged(
            (step * (true / np.maximum(predicted, 1))).sum(0), (step * (false_before + false)).sum(0), counts
        )

    def _walk(self, weights: Weights) -> Judged:
        """The same sums by a compiled loop, which holds no more than a row of weights at a time."""
        draws = weights.shape[1]
        flags = np.zeros(len(self._units), np.uint8)
        for places, flag in ((self._positives, POSITIVE), (self._begins, OPENS), (self._ends, CLOSES)):
            flags[places] |= np.uint8(flag)
        precision, false_above, counts = np.zeros(draws), np.zeros(draws), np.zeros((4, draws), np.int64)
        sum_steps(self._units, flags, self._reaching, weights, precision, false_above, counts)
        return _judged(precision, false_above, counts)


def _judged(precision: Floats, false_above: NDArray[Any], counts: NDArray[np.int64]) -> Judged:
    """Divide the sums over steps. Shape: ``[D]``, ``[D]``, ``[4, D]``, as ``sum_steps`` leaves them"""
    true, reported, positives, negatives = counts
    defined = (positives > 0) & (negatives > 0)
    found, absent = np.maximum(positives, 1), np.maximum(negatives, 1)
    area = 1 - false_above / (2.0 * found * absent)
    return Judged(
        np.where(defined, precision / found, np.nan), np.where(defined, area, np.nan), true, reported, positives
    )
