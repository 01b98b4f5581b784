"""Calls that are known to be there: the simulator's, an expert's, or marked by hand."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batcache.errors import ManifestError, brief, quote
from batcache.manifest.cells import read_filename
from batcache.storage.listing import is_file
from batcache.storage.spreadsheet import as_written

EVENTS = "events.csv"
"""The table of calls in a data dir."""
_COLUMNS = (("filename",), ("species", "taxon"), ("start_s",), ("end_s", "dur_s"))
"""Those that it needs, each under any of its names."""


@dataclass(frozen=True)
class Call:
    """A call: true seconds from the recording's start, kHz, and how strong it is in dB; None where it is not told."""

    species: str
    start_s: float
    end_s: float
    low_khz: float | None = None
    high_khz: float | None = None
    strength_db: float | None = None


def read_calls(data_dir: Path) -> dict[str, tuple[Call, ...]]:
    """Read calls by filename from the ``events.csv`` of a data dir.

    Its columns: ``filename, species, start_s, end_s`` (or ``taxon`` for species, ``dur_s`` for end_s); where they are
    there, also ``fmin_khz, fmax_khz`` and ``snr_db``, else ``level_db``, whose cells may be blank. Others are ignored.
    No such file, or one with none of these columns beside ``filename``: no calls.

    Raises:
        ManifestError: a column is missing beside others, or a row holds no numbers where they belong; names its line.
    """
    path = data_dir / EVENTS
    if not is_file(path):
        return {}
    calls: dict[str, list[Call]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            there = set(rows.fieldnames or ())
            missing = [" or ".join(names) for names in _COLUMNS if not there & {*names}]
            if "filename" in missing or len(missing) == len(_COLUMNS) - 1:
                return {}
            if missing:
                raise ValueError(f"no column {', '.join(missing)}")
            for row in rows:
                name, call = _read_row(row, f"{path} line {rows.line_num}")
                calls.setdefault(name, []).append(call)
    except (OSError, ValueError, csv.Error) as error:
        raise _no_calls(path, error) from None
    return {name: tuple(found) for name, found in calls.items()}


def list_calls(calls: Mapping[str, Sequence[Call]]) -> dict[str, list[list[object]]]:
    """The calls as plain values, for a digest."""
    return {name: [[*vars(call).values()] for call in found] for name, found in calls.items()}


def _read_row(row: Mapping[str, str | None], place: str) -> tuple[str, Call]:
    try:
        return read_filename(as_written(row["filename"] or ""), allow_outside=True), _read_call(row)
    except ValueError as error:
        raise _no_calls(place, error) from None


def _no_calls(place: object, error: Exception) -> ManifestError:
    return ManifestError(place, f"not a table of calls ({brief(error)})", "Correct, rename or remove it")


def _read_call(row: Mapping[str, str | None]) -> Call:
    start = _number(row, "start_s")
    end = _number(row, "end_s") if "end_s" in row else start + _number(row, "dur_s")
    species = row["species"] if "species" in row else row["taxon"]
    if species is None:
        raise ValueError("the row ends before its species")
    strength = next((_number_or_none(row, column) for column in ("snr_db", "level_db") if column in row), None)
    low, high = (_number_or_none(row, column) for column in ("fmin_khz", "fmax_khz"))
    return Call(species.strip() or "unknown", start, end, low, high, strength)


def _number_or_none(row: Mapping[str, str | None], column: str) -> float | None:
    return _number(row, column) if (row.get(column) or "").strip() else None


def _number(row: Mapping[str, str | None], column: str) -> float:
    cell = row[column] or ""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{column} {quote(cell)} is no number")
    return value
