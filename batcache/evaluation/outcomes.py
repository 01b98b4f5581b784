"""What evaluation found of a run, by split: ``metrics.json``, and the predictions beside it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batcache.errors import RunError, brief, did_you_mean
from batcache.inference.predictions import Predictions, read_predictions
from batcache.storage.disk import write_file
from batcache.storage.exclusive import lock_file
from batcache.training.runs import SOURCES, require_kinds


def file_outcome(run: Path, name: str, outcome: Mapping[str, Any]) -> Path:
    """Put an outcome beside the others, in place of an earlier one of this name; returns the file.

    Several may be filed at once: one waits for the other, and none is lost.

    Raises:
        RunError: what is there is damaged.
    """
    place = run / "metrics.json"
    with lock_file(run / "logs" / "metrics.lock"):
        document = read_outcomes(run) | {name: outcome}
        write_file(place, json.dumps(document, indent=1, ensure_ascii=False).encode())
    return place


def read_outcomes(run: Path) -> dict[str, Any]:
    """The outcomes by name, none where nothing has been filed.

    Raises:
        RunError: the file is damaged.
    """
    place = run / "metrics.json"
    try:
        outcomes = dict(json.loads(place.read_bytes())) if place.exists() else {}
        for outcome in outcomes.values():
            require_kinds(outcome, SOURCES)
        return outcomes
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(place, f"cannot be read ({brief(error)})", "Delete it") from None


def predictions_path(run: Path, name: str) -> Path:
    """Where the predictions behind an outcome lie."""
    return run / "logs" / f"{name}_predictions.npz"


def read_judged(run: Path, name: str) -> tuple[dict[str, Any], Predictions]:
    """What ``metrics.json`` says of an outcome, and its predictions.

    Raises:
        RunError: nothing was judged under this name.
    """
    there = read_outcomes(run)
    if name not in there:
        known = ", ".join(there) or "nothing"
        remedy = did_you_mean(name, there, "Run `batcache eval` first")
        raise RunError(run, f"{name} has not been judged (there is: {known})", remedy)
    return there[name], read_predictions(predictions_path(run, name))
