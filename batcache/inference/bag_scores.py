"""What a model says of one bag."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batcache.errors import RunError


@dataclass(frozen=True, slots=True)
class BagScores:
    """What a model says of one bag; ``bat`` is the logit that there is one, where it says so.

    Shape:
        logits: ``[C]``, evidence: ``[N, C]`` in 0..1
    """

    logits: NDArray[np.float32]
    evidence: NDArray[np.float32] | NDArray[np.float16]
    bat: float | None = None


def check_scores(name: str, scores: BagScores) -> BagScores:
    """The same scores, of the bag of that name.

    Raises:
        RunError: they are not finite.
    """
    if not np.isfinite(scores.logits).all():
        raise RunError(name, "the model gives scores that are not finite", "Lower learning_rate, train again")
    return scores
