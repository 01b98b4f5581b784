"""How far scores are from probabilities on the clips that were judged, as they are and by a model's calibration."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from batcache.evaluation.draws.units import resampling
from batcache.inference.calibration.calibrate import VALIDATION, cross_calibrate
from batcache.inference.calibration.measures import Measures, measure
from batcache.inference.calibration.of_model import calibrate_checkpoint
from batcache.inference.calibration.platt import Floats, logits_of
from batcache.inference.predictions import Predictions
from batcache.model.checkpoint import Checkpoint
from batcache.training.clips.bags import Bag
from batcache.training.clips.splits import read_splits
from batcache.training.lineage import Clips

OWN = "by the model's own calibration"
CROSSED = "each clip by a calibration fitted on those of other groups, in five parts"


@dataclass(frozen=True)
class Calibrated:
    """Measures over all known cells of calibrated species.

    Attributes:
        scores: of scores, taken for probabilities.
        probabilities: of what calibration makes of them; None where there is none.
        how: which calibration that is; "" where there is none.
    """

    scores: Measures
    probabilities: Measures | None
    how: str

    def to_plain(self) -> dict[str, Any]:
        """Dicts, strings and finite numbers, as JSON holds them."""
        return asdict(self)


def is_fitted_on(run: Path, checkpoint: Checkpoint, bags: Sequence[Bag]) -> bool:
    """Whether a checkpoint's own calibration is fitted on any of these clips, or on others of their groups.

    That is so where it carries what it said of the clips that its run validated on. Scores of folds are of clips that
    the model of all clips has learnt from, on which nobody may judge it.

    Raises:
        RunError: the run's ``split.csv`` cannot be read.
    """
    if checkpoint.held_out is None or checkpoint.held_out.source != VALIDATION:
        return False
    return bool(Clips.of_split(read_splits(run / "split.csv").values(), "val").among(bags))


def calibrate_predictions(predictions: Predictions, checkpoint: Checkpoint, *, crossed: bool) -> tuple[Floats, str]:
    """Probabilities of clips that were judged, and by which calibration they are.

    Where the model's calibration is fitted on these very clips, as after folds, ``crossed`` has each clip's fitted on
    the clips of other groups: on its own it would look too good.

    Returns:
        probabilities ``[R, C]``, NaN where there are none; and the words.
    """
    held_out, logits = checkpoint.held_out, logits_of(predictions.scores)
    if crossed:
        return cross_calibrate_predictions(predictions)
    return calibrate_checkpoint(checkpoint).probabilities(logits), "" if held_out is None else OWN


def cross_calibrate_predictions(predictions: Predictions) -> tuple[Floats, str]:
    """Probabilities of clips, each by a calibration fitted on the clips of other groups, shape ``[R, C]``; the words"""
    logits, groups = logits_of(predictions.scores), resampling(predictions).unit_of
    return cross_calibrate(logits, predictions.labels, groups), CROSSED


def judge_calibration(predictions: Predictions, checkpoint: Checkpoint, *, crossed: bool) -> Calibrated:
    """Measure scores and, on the same cells, what calibration makes of them.

    Args:
        predictions: of the clips.
        checkpoint: that judged them, or after folds that of all clips.
        crossed: see ``calibrate_predictions``.
    """
    return measure_calibration(predictions, *calibrate_predictions(predictions, checkpoint, crossed=crossed))


def measure_calibration(predictions: Predictions, probabilities: Floats, how: str) -> Calibrated:
    """Measure scores and, on the same cells, probabilities; ``how`` says by which calibration these are."""
    calibrated = measure(probabilities, predictions.labels)
    if not calibrated.cells:
        return Calibrated(measure(predictions.scores, predictions.labels), None, "")
    same_cells = np.where(np.isnan(probabilities), np.nan, predictions.scores)
    return Calibrated(measure(same_cells, predictions.labels), calibrated, how)
