"""What a run has judged under a name: the outcome in ``metrics.json``, and the predictions behind it."""

from pathlib import Path
from typing import Any

from batcache.errors import RunError, did_you_mean
from batcache.evaluation.outcomes import FOLDS, read_outcomes
from batcache.inference.predictions import Predictions, read_predictions


def predictions_path(run: Path, name: str) -> Path:
    """Where the predictions behind an outcome lie."""
    return run / "logs" / f"{name}_predictions.npz"


def report_path(run: Path, name: str) -> Path:
    """Where the report on an outcome lies: ``report.html`` for split test, ``val_report.html`` for val."""
    return run / ("report.html" if name == "test" else f"{name}_report.html")


def read_judged(run: Path, name: str) -> tuple[dict[str, Any], Predictions]:
    """What ``metrics.json`` says of an outcome, and its predictions.

    Raises:
        RunError: nothing was judged under this name.
    """
    there = read_outcomes(run)
    if name not in there:
        known = ", ".join(there) or "nothing"
        made_by = "batcache train --folds 5" if name == FOLDS else "batcache eval"
        remedy = did_you_mean(name, there, f"Run `{made_by}` first")
        raise RunError(run, f"{name} has not been judged (there is: {known})", remedy)
    return there[name], read_predictions(predictions_path(run, name))
