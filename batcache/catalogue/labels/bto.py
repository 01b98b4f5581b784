"""The BTO Acoustic Pipeline's results, those of its website and those of its program for a computer.

All of it was said by a program; what is below a probability of 0.5, which the BTO recommends to discard, is left out.
"""

from collections.abc import Iterator

from batcache.catalogue.labels.label import Label
from batcache.catalogue.labels.sheet import Sheet
from batcache.species.cell import split_names

_FILE = ("original.file.name", "original file name", "filename", "recording.file.name")
_NAME = ("scientific.name", "scientific_name", "species")
_SCORE = ("probability", "score")
_LEAST = 0.5


def fits(sheet: Sheet) -> bool:
    """Whether it has the pipeline's columns."""
    marks = {"recording.file.name", "classifier.name"}, {"scientific_name", "classifier_code"}
    return any(mark <= sheet.columns.keys() for mark in marks)


def read(sheet: Sheet) -> Iterator[Label]:
    """A label for each row of at least 0.5."""
    file, name, score = sheet.first_of(*_FILE), sheet.first_of(*_NAME), sheet.first_of(*_SCORE)
    for row in sheet.rows():
        sure = (row.number(score) or 0.0) >= _LEAST
        names = split_names(row[name] or row["species"]) if sure else ()
        yield Label(row[file], names, row.place, by_program=True)
