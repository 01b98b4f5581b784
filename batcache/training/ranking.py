"""How well scores put a species' clips first: the number that early stopping watches and evaluation reports."""

from collections.abc import Sequence
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score


def macro_average_precision(scores: NDArray[np.floating[Any]], labels: NDArray[np.int8]) -> float | None:
    """The plain mean of the species' average precisions.

    None where no species has both labels among its known ones.

    Shape:
        - scores, labels: ``[R, C]`` , 1 present, 0 absent, -1 unknown
    """
    scores = checked_scores(scores, labels)
    return mean_defined([average_precision(scores[:, c], labels[:, c]) for c in range(labels.shape[1])])


def checked_scores(scores: NDArray[np.floating[Any]], labels: NDArray[np.int8]) -> NDArray[np.float64]:
    """`scores` as float64, once they and the labels are what the callers promised."""
    assert scores.ndim == 2 and scores.shape == labels.shape, f"scores {scores.shape}, labels {labels.shape}"
    assert np.isin(labels, (-1, 0, 1)).all(), f"labels {np.unique(labels)}, expected 1, 0 or -1"
    assert np.isfinite(scores).all(), f"{(~np.isfinite(scores)).sum()} scores are not finite"
    return scores.astype(np.float64)


def average_precision(scores: NDArray[np.float64], labels: NDArray[np.int8]) -> float | None:
    """Average precision of one species, ``[R]`` each, over its known clips; None unless both labels occur.

    (scikit-learn gives positives alone an average precision of 1, whatever the scores.)
    """
    known = labels >= 0
    if len(np.unique(labels[known])) < 2:
        return None
    return float(average_precision_score(labels[known], scores[known]))


def mean_defined(values: Sequence[float | None], weights: Sequence[int] | None = None) -> float | None:
    """Weighted mean of the defined values (all alike without weights); None where there are none of any weight.

    The sum is exact, so that the order of the species cannot move the last digit.
    """
    weights = [1] * len(values) if weights is None else weights
    terms = [(weight, v) for weight, v in zip(weights, values, strict=True) if v is not None and weight > 0]
    if not terms:
        return None
    return fsum(weight * v for weight, v in terms) / sum(weight for weight, _ in terms)
