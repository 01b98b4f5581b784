"""A table for people: a row a recording, without the scores of species that are not there.

``csv`` has commas and points; ``excel`` what Excel opens by a double click in countries where numbers have a decimal
comma: semicolons, and a mark that says UTF-8. No cell of either is a formula.
"""

from dataclasses import fields
from pathlib import Path

import numpy as np

from batcache.features.call_measures import CallMeasures
from batcache.inference.verdicts import CALL_COLUMNS
from batcache.storage.disk import write_file
from batcache.storage.spreadsheet import as_number, to_csv
from batcache.survey.formats.written import Written
from batcache.survey.judged import Judged, Recording

COLUMNS = (
    "path", "site", "night", "time", "verdict", "species", "score", "manual_species", "species_group", "bat", "pulses",
    *CALL_COLUMNS, "duration_s", "latitude", "longitude", "rate", "time_expansion", "recorder", "notes", "model",
)  # fmt: skip
_MARK = "\ufeff"
"""By which Excel knows UTF-8."""


def write_plain(judged: Judged, folder: Path) -> Written:
    """Write ``recordings.csv``, with commas and points.

    Raises:
        OSError: the disk refuses.
    """
    return _write(judged, folder / "recordings.csv", decimal_comma=False)


def write_excel(judged: Judged, folder: Path) -> Written:
    """Write ``recordings.csv``, with semicolons and decimal commas.

    Raises:
        OSError: the disk refuses.
    """
    return _write(judged, folder / "recordings.csv", decimal_comma=True)


def _write(judged: Judged, place: Path, *, decimal_comma: bool) -> Written:
    rows: list[list[str]] = [list(COLUMNS)]
    for recording in judged.recordings:
        cells = _cells_of(judged, recording)
        rows.append([_show(cells[name], decimal_comma=decimal_comma) for name in COLUMNS])
    for one in judged.rejected:
        known = {"path": one.path, "site": one.site, "night": one.night, "verdict": "rejected", "notes": one.reason}
        rows.append([known.get(name, "") for name in COLUMNS])
    table = to_csv(rows, ";" if decimal_comma else ",", "\r\n")
    write_file(place, (_MARK.encode() if decimal_comma else b"") + table)
    return Written(place)


def _cells_of(judged: Judged, one: Recording) -> dict[str, str | float | None]:
    measures = {
        column: None if one.calls is None else getattr(one.calls, field.name)
        for column, field in zip(CALL_COLUMNS, fields(CallMeasures), strict=True)
    }
    return {
        **{name: getattr(one, name) for name in COLUMNS if hasattr(one, name)},
        **measures,
        "time": "" if one.time is None else one.time.isoformat(" ", "seconds"),
        "species": "; ".join(one.species),
        "score": judged.score(one, one.species[0]) if one.species else None,
        "manual_species": "" if one.manual is None else "; ".join(one.manual) or "no bat",
        "species_group": "; ".join(one.groups),
        "model": judged.model,
    }


def _show(value: str | float | None, *, decimal_comma: bool) -> str:
    if isinstance(value, str):
        return value
    number = as_number(np.nan if value is None else value)
    return number.replace(".", ",") if decimal_comma else number
