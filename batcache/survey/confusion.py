"""How often a model takes a species for another, on clips that it has not learnt from.

The test for presence wants one label a file: the species with the highest score among those at or above their
thresholds, or none, "no identification".

Thresholds were chosen on these same clips, so that the confusion looks slightly better than it is on others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batcache.inference.calibration.platt import sigmoid
from batcache.model.provenance import HeldOut

NO_IDENTIFICATION = -1
_PRIOR = 0.5
"""Added to each count (Jeffreys): a mistake that was not met in a few clips may be met in many files."""


@dataclass(frozen=True)
class Confusion:
    """Held-out clips of S species by what they were identified as.

    Attributes:
        species: their names, each with one clip at least.
        columns: where each stands among the model's species. Shape: ``[S]``
        counts: rows, what the clips hold: a species, last none of these; columns, what they were identified as: a
            species, last no identification. A clip of several species counts for the one that it was identified as, or,
            where it holds none such, in equal parts for each. Shape: ``[S + 1, S + 1]``
    """

    species: tuple[str, ...]
    columns: NDArray[np.int64]
    counts: NDArray[np.float64]

    @property
    def knows_others(self) -> bool:
        """Whether there were clips of none of the species: noise, or other bats."""
        return bool(self.counts[-1].sum() > 0)

    def matrix(self) -> NDArray[np.float64]:
        """The share of each row that is identified as each column, expected after these counts. Rows sum to 1.

        Without clips of none of the species, files of noise count as never identified.
        """
        shares = (self.counts + _PRIOR) / (self.counts + _PRIOR).sum(1, keepdims=True)
        return self._with_others(shares)

    def draw(self, number: int, random: np.random.Generator) -> NDArray[np.float64]:
        """Matrices that the counts leave possible: rows drawn from Dirichlet(counts + 1/2). ``[number, S+1, S+1]``."""
        rows = [random.dirichlet(row + _PRIOR, number) for row in self.counts]
        return self._with_others(np.stack(rows, axis=1))

    def _with_others(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self.knows_others:
            shares[..., -1, :] = np.eye(len(self.counts))[-1]
        return shares


def identify(scores: NDArray[np.floating], thresholds: NDArray[np.floating]) -> NDArray[np.int64]:
    """One label a file: the species of the highest score among those at or above their thresholds, -1 where none is.

    Shape:
        scores: ``[R, C]``, NaN where there is none; thresholds: ``[C]``; returns ``[R]``
    """
    reaching = np.where(scores >= thresholds, scores, -np.inf)
    best = reaching.argmax(1) if scores.shape[1] else np.zeros(len(scores), np.int64)
    return np.where((reaching > -np.inf).any(1), best, NO_IDENTIFICATION).astype(np.int64)


def count_confusion(held_out: HeldOut, species: Sequence[str], thresholds: NDArray[np.floating]) -> Confusion:
    """Count what held-out clips were identified as.

    Left out are species that no clip with a score of theirs holds, and clips of which is not known what they hold:
    identified as a species that was not annotated, or, without one, not annotated for all.

    Args:
        held_out: scores and labels of C species.
        species: their names.
        thresholds: of their scores, at and above which they count. Shape: ``[C]``
    """
    scores, labels = sigmoid(held_out.logits.astype(np.float64)), held_out.labels
    present = (labels == 1) & ~np.isnan(scores)
    (columns,) = np.nonzero(present.any(0))
    scores, labels, present = scores[:, columns], labels[:, columns], present[:, columns]
    last = len(columns)
    counts = np.zeros((last + 1, last + 1))
    for found, held, label in zip(identify(scores, thresholds[columns]), present, labels, strict=True):
        (there,) = np.nonzero(held)
        if found >= 0 and held[found]:
            counts[found, found] += 1
        elif found >= 0 and label[found] != 0:
            continue
        elif len(there):
            counts[there, found] += 1 / len(there)  # -1, no identification, is the last column
        elif (label == 0).all():
            counts[last, found] += 1
    return Confusion(tuple(species[int(c)] for c in columns), columns.astype(np.int64), counts)
