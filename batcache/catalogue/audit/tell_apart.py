"""Whether a small model can tell from which split a recording is: then they differ in more than chance, as in place,
recorder or season, and scores on one say less of the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST_GROUPS = 5
"""On either side; with fewer nothing is said."""
_DRAWS = 500


@dataclass(frozen=True)
class ToldApart:
    """How well two splits can be told apart: the area under the curve of held-out groups, 0.5 by chance; with the 95 %
    interval of draws of the groups. None where there are too few groups."""

    one: str
    other: str
    groups: tuple[int, int]
    auc: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def differ(self) -> bool:
        """Whether even the interval's lower end is above chance."""
        return self.low is not None and self.low > 0.5


def tell_apart(means: NDArray[np.float32], splits: Sequence[str], groups: Sequence[str], seed: int) -> list[ToldApart]:
    """Tell the first split from each other one by logistic regression on mean frames, held-out groups scored.

    Shape:
        means: ``[R, n_mels]``
    """
    names = sorted(set(splits) - {""}, key=lambda name: (name != "train", name))
    of = np.array(splits)
    whole = np.array(groups)
    rows = []
    for other in names[1:]:
        chosen = np.isin(of, (names[0], other))
        there = of[chosen] == other
        sides = len(set(whole[chosen][~there])), len(set(whole[chosen][there]))
        if min(sides) < FEWEST_GROUPS:
            rows.append(ToldApart(names[0], other, sides))
            continue
        scores = _score_held_out(means[chosen], there, whole[chosen], seed)
        rows.append(ToldApart(names[0], other, sides, *_area(scores, there, whole[chosen], seed)))
    return rows


def _score_held_out(
    means: NDArray[np.float32], there: NDArray[np.bool_], groups: NDArray[np.str_], seed: int
) -> NDArray[np.float64]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = np.zeros(len(means))
    folds = StratifiedGroupKFold(FEWEST_GROUPS, shuffle=True, random_state=seed)
    for learnt, held_out in folds.split(means, there, groups):
        if len(set(there[learnt])) < 2:
            continue  # these stay at 0, which is no opinion
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000))
        model.fit(means[learnt], there[learnt])
        scores[held_out] = model.decision_function(means[held_out])
    return scores


def _area(
    scores: NDArray[np.float64], there: NDArray[np.bool_], groups: NDArray[np.str_], seed: int
) -> tuple[float, float, float]:
    """The area under the curve, and the ends of its 95 % interval."""
    generator = np.random.default_rng(seed)
    numbers = np.unique(groups, return_inverse=True)[1]
    count = int(numbers.max()) + 1
    drawn = []
    for _ in range(_DRAWS):
        weights = np.bincount(generator.integers(0, count, count), minlength=count)[numbers].astype(np.float64)
        if weights[there].any() and weights[~there].any():
            drawn.append(weighted_area(scores, there, weights))
    low, high = np.percentile(drawn, (2.5, 97.5))
    return weighted_area(scores, there, np.ones(len(scores))), float(low), float(high)


def weighted_area(scores: NDArray[np.float64], there: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """The share of pairs, one from either side, in which the score is higher there; of equal ones half."""
    rank = np.unique(scores, return_inverse=True)[1]
    positive, negative = (np.bincount(rank, weights * side) for side in (there, ~there))
    below = np.cumsum(negative) - negative / 2
    return float(positive @ below / (positive.sum() * negative.sum()))
