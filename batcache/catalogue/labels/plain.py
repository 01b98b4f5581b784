"""A table of one's own: a column with the recording, one with what is in it, one name a row or several in a cell.

A column ``folder`` is the recording's. Times, where they are given as ``start_s`` and ``end_s``, are true seconds.
"""

from collections.abc import Iterator

from batcache.catalogue.labels.label import Label
from batcache.catalogue.labels.sheet import Sheet
from batcache.species.cell import split_names

_FILE = ("filename", "file", "file name", "file_name", "recording", "path", "filepath", "file path", "wav", "audio",
         "in file", "original file name", "audio recording name", "dateiname", "datei", "aufnahme", "fichier",
         "nom du fichier")  # fmt: skip
_NAMES = ("species", "label", "labels", "manual id", "species manual id", "class", "taxon", "scientific name",
          "scientific_name", "annotation", "annotations", "code", "art", "arten", "espèce", "espece", "espèces",
          "id", "common name")  # fmt: skip


def fits(sheet: Sheet) -> bool:
    """Whether it has a column of files and one of names."""
    return bool(sheet.first_of(*_FILE) and sheet.first_of(*_NAMES))


def read(sheet: Sheet) -> Iterator[Label]:
    """A label for each row."""
    file, names = sheet.first_of(*_FILE), sheet.first_of(*_NAMES)
    for row in sheet.rows():
        start, end = row.number("start_s"), row.number("end_s")
        length = row.number("dur_s")
        if end is None and start is not None and length is not None:
            end = start + length
        path = "/".join(filter(None, (row["folder"], row[file])))
        yield Label(path, split_names(row[names]), row.place, start, end, divided_by=0)
