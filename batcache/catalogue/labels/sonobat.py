"""SonoBat's tables, and others with GUANO's fields as columns."""

from collections.abc import Iterator

from batcache.catalogue.labels.label import Label
from batcache.catalogue.labels.sheet import Sheet
from batcache.species.cell import split_names

_MANUAL = ("species manual id", "species_manual_id", "user|manualidspp2")
_AUTO = ("sppaccp", "species auto id", "~spp")


def fits(sheet: Sheet) -> bool:
    """Whether it has SonoBat's columns."""
    return "filename" in sheet.columns and "sppaccp" in sheet.columns


def read(sheet: Sheet, *, auto: bool = False) -> Iterator[Label]:
    """A label for each row: the manual ids, a second included; with ``auto``, where there is none, the accepted one."""
    program = sheet.first_of(*_AUTO)
    for row in sheet.rows():
        names = tuple(dict.fromkeys(name for column in _MANUAL for name in split_names(row[column])))
        by_program = not names and auto
        if by_program:
            names = split_names(row[program])
        path = "/".join(filter(None, (row["parentdir"], row["filename"])))
        yield Label(path, names, row.place, by_program=by_program and bool(names))
