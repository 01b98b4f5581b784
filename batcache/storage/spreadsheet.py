"""Every CSV that is written: its cells mean the same in a spreadsheet as in the file, and read back as they were.

A spreadsheet computes a cell that begins with one of ``= + - @``, or with a sign that it takes for one of these, also
behind spaces, and a formula may start a program. It does not keep to our commas everywhere: one that cuts at semicolons
or tabs makes several cells of one. So an apostrophe goes before whatever a cell could begin with there, and nobody
need know which of these a spreadsheet falls for.
"""

import re
import string
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

_SIGNS = r"=+@\-\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212\u207a\u207b\u207c\u208a\u208b\u208c"
"""What begins a formula: those four, and their full-width, small, raised and lowered forms."""
_BEGINNING = r"(?:^|(?<=[,;\t\r\n]))"
_OF_FORMULA = rf"(?='*[\t\r\n]|(?:[^\S\t\r\n]|['\ufeff\u200b])*[{_SIGNS}])"
_UNSAFE = re.compile(_BEGINNING + _OF_FORMULA)
_MADE_SAFE = re.compile(f"{_BEGINNING}'{_OF_FORMULA}")
_PLAIN = re.compile(r"[A-Za-z0-9][^,;\t\r\n]*")  # what nearly all texts are: quickly found
_PLAIN_CELL = r"(?:[A-Za-z0-9][^,;\t\r\n\"]*)?"
_PLAIN_LINE = {cut: re.compile(f"{_PLAIN_CELL}(?:{cut}{_PLAIN_CELL})*") for cut in ",;\t"}
_ROWS_A_BLOCK = 4096
_NEGATIVE_NUMBER = re.compile(r"-(0|[1-9]\d*)([.,]\d+)?([eE][+-]?\d+)?", re.ASCII)


def as_text(value: str) -> str:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it; a number is none.

    >>> as_text("=1+1"), as_text("night 1"), as_text("-3.5")
    ("'=1+1", 'night 1', '-3.5')
    """
    if _PLAIN.fullmatch(value) or _NEGATIVE_NUMBER.fullmatch(value):
        return value
    return _UNSAFE.sub("'", value)


def as_written(cell: str) -> str:
    """The text of a cell without the apostrophes that ``as_text`` puts into it.

    >>> as_written("'=1+1"), as_written("night 1")
    ('=1+1', 'night 1')
    """
    return _MADE_SAFE.sub("", cell) if "'" in cell else cell


def to_csv(rows: Iterable[Iterable[object]], delimiter: str = ",", line_end: str = "\n") -> bytes:
    """A CSV, the header among its rows. Texts are made safe as by ``as_text``, other values written as they are."""
    return b"".join(csv_blocks(rows, delimiter, line_end))


def csv_blocks(rows: Iterable[Iterable[object]], delimiter: str = ",", line_end: str = "\n") -> Iterator[bytes]:
    """The same in pieces of some thousand rows."""
    rows = iter(rows)
    while block := list(map(list, islice(rows, _ROWS_A_BLOCK))):
        lines = [_joined(values, delimiter) for values in block]
        if not _are_plain(lines, delimiter, sum(map(len, block))):
            lines = [_line(values, delimiter) for values in block]
        yield (line_end.join(lines) + line_end).encode()


def _joined(values: list[Any], delimiter: str) -> str:
    try:
        return delimiter.join(values)
    except TypeError:  # not all of them are texts
        return delimiter.join(map(str, values))


def _are_plain(lines: Sequence[str], delimiter: str, cells: int) -> bool:
    """Whether each of these lines matches ``_PLAIN_LINE`` and holds its own cells: asked of all at once, by their
    characters' kinds, that takes a quarter of the time."""
    kinds = "\n".join(lines).encode("utf-8", "surrogatepass").translate(_KINDS[delimiter])
    if kinds.count(b",") != cells - len(lines) or kinds.count(b"\n") != len(lines) - 1 or b"!" in kinds:
        return False
    return not kinds.startswith(b"-") and b"\n-" not in kinds and b",-" not in kinds


def _kinds(delimiter: str) -> bytes:
    """What each byte is to a plain line, as ``bytes.translate`` takes it: ``a`` may begin a cell, ``-`` may stand in it
    further on, ``!`` may not stand there at all; a delimiter is ``,`` and a line end itself."""
    kinds = bytearray(b"-" * 256)
    for byte in (string.ascii_letters + string.digits).encode():
        kinds[byte] = ord("a")
    for special in ',;\t\r"':
        kinds[ord(special)] = ord("!")
    kinds[ord(delimiter)], kinds[ord("\n")] = ord(","), ord("\n")
    return bytes(kinds)


_KINDS = {delimiter: _kinds(delimiter) for delimiter in ",;\t"}


def _line(values: list[Any], delimiter: str) -> str:
    line = _joined(values, delimiter)
    if line.count(delimiter) == len(values) - 1 and _PLAIN_LINE[delimiter].fullmatch(line):
        return line  # nearly always, and in a quarter of the time
    return delimiter.join([_cell(value, delimiter) for value in values])


def _cell(value: object, delimiter: str) -> str:
    """Quotes where a reader would not find the cell's end without them. csv.writer of Python 3.12 forgets some."""
    cell = as_text(value) if isinstance(value, str) else str(value)
    if delimiter in cell or '"' in cell or "\r" in cell or "\n" in cell:
        doubled = cell.replace('"', '""')
        return f'"{doubled}"'
    return cell


TINY = 1e-4
"""Smaller scores are written with three digits, as 5.41e-13: no threshold lies among them."""


def as_number(value: float) -> str:
    """With as many digits as tell it from the next float32, so that no score is rounded across a threshold; NaN is "".

    >>> as_number(0.49996), as_number(float("nan"))
    ('0.49996', '')
    """
    if 0 < abs(value) < TINY:
        return f"{value:.3g}"
    return "" if np.isnan(value) else np.format_float_positional(np.float32(value), trim="-")
