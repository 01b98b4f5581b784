"""How far scores are from probabilities on the clips that were judged, as they are and by a model's calibration."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from batcache.evaluation.draws.units import resampling
from batcache.evaluation.outcomes import FOLDS
from batcache.inference.calibration.calibrate import VALIDATION, cross_calibrate
from batcache.inference.calibration.measures import Measures, measure
from batcache.inference.calibration.of_model import calibrate_checkpoint
from batcache.inference.calibration.platt import Floats, logits_of
from batcache.inference.predictions import Predictions
from batcache.model.checkpoint import Checkpoint

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


def calibrate_predictions(predictions: Predictions, checkpoint: Checkpoint, name: str) -> tuple[Floats, str]:
    """Probabilities of clips that were judged under a name, and by which calibration they are.

    Where calibration would be taken from these very clips, as after folds, each clip's is fitted on the clips of other
    groups: on its own it would look too good.

    Returns:
        probabilities ``[R, C]``, NaN where there are none; and the words.
    """
    held_out, logits = checkpoint.held_out, logits_of(predictions.scores)
    if name == FOLDS or (held_out is not None and held_out.source == VALIDATION and name == "val"):
        return cross_calibrate(logits, predictions.labels, resampling(predictions).unit_of), CROSSED
    return calibrate_checkpoint(checkpoint).probabilities(logits), "" if held_out is None else OWN


def judge_calibration(predictions: Predictions, checkpoint: Checkpoint, name: str) -> Calibrated:
    """Measure scores and, on the same cells, what calibration makes of them.

    Args:
        predictions: of the clips.
        checkpoint: that judged them, or after folds that of all clips.
        name: what the outcome is filed under.
    """
    probabilities, how = calibrate_predictions(predictions, checkpoint, name)
    calibrated = measure(probabilities, predictions.labels)
    if not calibrated.cells:
        return Calibrated(measure(predictions.scores, predictions.labels), None, "")
    same_cells = np.where(np.isnan(probabilities), np.nan, predictions.scores)
    return Calibrated(measure(same_cells, predictions.labels), calibrated, how)
