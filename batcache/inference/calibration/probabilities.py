"""Probabilities of new recordings, by the calibration of each species or group."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batcache.inference.calibration.calibrate import Calibration
from batcache.inference.calibration.platt import Floats, logits_of
from batcache.inference.calibration.prevalence import estimate_prevalence, shift
from batcache.inference.predictions import Predictions


def find_probabilities(
    scores: NDArray[np.floating[Any]], calibration: Calibration, fit_prevalence: bool
) -> tuple[Floats, dict[str, tuple[float, float]]]:
    """The probabilities of all recordings and, where they were to be corrected, the prevalence of each species."""
    probabilities, prevalence = calibration.probabilities(logits_of(scores)), {}
    for c, then in enumerate(calibration.prevalence if fit_prevalence else ()):
        column = probabilities[:, c]
        if then is not None and not np.isnan(column).all():
            now = estimate_prevalence(column, then)
            probabilities[:, c], prevalence[calibration.species[c]] = shift(column, then, now), (then, now)
    return probabilities, prevalence


def list_probabilities(
    paths: Sequence[str], predictions: Predictions, probabilities: Floats, calibration: Calibration
) -> dict[str, list[float]]:
    """Of each calibrated species, the probabilities of these recordings; NaN for those that were rejected."""
    place = {str(name): i for i, name in enumerate(predictions.filenames)}
    with_nothing = np.vstack([probabilities, np.full(probabilities.shape[1], np.nan)])
    listed = with_nothing[np.array([place.get(path, -1) for path in paths], np.intp)]
    pairs = enumerate(zip(calibration.species, calibration.platts, strict=True))
    return {name: listed[:, c].tolist() for c, (name, platt) in pairs if platt is not None}
