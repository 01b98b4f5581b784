"""Precision and recall, ROC and reliability as lines in the unit square, drawn as SVG paths."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from batcache.inference.calibration.measures import BINS, calibration_error, reliability
from batcache.inference.predictions import Predictions

LEFT, TOP, SIDE = 50, 10, 240
"""Where the unit square lies in a chart, in pixels of its own."""
_MOST_POINTS = 600

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """A species' line, or with "" that of all known cells in one pool; ``path`` is what SVG's ``d`` takes."""

    name: str
    path: str


@dataclass(frozen=True)
class Dot:
    """A bin of scores: where it lies in the chart, how large it is drawn, and what it holds."""

    x: float
    y: float
    radius: float
    text: str


@dataclass(frozen=True)
class Reliability:
    """How often a species is there among cells of like scores; ``error`` is the mean distance from the diagonal,
    weighed by cells (the expected calibration error), None without known cells."""

    dots: tuple[Dot, ...]
    error: float | None


def draw_curves(predictions: Predictions) -> tuple[list[Line], list[Line]]:
    """Precision over recall, and ROC: of all cells in one pool, then of each species that has both labels."""
    known = (predictions.labels >= 0) & ~np.isnan(predictions.scores)
    cells = [("", predictions.labels[known], predictions.scores[known])]
    for c, name in enumerate(predictions.species):
        cells.append((str(name), predictions.labels[known[:, c], c], predictions.scores[known[:, c], c]))
    both = [(name, labels, scores) for name, labels, scores in cells if len(np.unique(labels)) == 2]
    return (
        [Line(name, _precision_recall_path(labels, scores)) for name, labels, scores in both],
        [Line(name, _roc_path(labels, scores)) for name, labels, scores in both],
    )


def draw_reliability(predictions: Predictions, of: str = "scores") -> Reliability:
    """Ten bins of scores over all known cells, as dots whose areas grow with the cells; ``of`` names what they are."""
    known = (predictions.labels >= 0) & ~np.isnan(predictions.scores)
    curve = reliability(predictions.scores[known], predictions.labels[known], BINS)
    dots = []
    for one in curve:
        x, y = place(np.array([one.mean]), np.array([one.share]))
        text = f"{of} {one.low:.1f} to {one.high:.1f}: {one.clips:,} cells, present in {one.share:.1%}"
        radius = round(3 + 6 * float(np.sqrt(one.clips / known.sum())), 1)
        dots.append(Dot(float(x[0]), float(y[0]), radius, text))
    return Reliability(tuple(dots), calibration_error(curve))


def place(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Values of the unit square as pixels of the chart."""
    return np.round(LEFT + SIDE * x, 1), np.round(TOP + SIDE * (1 - y), 1)


def _precision_recall_path(labels: NDArray[np.int8], scores: NDArray[np.float32]) -> str:
    """Steps, whose area is the average precision: up to each recall holds the precision that is reached there."""
    precision, recall, _ = precision_recall_curve(labels, scores, drop_intermediate=True)
    x, y = _thin_out(*place(recall[-2::-1], precision[-2::-1]))  # the last point is an anchor of scikit-learn's
    steps = " ".join(f"V{b:g}H{a:g}" for a, b in zip(x, y, strict=True))
    return f"M{LEFT} {y[0]:g}{steps}"


def _roc_path(labels: NDArray[np.int8], scores: NDArray[np.float32]) -> str:
    false, true, _ = roc_curve(labels, scores)
    x, y = _thin_out(*place(false, true))
    return "M" + "L".join(f"{a:g} {b:g}" for a, b in zip(x, y, strict=True))


def _thin_out(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Without points that lie on the one before, and not more than a screen can show; the last one stays."""
    differs = np.append(True, (np.diff(x) != 0) | (np.diff(y) != 0))
    x, y = x[differs], y[differs]
    step = -(-len(x) // _MOST_POINTS)
    kept = np.unique(np.append(np.arange(0, len(x), step), len(x) - 1))
    return x[kept], y[kept]
