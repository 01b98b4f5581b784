"""Raven's selection tables, one a recording or one of several.

Times are those that the file plays: of an expanded recording they are divided later. In a table of several files
``Begin Time (s)`` runs on over all of them; within a file only ``File Offset (s)`` counts.
"""

import re
from collections.abc import Iterator
from pathlib import PurePath

from batcache.catalogue.labels.label import Label
from batcache.catalogue.labels.sheet import Row, Sheet
from batcache.species.cell import split_names

_BEGIN, _END, _OFFSET = "begin time (s)", "end time (s)", "file offset (s)"
_FILE = ("begin path", "begin file", "in file", "file")
_NAMES = ("scientific name", "species", "species code", "manual id", "annotation", "label", "labels", "common name",
          "class", "code", "id")  # fmt: skip
_OF_TABLE = re.compile(r"(\.table\.\d+)?(\.birdnet)?\.selections?(\.table)?$|\.table\.\d+$|_selections$", re.I)


def fits(sheet: Sheet) -> bool:
    """Whether it has Raven's times and a column of names."""
    return {_BEGIN, _END} <= sheet.columns.keys() and bool(sheet.first_of(*_NAMES))


def read(sheet: Sheet) -> Iterator[Label]:
    """A label for each selection; one without a name for a table that has none."""
    file, names = sheet.first_of(*_FILE), sheet.first_of(*_NAMES)
    rows = _distinct(sheet)
    if not rows and not file:
        yield Label(_recording_of(sheet), (), f"{sheet.path}")
    several = len({row[file] for row in rows}) > 1
    for row in rows:
        begin, end = row.number(_BEGIN), row.number(_END)
        if _OFFSET in sheet.columns and begin is not None and end is not None:
            offset = row.number(_OFFSET)
            begin, end = (None, None) if offset is None else (offset, offset + end - begin)
        elif several:
            begin = end = None  # they run on over the files
        yield Label(row[file] or _recording_of(sheet), split_names(row[names]), row.place, begin, end)


def _distinct(sheet: Sheet) -> list[Row]:
    """The rows, each selection once: Raven writes one for the waveform and one for the spectrogram."""
    rows: dict[tuple[str, ...], Row] = {}
    for row in sheet.rows():
        others = [cell for name, at in sheet.columns.items() if name != "view" for cell in row.cells[at : at + 1]]
        rows.setdefault(tuple(others), row)
    return list(rows.values())


def _recording_of(sheet: Sheet) -> str:
    """The recording that a table without a column of files belongs to, by the table's name."""
    return _OF_TABLE.sub("", PurePath(sheet.path.name).stem)
