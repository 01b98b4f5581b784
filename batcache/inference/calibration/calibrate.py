"""Thresholds and calibration of all species of a model, from what was said of clips that it had not learnt from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batcache.inference.calibration.platt import Floats, Platt, fit_common_slope, fit_platt
from batcache.inference.calibration.thresholds import PRECISION, Threshold, choose_threshold

FOLDS, VALIDATION, REVIEWED = "folds", "validation", "reviewed"
"""Where held-out scores come from: models of the same recipe, clips to validate on, rows that a person checked."""
_PARTS = 5


@dataclass(frozen=True)
class Calibration:
    """What is known of each species' scores.

    Attributes:
        species: names, in the model's order.
        platts: from scores to probabilities; None where the held-out clips do not tell. Length: C
        thresholds: of each. Length: C
        common_slope: what slopes were drawn towards.
        sources: ``folds``, ``validation``, ``reviewed`` or, where there was nothing, "". Length: C
        clips: that were held out.
        groups: their site-nights, or recordings where no group is given.
        precision: that was wanted.
        notes: what to know before it is believed.
    """

    species: tuple[str, ...]
    platts: tuple[Platt | None, ...]
    thresholds: tuple[Threshold, ...]
    common_slope: float
    sources: tuple[str, ...]
    clips: int
    groups: int
    precision: float
    notes: tuple[str, ...] = ()

    @property
    def values(self) -> Floats:
        """The threshold of each species. Shape: ``[C]``"""
        return np.array([at.value for at in self.thresholds])

    @property
    def prevalence(self) -> tuple[float | None, ...]:
        """In which share of the clips it was calibrated on each species was; None where it is not calibrated."""
        pairs = zip(self.platts, self.thresholds, strict=True)
        return tuple(at.positives / at.clips if platt is not None else None for platt, at in pairs)

    def probabilities(self, logits: NDArray[np.floating[Any]]) -> Floats:
        """Calibrated probabilities, NaN for species that are not calibrated. Shape: ``[R, C]`` -> ``[R, C]``"""
        nothing = np.full(len(logits), np.nan)
        columns = [nothing if p is None else p.probabilities(logits[:, c]) for c, p in enumerate(self.platts)]
        return np.stack(columns, 1) if columns else np.empty(logits.shape)


def calibrate(
    species: Sequence[str],
    logits: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    groups: NDArray[np.integer[Any]],
    source: str,
    *,
    precision: float = PRECISION,
    towards: float = 1.0,
) -> Calibration:
    """Calibrate every species and choose its threshold.

    Args:
        species: C names.
        logits: of held-out clips; NaN where a species had not been taught. Shape: ``[R, C]``
        labels: 1, 0 or -1, unknown. Shape: ``[R, C]``
        groups: a number for each clip's site-night or recording. Shape: ``[R]``
        source: where they come from.
        precision: that is wanted of thresholds.
        towards: what the common slope is near where these clips tell little.
    """
    platts, slope = fit_platts(logits, labels, towards)
    thresholds = tuple(
        choose_threshold(logits[:, c], labels[:, c], groups, platt, precision) for c, platt in enumerate(platts)
    )
    return assemble(species, platts, thresholds, slope, groups, source, precision)


def fit_platts(
    logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], towards: float = 1.0
) -> tuple[tuple[Platt | None, ...], float]:
    """The calibration of each column, and the slope that they have in common; arguments as of ``calibrate``."""
    columns = list(zip(logits.T, labels.T, strict=True))
    slope = fit_common_slope(columns, towards)
    return tuple(fit_platt(*column, slope) for column in columns), slope


def assemble(
    names: Sequence[str],
    platts: Sequence[Platt | None],
    thresholds: Sequence[Threshold],
    slope: float,
    groups: NDArray[np.integer[Any]],
    source: str,
    precision: float,
) -> Calibration:
    """What was fitted and chosen on clips of these ``groups`` that all come from one ``source``."""
    about = (source,) * len(platts), len(groups), len(np.unique(groups)), precision
    return Calibration(tuple(names), tuple(platts), tuple(thresholds), slope, *about)


def without_calibration(species: Sequence[str], precision: float = PRECISION) -> Calibration:
    """Of a model that carries no held-out scores: 0.5 for all, and nothing promised."""
    thresholds = tuple(Threshold() for _ in species)
    nothing = (None,) * len(thresholds)
    return Calibration(tuple(species), nothing, thresholds, 1.0, ("",) * len(thresholds), 0, 0, precision)


def cross_calibrate(
    logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], groups: NDArray[np.integer[Any]]
) -> Floats:
    """Probabilities of clips, each by a calibration that was fitted on the clips of other groups, in five parts.

    What calibration is worth on clips that it was fitted on would be too good. NaN where the others do not tell.

    Shape: logits, labels ``[R, C]``, groups ``[R]`` -> ``[R, C]``
    """
    _, place = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(0).permutation(int(place.max(initial=0)) + 1)
    part = order[place] % _PARTS
    probabilities = np.full(logits.shape, np.nan)
    for own in (part == i for i in np.unique(part)):
        platts, _ = fit_platts(logits[~own], labels[~own])
        for c, platt in enumerate(platts):
            if platt is not None:
                probabilities[own, c] = platt.probabilities(logits[own, c])
    return probabilities
