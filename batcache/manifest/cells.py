"""Cells of a manifest to filenames, labels and numbers.

All raise ValueError with a finding and a remedy; the caller knows the place.
"""

import math
import re
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from posixpath import normpath

from batcache.errors import quote
from batcache.manifest.foreign import names_species
from batcache.storage.spreadsheet import as_written

MOST_CHANNELS = 1024
UNKNOWN = -1
"""The label of a species that was not annotated."""

NOT_GIVEN = ("", "NA")
"""Cells without a value, the latter as R writes it."""
_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1} | dict.fromkeys(NOT_GIVEN, UNKNOWN)  # spreadsheets write 1.0
_NO_CELL = "\0"  # no row of a CSV that is read holds it
_BOUNDS = {
    **{"time_expansion": (1e-3, 1e3), "start_s": (0.0, 1e9), "duration_s": (1e-6, 1e9)},
    "channel": (1.0, float(MOST_CHANNELS)),
}
"""What can be meant: a file plays at most so many times slower than its sound was, and lasts at most 30 years."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)  # float() also takes 1_0 and nan
_DRIVE = re.compile(r"[A-Za-z]:")


_PLAIN_PATH = re.compile(r"(?:\w[\w.-]*/)*\w[\w.-]*", re.ASCII)


def read_filename(cell: str, allow_outside: bool) -> str:
    """The POSIX path of a recording, relative to the data dir unless it may lie outside.

    Raises:
        ValueError: empty, or absolute or leading out of the data dir where that is not allowed.
    """
    if _PLAIN_PATH.fullmatch(cell):
        return cell  # nearly always, and in a third of the time
    path = cell.strip().replace("\\", "/")
    if not path:
        raise ValueError("no filename", "Name a recording or delete the row")
    if not allow_outside and (path.startswith("/") or _DRIVE.match(path)):
        finding = f"filename {quote(cell)} is absolute, expected one relative to the data dir"
        raise ValueError(finding, "Shorten it, pass --data-dir, or build with --allow-outside")
    path = normpath(path)
    if not allow_outside and (path == ".." or path.startswith("../")):
        finding = f"filename {quote(cell)} leads out of the data dir"
        raise ValueError(finding, "Correct it, pass --data-dir, or build with --allow-outside")
    if path == ".":
        raise ValueError(f"filename {quote(cell)} is the data dir, expected a recording", "Name a recording")
    return path


def leads_out(path: str) -> bool:
    """Whether a filename, from a store perhaps, is absolute or leads out of the folder that it starts from.

    >>> [leads_out(path) for path in ("a/../b.wav", "a/../../b.wav", "/b.wav", "C:b.wav")]
    [False, True, True, True]
    """
    path = path.replace("\\", "/")
    return path.startswith("/") or bool(_DRIVE.match(path)) or (".." in path and normpath(path).split("/")[0] == "..")


# The caches below are for speed, and for equal values of a million rows to share one object.
@lru_cache(maxsize=4096)
def read_name(cell: str) -> str:
    """A split or a group; empty where none is given."""
    name = as_written(cell).strip()
    return "" if name in NOT_GIVEN else sys.intern(name)


@lru_cache(maxsize=256)
def read_split(cell: str) -> str:
    """A split in lower case; empty where none is given."""
    return sys.intern(read_name(cell).lower())


def cells_at(columns: Sequence[int]) -> Callable[[list[str]], Sequence[str]]:
    """A function that takes the cells of these columns, at least one, from a row; -1 is the last.

    >>> cells_at([0, 2])(["a", "b", "c"]), cells_at([1, 2])(["a", "b", "c"])
    (('a', 'c'), ['b', 'c'])
    """
    first, stop = columns[0], columns[-1] + 1
    if list(columns) == list(range(first, stop)):  # nearly always, and in a fifth of the time
        return itemgetter(slice(first, stop or None))
    return itemgetter(*columns)


def read_labels(cells: Sequence[str], species: Sequence[str], decimal_comma: bool) -> tuple[int, ...]:
    """A row's labels: 1, 0, or ``UNKNOWN`` for a cell that is empty or ``NA``.

    Args:
        cells: one for each species.
        species: their names.
        decimal_comma: whether ``1,0`` is a number.

    Raises:
        ValueError: a cell is none of these.
    """
    try:
        return _to_labels(_NO_CELL.join(cells))
    except KeyError:
        texts = [_trim(cell, decimal_comma) for cell in cells]
    for name, text in zip(species, texts, strict=True):
        if text not in _LABELS:
            finding = f"label {quote(text)} for {quote(name)}, expected 0, 1 or empty"
            if names_species(name):
                raise ValueError(finding, "Make a column of each species, with 1 where it is there, 0 where it is not")
            raise ValueError(finding, "Correct the cell, or begin the column's name with meta_ if it is no species")
    return _to_labels(_NO_CELL.join(texts))


@lru_cache(maxsize=4096)
def _to_labels(texts: str) -> tuple[int, ...]:
    """Of cells with ``_NO_CELL`` between them: one text is found in the cache sooner than many are."""
    return tuple([_LABELS[text] for text in texts.split(_NO_CELL)])


@lru_cache(maxsize=1024)
def read_number(column: str, cell: str, decimal_comma: bool) -> float | None:
    """A positive number of one of these columns, None for an empty cell; ``start_s`` may be 0.

    Raises:
        ValueError: no such number, or one that cannot be meant.
    """
    text = _trim(cell, decimal_comma)
    if text in NOT_GIVEN:
        return None
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    zero_fits = column == "start_s"
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero_fits):
        expected = f"expected a finite number {'>= 0' if zero_fits else '> 0'}"
        raise ValueError(f"{column} {quote(cell)}, {expected}", "Correct the cell")
    least, most = _BOUNDS[column]
    if not least <= value <= most:
        raise ValueError(f"{column} {quote(cell)}, expected {least:g} to {most:g}", "Correct the cell")
    return value


@lru_cache(maxsize=256)
def read_channel(cell: str, decimal_comma: bool) -> int:
    """A channel, counted from 1; the first for an empty cell.

    Raises:
        ValueError: no such number.
    """
    value = read_number("channel", cell, decimal_comma)
    if value is None:
        return 1
    if value != round(value):
        raise ValueError(f"channel {quote(cell)}, expected 1, 2, ...", "Correct the cell")
    return round(value)


def _trim(cell: str, decimal_comma: bool) -> str:
    return cell.strip().replace(",", ".") if decimal_comma else cell.strip()
