"""A CSV's header and rows: which delimiter, which columns, which of them are species."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from csv import Error as CsvError
from csv import field_size_limit
from csv import reader as csv_reader
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import chain
from pathlib import Path

from batcache.errors import ManifestError, quote, visible
from batcache.manifest.foreign import recognise, recognise_bytes
from batcache.storage.names import fold
from batcache.storage.regular import open_regular
from batcache.storage.spreadsheet import as_written

# fmt: off
_RESERVED = frozenset({
    "filename", "split", "group", "time_expansion", "start_s", "duration_s", "sample_rate", "duration",
    "recorded_at", "latitude", "longitude", "site", "recorder", "notes", "channel", "content",
})
# fmt: on
_LONGEST_LINE = 1 << 24
"""Characters: a header of a million species. What is longer is no table, and may have no end."""
_SPLIT_OF_NAME = {"train.csv": "train", "val.csv": "val", "test.csv": "test"}


@dataclass(frozen=True)
class Table:
    """A CSV whose header is read and checked. ``split`` is for its rows where it has no such column."""

    csv: Path
    columns: dict[str, int]
    delimiter: str
    rows: Iterator[tuple[int, list[str]]]
    split: str | None

    @property
    def decimal_comma(self) -> bool:
        """Whether numbers may be written ``0,5``: a CSV that is not cut by commas comes from such a country."""
        return self.delimiter != ","

    @property
    def is_review(self) -> bool:
        """Whether it says what a person found in recordings that were judged, which it knows by their sound."""
        return "content" in self.columns

    @property
    def species(self) -> tuple[str, ...]:
        """The columns that hold labels, in their order."""
        return tuple(name for name in self.columns if not is_reserved(name))


def open_table(csv: Path, split_of: Mapping[Path, str]) -> Table:
    """Read the header; the rows are read as they are asked for. ``split_of`` wins over the CSV's name."""
    lines = _read_lines(csv)
    first_line = next(lines, "")
    if not first_line.strip():
        raise ManifestError(place_of(csv, 1), "no header", "Begin the CSV with filename and the species")
    delimiter = _find_delimiter(first_line)
    rows = _read_rows(csv, chain([first_line], lines), delimiter)
    _, names = next(rows, (1, [""]))  # none: all its cells are quoted nothing
    split = split_of.get(csv, _SPLIT_OF_NAME.get(csv.name.lower()))
    return Table(csv, _find_columns(csv, names), delimiter, rows, split)


def read_table(csv: Path) -> tuple[dict[str, int], str, Iterator[tuple[int, list[str]]]]:
    """The position of each column, the delimiter, and the rows with their lines, of a CSV that need be no manifest.

    Raises:
        ManifestError: it cannot be read, has no header, or two columns of one name; also while the rows are read.
    """
    lines = _read_lines(csv)
    first_line = next(lines, "")
    if not first_line.strip():
        raise ManifestError(place_of(csv, 1), "no header", "Name the columns in the first line")
    delimiter = _find_delimiter(first_line)
    rows = _read_rows(csv, chain([first_line], lines), delimiter)
    _, cells = next(rows, (1, [""]))
    columns: dict[str, int] = {}
    for position, name in enumerate(map(_name_of, cells)):
        if name and name in columns:
            raise ManifestError(place_of(csv, 1), f"two columns are named {quote(name)}", "Rename or delete one")
        columns[name] = position
    return columns, delimiter, rows


def _name_of(cell: str) -> str:
    """The name of a column. A line break or run of spaces within it counts as one space."""
    return " ".join(as_written(cell).split())


def _read_lines(csv: Path) -> Iterator[str]:
    try:
        with open_regular(csv) as raw:
            if foreign := recognise_bytes(raw.peek(16)):
                raise ManifestError(csv, f"{foreign[0]}, expected a CSV", foreign[1])
            number = 0
            file = TextIOWrapper(raw, encoding="utf-8-sig", newline="")
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if "\0" in line:
                    raise ManifestError(place_of(csv, number), "a NUL byte, expected text", "Save it as UTF-8")
                if len(line) == _LONGEST_LINE:
                    finding = f"a line of more than {_LONGEST_LINE:,} characters"
                    raise ManifestError(place_of(csv, number), finding, "Pass a CSV")
                yield line
    except OSError as error:
        raise ManifestError.of_disk(csv, "cannot be read", error, "Pass a readable CSV") from None
    except UnicodeDecodeError:
        raise ManifestError(csv, "not UTF-8 text", "Save it as UTF-8 (in Excel: CSV UTF-8)") from None


def _find_delimiter(header: str) -> str:
    """The delimiter that stands behind ``filename``, or else the one that cuts the header into the most cells."""

    def rank(delimiter: str) -> tuple[bool, int]:
        with suppress(CsvError):  # the row reader meets it again and knows the place
            names = next(csv_reader([header], delimiter=delimiter))
            return names[0].strip() == "filename", len(names)
        return False, 0

    return max(",;\t", key=rank)


def _read_rows(csv: Path, lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, each with the line where it begins."""
    line = 1
    for text in lines:
        if '"' in text or len(text) > field_size_limit():
            rows = csv_reader(
                chain([text], lines), delimiter=delimiter, strict=True
            )  # an open quote is no end of a file
            try:
                cells = next(rows)
            except CsvError as error:
                raise ManifestError(place_of(csv, line), f"not a row of a CSV ({error})", "Check its quotes") from None
            after = line + rows.line_num
        else:
            cells, after = text.rstrip("\r\n").split(delimiter), line + 1  # nearly always, and in half the time
        if any(map(str.strip, cells)):
            yield line, cells
        line = after


def _find_columns(csv: Path, cells: list[str]) -> dict[str, int]:
    """Return the position of each name."""
    place = place_of(csv, 1)
    names = [*map(_name_of, cells)]
    if foreign := recognise(names):
        raise ManifestError(csv, f"this is {foreign[0]}, expected a CSV of clips", foreign[1])
    if names[0] != "filename":
        finding = f"the first column is {quote(names[0])}, expected 'filename'"
        raise ManifestError(place, finding, "Put filename first; separate by comma, semicolon or tab")
    columns: dict[str, int] = {}
    alike: dict[str, str] = {}
    for position, name in enumerate(names):
        if not name:
            raise ManifestError(place, f"column {position + 1} has no name", "Name it or delete it")
        if name in columns:
            raise ManifestError(place, f"two columns are named {quote(name)}", "Rename or delete one")
        if visible(name) != name:
            finding = f"the name of column {position + 1}, {quote(name)}, has a character that does not show"
            raise ManifestError(place, finding, "Type the name anew")
        other = alike.setdefault(fold(name), name)
        if other != name:
            finding = f"columns {quote(other)} and {quote(name)} differ in letter case or Unicode form alone"
            raise ManifestError(place, finding, "Make one of them, or give them names that differ")
        if is_reserved(name.lower()) and not is_reserved(name):
            finding = f"column {quote(name)}, expected {quote(name.lower())} or a species"
            raise ManifestError(place, finding, "Write it in lower case")
        columns[name] = position
    if all(map(is_reserved, columns)):
        raise ManifestError(place, "no species column", "Add one column of 0 and 1 for each species")
    return columns


def is_reserved(name: str) -> bool:
    """Whether a column of this name is no species."""
    return name in _RESERVED or name.startswith("meta_")


def place_of(csv: Path, line: int) -> str:
    """A row of a CSV as errors name it."""
    return f"{csv} line {line}"
