"""How far probabilities are from what came true.

All take probabilities ``[R]`` in 0..1 and labels ``[R]``, 1 present or 0 absent, and are None without clips.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 10
_LEAST = 1e-7
"""A probability counts as at least this far from 0 and 1 in the log-loss, which would else be infinite."""


@dataclass(frozen=True)
class Bin:
    """Clips of like probabilities: between which bounds, how many, their mean, and in which share it came true."""

    low: float
    high: float
    clips: int
    mean: float
    share: float


@dataclass(frozen=True)
class Measures:
    """Expected calibration error in ``bins`` bins, Brier score and log-loss in nats; a cell is a clip and a species."""

    calibration_error: float | None
    brier: float | None
    log_loss: float | None
    cells: int
    bins: int = BINS


def measure(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> Measures:
    """All of them at once, over cells of any shape; cells without a probability (NaN) or label (-1) do not count."""
    known = ~np.isnan(probabilities) & (labels >= 0)
    p, y = probabilities[known].astype(np.float64), labels[known]
    return Measures(calibration_error(reliability(p, y)), brier_score(p, y), log_loss(p, y), len(p))


def reliability(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], bins: int = BINS
) -> tuple[Bin, ...]:
    """The reliability curve: bins of equal width that hold a clip, from low to high."""
    p, y = probabilities.astype(np.float64), labels == 1
    place = np.minimum((p * bins).astype(int), bins - 1)
    curve = []
    for b in np.unique(place).tolist():
        own = place == b
        curve.append(Bin(b / bins, (b + 1) / bins, int(own.sum()), float(p[own].mean()), float(y[own].mean())))
    return tuple(curve)


def calibration_error(curve: tuple[Bin, ...]) -> float | None:
    """The expected calibration error: the mean distance between probability and share, weighed by clips."""
    clips = sum(one.clips for one in curve)
    return sum(one.clips * abs(one.mean - one.share) for one in curve) / clips if clips else None


def brier_score(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float | None:
    """The mean squared distance from the labels."""
    return float(((probabilities - labels) ** 2).mean()) if len(labels) else None


def log_loss(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float | None:
    """Minus the mean logarithm of the probability that was given to what came true."""
    p = np.clip(probabilities.astype(np.float64), _LEAST, 1 - _LEAST)
    return float(-np.log(np.where(labels == 1, p, 1 - p)).mean()) if len(labels) else None
