"""The folder of a sweep, which one process holds at a time::

    sweep.json           which combinations, or which search, it is about: written first, and never for another sweep
    outcomes/<id>.json   a combination's settings and metrics, written when it is done
    sweep.csv, sweep.png a row a combination, written last

An outcome's id is a digest of all that decides it: settings, trunk, features, clips, labels, groups, folds, known calls
and code.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from batcache.errors import RunError, brief, count, shorten
from batcache.evaluation.sweeps.grid import Combination
from batcache.evaluation.sweeps.standings import Outcome
from batcache.storage.disk import write_file
from batcache.storage.exclusive import lock_file
from batcache.storage.listing import is_there, list_folder
from batcache.storage.regular import read_regular
from batcache.storage.sealed import open_json, seal_json
from batcache.training.runs import require_kinds

FORMAT_VERSION = 1
_RECORD = "sweep.json"


def outcome_place(out: Path, inputs: str) -> Path:
    """Where an outcome lies. ``inputs`` is the digest of what decides it."""
    return out / "outcomes" / f"{inputs[:16]}.json"


def outcomes_in(out: Path) -> int:
    """How many outcomes a folder holds."""
    return len(list_folder(out / "outcomes", "*.json"))


def read_outcome(place: Path, combination: Combination) -> Outcome:
    """What a combination came to.

    Raises:
        RunError: damaged, or of another format version.
    """
    document = _read(place, {})
    try:
        metrics, folds = document["metrics"], document["folds"]
        evidence = (metrics["evidence"] or {"macro": dict.fromkeys(("on_a_call", "on_a_call_by_chance"))})["macro"]
        covered = [row for row in metrics["per_species"] if row["average_precision"] is not None]
        return Outcome(
            values=combination.values,
            macro_average_precision=metrics["macro_average_precision"],
            macro_roc_auc=metrics["macro_roc_auc"],
            species=len(covered),
            labels=sum(row["known"] for row in covered),
            on_a_call=evidence["on_a_call"],
            by_chance=evidence["on_a_call_by_chance"],
            train_clips=sum(fold["train_clips"] for fold in folds) / len(folds),
            seconds=float(document["seconds"]),
            file=place,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise RunError(place, f"cannot be read ({brief(error)})", "Delete it") from None


def _read(place: Path, kinds: Mapping[str, type]) -> dict[str, Any]:
    try:
        document = open_json(read_regular(place))
        version = document["format_version"]
        if version == FORMAT_VERSION:
            require_kinds(document, kinds)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(place, f"cannot be read ({brief(error)})", "Delete it") from None
    if version != FORMAT_VERSION:
        raise RunError(
            place, f"format version {shorten(str(version))}, this batcache reads {FORMAT_VERSION}", "Upgrade batcache"
        )
    return document


@contextmanager
def held(out: Path, inputs: Sequence[str]) -> Iterator[None]:
    """Take a folder for this sweep alone, which may be there already if it has no combinations but these.

    Raises:
        RunError: it holds something else, cannot be written, or another process sweeps into it.
    """
    record, lock, remedy = out / _RECORD, out / "sweep.lock", "Pass another --out"
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            if not is_there(lock) and not is_there(record) and list_folder(out):  # a sweep makes its lock first
                raise RunError(out, "holds something else than a sweep", remedy)
            stack.enter_context(lock_file(lock, wait=False))
            if is_there(record):
                _require_part(out, _read(record, {"inputs": list})["inputs"], inputs)
            document = {"format_version": FORMAT_VERSION, "inputs": list(inputs)}
            write_file(record, seal_json(json.dumps(document, indent=1).encode()))
        except BlockingIOError:
            raise RunError(out, "another process sweeps into it", "Wait for it, or pass another --out") from None
        except OSError as error:
            raise RunError.of_disk(out, "cannot hold a sweep", error, remedy) from None
        yield


def _require_part(out: Path, there: Sequence[str], inputs: Sequence[str]) -> None:
    if others := set(there) - set(inputs):
        finding = f"holds another sweep: {count(len(others), 'combination')} of other settings, clips or folds"
        raise RunError(out, finding, "Pass another --out")
