"""A table for people: a row a recording, without the scores of species that are not there.

``csv`` has commas and points; ``excel`` what Excel opens by a double click in countries where numbers have a decimal
comma: semicolons, and a mark that says UTF-8. No cell of either is a formula.
"""

import csv
import io
from dataclasses import fields
from pathlib import Path

import numpy as np

from batcache.features.call_measures import CallMeasures
from batcache.inference.verdicts import CALL_COLUMNS
from batcache.storage.disk import write_file
from batcache.storage.spreadsheet import as_number, as_text
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
    text = io.StringIO()
    table = csv.writer(text, delimiter=";" if decimal_comma else ",")
    table.writerow(COLUMNS)
    for recording in judged.recordings:
        cells = _cells_of(judged, recording)
        table.writerow(_show(cells[name], decimal_comma=decimal_comma) for name in COLUMNS)
    for one in judged.rejected:
        known = {"path": one.path, "site": one.site, "night": one.night, "verdict": "rejected", "notes": one.reason}
        table.writerow(as_text(known.get(name, "")) for name in COLUMNS)
    write_file(place, f"{_MARK if decimal_comma else ''}{text.getvalue()}".encode())
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
        return as_text(value)
    number = as_number(np.nan if value is None else value)
    return number.replace(".", ",") if decimal_comma else number
