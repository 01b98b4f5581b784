"""Tables of other programs: any delimiter, any common coding, headers with and without marks.

A spreadsheet of an older Windows writes no UTF-8; what it wrote is then taken as Windows-1252. Names that come out
wrong are not in the table of names, and so refused.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from batcache.errors import ManifestError, brief
from batcache.manifest.table import place_of

_LONGEST_HEADER = 1 << 16
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Sheet:
    """A table whose header is read.

    Attributes:
        path: the file.
        columns: where each column stands. Names are in lower case, without the asterisks that Kaleidoscope sets, and
            with single spaces; of two of one name, the first counts.
        lines: the rows as text, the header left out.
        delimiter: what cuts them.
        width: how many columns the header has.
    """

    path: Path
    columns: dict[str, int]
    lines: Sequence[str]
    delimiter: str
    width: int

    def first_of(self, *names: str) -> str | None:
        """The first of these columns that is there."""
        return next((name for name in names if name in self.columns), None)

    def rows(self) -> Iterator["Row"]:
        """The rows that are not blank.

        Raises:
            ManifestError: a quote that is not closed; a row that says more than its header has columns for, as one
                whose cell of several names is cut by the table's own delimiter.
        """
        reader = csv.reader(self.lines, delimiter=self.delimiter)
        line = 2
        try:
            for cells in reader:
                if any(map(str.strip, cells[self.width :])):
                    finding = f"{len(cells)} cells, the header has {self.width}"
                    remedy = f"Put a cell that holds {self.delimiter!r} into quotes"
                    raise ManifestError(place_of(self.path, line), finding, remedy)
                if any(map(str.strip, cells)):
                    yield Row(self, line, cells)
                line = reader.line_num + 2
        except csv.Error as error:
            raise ManifestError(place_of(self.path, line), f"not a row of a table ({error})", "Check it") from None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a sheet."""

    sheet: Sheet
    line: int
    cells: Sequence[str]

    @property
    def place(self) -> str:
        """The row as errors name it."""
        return place_of(self.sheet.path, self.line)

    def __getitem__(self, column: str | None) -> str:
        """The text of a cell; empty where there is no such column, or the row is short."""
        at = self.sheet.columns.get(column, -1) if column else -1
        return self.cells[at].strip() if 0 <= at < len(self.cells) else ""

    def number(self, column: str | None) -> float | None:
        """A cell's number, with a point or a comma; None where the cell is empty.

        Raises:
            ManifestError: it holds something else.
        """
        text = self[column].replace(",", ".")
        if not text:
            return None
        if not _NUMBER.fullmatch(text):
            raise ManifestError(self.place, f"{column} is {text!r}, expected a number", "Correct the cell")
        return float(text)


def open_sheet(path: Path) -> Sheet:
    """Read a table's text and header.

    Raises:
        ManifestError: it cannot be read, or has no header.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ManifestError(path, f"cannot be read ({brief(error)})", "Pass a readable file") from None
    lines = decode(path, raw).splitlines(keepends=True)
    if not lines or not lines[0].strip() or len(lines[0]) > _LONGEST_HEADER:
        raise ManifestError(path, "no header in its first line", "Pass a table with named columns")
    delimiter = max("\t;,", key=lambda mark: len(next(csv.reader(lines[:1], delimiter=mark))))
    columns: dict[str, int] = {}
    header = next(csv.reader(lines[:1], delimiter=delimiter))
    for position, cell in enumerate(header):
        columns.setdefault(" ".join(cell.replace("*", " ").lower().split()), position)
    return Sheet(path, columns, lines[1:], delimiter, len(header))


def decode(path: Path, raw: bytes) -> str:
    """The text of a file.

    Raises:
        ManifestError: it is no text.
    """
    if b"\0" in raw[:4096] and not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        finding = "a workbook" if raw.startswith(b"PK") else "not text"
        raise ManifestError(path, finding, "Save it as CSV")
    for mark, coding in _BOMS:
        if raw.startswith(mark):
            return raw.decode(coding, errors="replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")
