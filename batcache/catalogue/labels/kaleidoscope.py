"""Kaleidoscope's tables: ``id.csv``, ``cluster.csv`` and ``meta.csv``. Columns are known by name, never by place.

A person's names stand in MANUAL ID, several cut by commas; the program's in AUTO ID, or TOP1MATCH of clusters. DATE and
TIME are those of the recording, local.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime, time

from batcache.catalogue.labels.label import Label
from batcache.catalogue.labels.sheet import Row, Sheet
from batcache.species.cell import split_names

_MANUAL = ("manual id", "manual_id")
_AUTO = ("auto id", "auto_id", "top1match", "top 1 match")
_FILE = ("in file", "in_file", "infile")
_DATE = re.compile(r"(\d{1,4})[-/.](\d{1,2})[-/.](\d{1,4})|(\d{4})(\d\d)(\d\d)")


def fits(sheet: Sheet) -> bool:
    """Whether it names files as Kaleidoscope does, and what is in them."""
    return bool(sheet.first_of(*_FILE) and sheet.first_of(*_MANUAL, *_AUTO))


def read(sheet: Sheet, *, auto: bool = False) -> Iterator[Label]:
    """A label for each row: the manual id; with ``auto``, where there is none, the program's."""
    file, manual, program = sheet.first_of(*_FILE), sheet.first_of(*_MANUAL), sheet.first_of(*_AUTO)
    day_first = _finds_day_first(sheet)
    for row in sheet.rows():
        names, by_program = split_names(row[manual]), False
        if not names and auto:
            names, by_program = split_names(row[program]), True
        piece = row["out file fs"]
        yield Label(
            "/".join(filter(None, (row["indir"], row["folder"], row[file]))),
            names,
            row.place,
            recorded_at=_read_time(row, day_first),
            by_program=by_program and bool(names),
            else_file="/".join(filter(None, (row["outdir"], row["folder"], piece))) if piece else "",
        )


def _finds_day_first(sheet: Sheet) -> bool | None:
    """Whether dates as 12/04/2024 begin with the day, as some row shows; None where no row does."""
    for row in sheet.rows():
        if (found := _DATE.fullmatch(row["date"])) and found[1] and len(found[1]) <= 2:
            if int(found[1]) > 12:
                return True
            if int(found[2]) > 12:
                return False
    return None


def _read_time(row: Row, day_first: bool | None) -> str | None:
    """The recording's time; None where it is not told, or its date could be read two ways."""
    found = _DATE.fullmatch(row["date"])
    clock = row["time"]
    if not found or not clock:
        return None
    one, two, three = (int(part) for part in found.groups() if part is not None)
    if found[1] is not None and len(found[1]) <= 2:
        if day_first is None and one != two:
            return None
        one, two, three = (three, two, one) if day_first else (three, one, two)
    try:
        return datetime.combine(date(one, two, three), time.fromisoformat(clock.zfill(8))).isoformat()
    except ValueError:
        return None
