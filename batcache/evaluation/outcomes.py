"""``metrics.json`` of a run: what evaluation found, by split."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batcache.errors import RunError, brief
from batcache.storage.disk import write_file
from batcache.storage.exclusive import lock_file
from batcache.storage.listing import is_there
from batcache.storage.regular import read_regular
from batcache.storage.sealed import open_json, seal_json
from batcache.training.runs import SOURCES, require_kinds

FOLDS = "folds"
"""The name of what all folds came to, and of the folder that their runs lie in."""


def file_outcome(run: Path, name: str, outcome: Mapping[str, Any]) -> Path:
    """Put an outcome beside the others, in place of an earlier one of this name; returns the file.

    Several may be filed at once: one waits for the other, and none is lost.

    Raises:
        RunError: what is there is damaged.
    """
    place = run / "metrics.json"
    with lock_file(run / "logs" / "metrics.lock"):
        document = read_outcomes(run) | {name: outcome}
        content = json.dumps(document, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace")
        write_file(place, seal_json(content))
    return place


def read_outcomes(run: Path) -> dict[str, Any]:
    """The outcomes by name, none where nothing has been filed.

    Raises:
        RunError: the file is damaged.
    """
    place = run / "metrics.json"
    try:
        outcomes = open_json(read_regular(place)) if is_there(place) else {}
        for outcome in outcomes.values():
            require_kinds(outcome, SOURCES)
        return outcomes
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(place, f"cannot be read ({brief(error)})", "Delete it") from None
