"""Scores to probabilities: logit P(present) = a + b x, where x is the logit of a species' score (Platt 1999).

Each species has an offset a and a slope b of its own. Few clips tell little of a slope, so it is drawn towards the one
that all species have in common (partial pooling): the log-likelihood less ((b - common) / (0.5 common))^2 / 2, which
says that slopes differ between species by about half of the common one. With many clips this counts for nothing, and
the fit is plain logistic regression. Offsets are not drawn together: they hold how common a species is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST = 16.0
"""Logits count as at most this far from 0, where scores in float32 end."""
_SPREAD = 0.5
"""Of slopes between species, as a share of the common one."""
_LEAST_SLOPE = 0.05
_STEPS = 100


@dataclass(frozen=True)
class Platt:
    """The line from a score's logit to the logit of a probability."""

    intercept: float
    slope: float

    def probabilities(self, logits: NDArray[np.floating[Any]]) -> Floats:
        """How likely the species is there. Shape: any -> the same; NaN stays NaN."""
        return sigmoid(self.intercept + self.slope * np.clip(logits.astype(np.float64), -MOST, MOST))


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + e^-x)"""
    shares: Floats = 0.5 * (1 + np.tanh(logits / 2))
    return shares


def logits_of(scores: NDArray[np.floating[Any]]) -> Floats:
    """The logits of scores, at most ``MOST`` from 0; NaN stays NaN. Shape: any -> the same."""
    p = scores.astype(np.float64)
    with np.errstate(divide="ignore"):
        logits: Floats = np.clip(np.log(p) - np.log1p(-p), -MOST, MOST)
    return logits


def known_of(
    logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Of one species: the logits and labels of clips that have both, and which clips these are.

    Shape: logits ``[R]``, NaN where there is no score; labels ``[R]``, 1, 0 or -1 -> ``[K]``, ``[K]``, ``[R]``
    """
    known = (labels >= 0) & ~np.isnan(logits)
    return np.clip(logits[known].astype(np.float64), -MOST, MOST), labels[known] == 1, known


def fit_common_slope(
    columns: Sequence[tuple[NDArray[np.floating[Any]], NDArray[np.integer[Any]]]], towards: float = 1.0
) -> float:
    """The slope that species have in common, each with an offset of its own; those without both labels tell nothing.

    Args:
        columns: logits ``[R]`` and labels ``[R]`` of each species.
        towards: where little is known it is near this; at 1 the scores' own logits are right but for their offsets.
    """
    known = [known_of(*column)[:2] for column in columns]
    told = [(x, y) for x, y in known if y.any() and not y.all()]
    _, slope = _fit(told, towards, 1 / towards**2) if told else ([], towards)
    return max(slope, _LEAST_SLOPE)


def fit_platt(
    logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], common_slope: float = 1.0
) -> Platt | None:
    """Fit the line of one species, or of one group of species.

    Args:
        logits: of scores; NaN where there is none. Shape: ``[R]``
        labels: 1, 0 or -1, unknown. Shape: ``[R]``
        common_slope: what the slope is drawn towards, above 0; see ``fit_common_slope``.

    Returns:
        None where the clips do not hold both labels, or where higher scores do not go with presence.
    """
    x, y, _ = known_of(logits, labels)
    if not y.any() or y.all():
        return None
    (intercept,), slope = _fit([(x, y)], common_slope, 1 / (_SPREAD * common_slope) ** 2)
    return Platt(float(intercept), slope) if slope > 0 else None


def _fit(columns: Sequence[tuple[Floats, NDArray[np.bool_]]], centre: float, ridge: float) -> tuple[list[float], float]:
    """Newton's method for offsets of each column and one slope, with a penalty of ridge (slope - centre)^2 / 2.

    The Hessian is an arrow, the slope its head: offsets are eliminated, the step of the slope is solved for, and theirs
    follow. A step that does not raise the penalised log-likelihood is halved.
    """
    shares = [(y.mean(), x.mean()) for x, y in columns]
    slope = centre
    offsets = np.array([np.log(share / (1 - share)) - slope * mean for share, mean in shares])
    reached = _penalised(columns, offsets, slope, centre, ridge)
    for _ in range(_STEPS):
        parts = np.array([_derivatives(x, y, a, slope) for (x, y), a in zip(columns, offsets, strict=True)])
        of_a, of_b, aa, ab, bb = parts.T
        aa = aa + 1e-9
        pull = ridge * (slope - centre)
        step_b = (of_b.sum() - pull - (ab * of_a / aa).sum()) / (bb.sum() + ridge - (ab**2 / aa).sum())
        step_a = (of_a - ab * step_b) / aa
        length = 1.0
        while (
            better := _penalised(columns, offsets + length * step_a, slope + length * step_b, centre, ridge)
        ) < reached and length > 1e-8:
            length /= 2
        offsets, slope = offsets + length * step_a, slope + length * step_b
        if abs(better - reached) < 1e-10 * (1 + abs(reached)):
            break
        reached = better
    return offsets.tolist(), float(slope)


def _derivatives(x: Floats, y: NDArray[np.bool_], offset: float, slope: float) -> tuple[float, ...]:
    """Of the log-likelihood by offset and slope: the gradient's two, and the three of the negative Hessian."""
    p = sigmoid(offset + slope * x)
    left, weight = y - p, p * (1 - p)
    return left.sum(), (left * x).sum(), weight.sum(), (weight * x).sum(), (weight * x * x).sum()


def _penalised(
    columns: Sequence[tuple[Floats, NDArray[np.bool_]]], offsets: Floats, slope: float, centre: float, ridge: float
) -> float:
    signed = (np.where(y, 1, -1) * (a + slope * x) for (x, y), a in zip(columns, offsets, strict=True))
    return float(-sum(np.logaddexp(0, -margin).sum() for margin in signed) - ridge * (slope - centre) ** 2 / 2)
