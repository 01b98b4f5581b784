"""Tadarida's tables of Vigie-Chiro: a taxon a row, by the program, the observer and the validator.

Times are true seconds. The validator's word counts, else the observer's.
"""

from collections.abc import Iterator

from batcache.catalogue.labels.label import Label
from batcache.catalogue.labels.sheet import Sheet
from batcache.species.cell import split_names

_FILE = "nom du fichier"
_PERSONS = ("validateur_taxon", "observateur_taxon")
_PROGRAM = "tadarida_taxon"


def fits(sheet: Sheet) -> bool:
    """Whether it has Tadarida's columns."""
    return {_FILE, _PROGRAM} <= sheet.columns.keys()


def read(sheet: Sheet, *, auto: bool = False) -> Iterator[Label]:
    """A label for each row: what a person said; with ``auto``, where none did, the program's taxon."""
    for row in sheet.rows():
        names = next((found for column in _PERSONS if (found := split_names(row[column]))), ())
        by_program = not names and auto
        if by_program:
            names = split_names(row[_PROGRAM])
        start, end = row.number("temps_debut"), row.number("temps_fin")
        told = by_program and bool(names)
        yield Label(row[_FILE], names, row.place, start, end, divided_by=0, by_program=told)
