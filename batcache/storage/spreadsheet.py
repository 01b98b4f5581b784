"""Every CSV that is written: its cells mean the same in a spreadsheet as in the file, and read back as they were.

A spreadsheet computes a cell that begins with one of ``= + - @``, or with a sign that it takes for one of these, also
behind spaces, and a formula may start a program. It does not keep to our commas everywhere: one that cuts at semicolons
or tabs makes several cells of one. So an apostrophe goes before whatever a cell could begin with there, and nobody
need know which of these a spreadsheet falls for.
"""

import io
import re
from collections.abc import Iterable

import numpy as np

_SIGNS = r"=+@\-\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212\u207a\u207b\u207c\u208a\u208b\u208c"
"""What begins a formula: those four, and their full-width, small, raised and lowered forms."""
_BEGINNING = r"(?:^|(?<=[,;\t\r\n]))"
_OF_FORMULA = rf"(?='*[\t\r\n]|(?:[^\S\t\r\n]|['\ufeff\u200b])*[{_SIGNS}])"
_UNSAFE = re.compile(_BEGINNING + _OF_FORMULA)
_MADE_SAFE = re.compile(f"{_BEGINNING}'{_OF_FORMULA}")
_PLAIN = re.compile(r"[A-Za-z0-9][^,;\t\r\n]*")  # what nearly all texts are: quickly found
_NEGATIVE_NUMBER = re.compile(r"-(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


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
    text = io.StringIO()
    for row in rows:
        cells = (as_text(cell) if isinstance(cell, str) else str(cell) for cell in row)
        text.write(delimiter.join(_quoted(cell, delimiter) for cell in cells) + line_end)
    return text.getvalue().encode()


def _quoted(cell: str, delimiter: str) -> str:
    """Quotes where a reader would not find the cell's end without them. csv.writer of Python 3.12 forgets some."""
    if any(sign in cell for sign in (delimiter, '"', "\r", "\n")):
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
