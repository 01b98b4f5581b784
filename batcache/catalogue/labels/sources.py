"""Which programs' labels are read: a row for each kind of file, known by its header or its keys."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batcache.catalogue.labels import aoef, batdetect2, bto, kaleidoscope, plain, raven, sonobat, vigie_chiro
from batcache.catalogue.labels.label import Label
from batcache.catalogue.labels.sheet import Sheet, decode, open_sheet
from batcache.errors import ManifestError, list_some
from batcache.storage.listing import is_file, is_folder, walk_folder

_ENDINGS = (".csv", ".json", ".tsv", ".txt")
_REMEDY = (
    "Pass a table with a column of files and one of species, or one of {}. A table with a column of 0 and 1 for each "
    "species is a manifest already: pass it to build"
)


@dataclass(frozen=True)
class Source:
    """A kind of table: how it is known, and how it is read. ``read`` also takes whether a program's word counts."""

    kind: str
    fits: Callable[[Sheet], bool]
    read: Callable[[Sheet, bool], Iterator[Label]]


TABLES = (  # the more particular first
    Source("Kaleidoscope", kaleidoscope.fits, lambda sheet, auto: kaleidoscope.read(sheet, auto=auto)),
    Source("Raven", raven.fits, lambda sheet, auto: raven.read(sheet)),
    Source("BatDetect2", batdetect2.fits_table, lambda sheet, auto: batdetect2.read_table(sheet)),
    Source("Vigie-Chiro", vigie_chiro.fits, lambda sheet, auto: vigie_chiro.read(sheet, auto=auto)),
    Source("SonoBat", sonobat.fits, lambda sheet, auto: sonobat.read(sheet, auto=auto)),
    Source("BTO Acoustic Pipeline", bto.fits, lambda sheet, auto: bto.read(sheet)),
    Source("table", plain.fits, lambda sheet, auto: plain.read(sheet)),
)
DOCUMENTS = (
    ("BatDetect2", batdetect2.fits, batdetect2.read),
    ("AOEF", aoef.fits, aoef.read),
)
HAVE_BOTH = ("Kaleidoscope", "Vigie-Chiro", "SonoBat")
"""Kinds that have a place for a person's names and one for the program's."""


@dataclass(frozen=True)
class LabelFile:
    """What one file of labels says, and what kind it is."""

    path: Path
    kind: str
    labels: tuple[Label, ...]


def read_label_files(path: Path, *, auto: bool = False) -> tuple[list[LabelFile], list[Path]]:
    """Read a file of labels, or all those in a folder, at any depth; and the tables there that are none.

    Args:
        path: a table or JSON document, or a folder.
        auto: take what a program said where no person did.

    Raises:
        ManifestError: not there, damaged, of no known kind, or a folder without labels.
    """
    if not is_folder(path):
        return [_read(path, auto=auto)], []
    found, passed_over = [], []
    for file in sorted(one for one in walk_folder(path) if one.suffix.lower() in _ENDINGS and is_file(one)):
        try:
            found.append(_read(file, auto=auto))
        except _UnknownKindError:
            passed_over.append(file)
    if not found:
        raise ManifestError(path, "no file of labels in it", _REMEDY.format(_kinds()))
    return found, passed_over


class _UnknownKindError(ManifestError):
    """A table or document of no known kind."""


def _read(path: Path, *, auto: bool) -> LabelFile:
    if path.suffix.lower() == ".json":
        content = _load(path)
        for kind, fits, read in DOCUMENTS:
            if fits(content):
                return LabelFile(path, kind, tuple(read(path, content)))
        raise _UnknownKindError(path, "a JSON document of no known kind", _REMEDY.format(_kinds()))
    sheet = open_sheet(path)
    for source in TABLES:
        if source.fits(sheet):
            return LabelFile(path, source.kind, tuple(source.read(sheet, auto)))
    finding = f"no table of labels: its columns are {list_some(sheet.columns, most=8)}"
    raise _UnknownKindError(path, finding, _REMEDY.format(_kinds()))


def _kinds() -> str:
    return ", ".join(dict.fromkeys([*(s.kind for s in TABLES[:-1]), *(kind for kind, _, _ in DOCUMENTS)]))


def _load(path: Path) -> Any:
    try:
        return json.loads(decode(path, path.read_bytes()))
    except OSError as error:
        raise ManifestError(path, f"cannot be read ({error.strerror})", "Pass a readable file") from None
    except (ValueError, RecursionError) as error:
        raise ManifestError(path, f"not JSON ({error})", "Export it again") from None
