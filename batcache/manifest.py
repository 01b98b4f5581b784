"""CSV to clips: labels (0, 1 or unknown), splits and groups, and the rules that keep a test set unseen.

A CSV is UTF-8 with or without BOM, cut by comma, semicolon or tab. Its first column is ``filename``, relative to the
data dir, with either slash; then one column a species holds 0, 1 or nothing (not annotated). The columns of
``_RESERVED`` and those beginning ``meta_`` are optional and never species. All that is wrong is a ``ManifestError``,
raised before any work begins; whether the recordings exist is the build's question.
"""

import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from csv import Error as CsvError
from csv import reader as csv_reader
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from pathlib import Path
from posixpath import normpath

from batcache.errors import ManifestError, count

UNKNOWN = -1
"""The label of a species that was not annotated."""

# fmt: off
_RESERVED = frozenset({
    "filename", "split", "group", "time_expansion", "start_s", "duration_s", "sample_rate", "duration",
    "recorded_at", "latitude", "longitude", "site", "recorder", "notes",
})
# fmt: on
_SPLIT_OF_NAME = {"train.csv": "train", "val.csv": "val", "test.csv": "test"}
_LABELS = {"0": 0, "1": 1, "": UNKNOWN, "0.0": 0, "1.0": 1}  # spreadsheets write 1.0
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)  # float() also takes 1_0 and nan
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Clip:
    """One row: a recording, or its span ``start_s``, ``duration_s`` in true seconds (None: the whole recording).

    ``filename`` is a POSIX path relative to the data dir, without ``.`` and, unless files outside were allowed, within
    it: then it may begin with ``..`` or be absolute. ``line`` is where the row begins,
    counted as an editor counts. ``labels`` are 1, 0 or ``UNKNOWN``, in the order of ``Manifest.species``. ``split`` is
    in lower case; ``group`` is a site-night, which must not be cut in two.
    """

    filename: str
    csv: Path
    line: int
    labels: tuple[int, ...]
    split: str | None = None
    group: str | None = None
    time_expansion: float | None = None
    start_s: float | None = None
    duration_s: float | None = None

    @property
    def place(self) -> str:
        return _place(self.csv, self.line)

    @property
    def group_or_recording(self) -> str:
        return self.filename if self.group is None else self.group


@dataclass(frozen=True)
class Manifest:
    """The clips of one or more CSVs, in their order, under the species of the first.

    ``split_of`` is the split that rows got which had none of their own, by CSV, as ``read_manifest`` was told.
    """

    csvs: tuple[Path, ...]
    data_dir: Path
    species: tuple[str, ...]
    clips: tuple[Clip, ...]
    split_of: Mapping[Path, str] = field(default_factory=dict)

    @property
    def splits(self) -> dict[str, int]:
        """The number of clips in each split. Clips without a split are not counted."""
        return dict(Counter(clip.split for clip in self.clips if clip.split is not None))

    def recordings(self) -> dict[str, Clip]:
        """Each recording's first clip, by filename, in order of appearance."""
        first: dict[str, Clip] = {}
        for clip in self.clips:
            first.setdefault(clip.filename, clip)
        return first


def read_manifest(
    csvs: Sequence[Path],
    data_dir: Path | None = None,
    *,
    num_classes: int | None = None,
    split_of: Mapping[Path, str] | None = None,
    allow_outside: bool = False,
) -> Manifest:
    """Read and check CSVs as one manifest.

    Args:
        csvs: one or more CSVs with the same species, their columns in any order.
        data_dir: where filenames start from; None is the folder that holds all the CSVs.
        num_classes: how many species the caller expects.
        split_of: the split of a CSV without a ``split`` column. Wins over the names train.csv, val.csv and test.csv.
        allow_outside: let filenames lead out of the data dir. A CSV from elsewhere could otherwise have any file of
            this machine read. Links within the data dir are its owner's, and followed.

    Raises:
        ManifestError: anything that cannot be trusted, a group or recording in two splits included.
    """
    csvs = tuple(csvs)
    data_dir = _find_data_dir(csvs, data_dir)
    tables = [_open_table(csv, split_of or {}) for csv in csvs]
    species = tables[0].species
    for table in tables[1:]:
        _refuse_other_species(table, tables[0])
    if num_classes is not None and num_classes != len(species):
        finding = f"{count(len(species), 'species column')}, but num_classes is {num_classes}"
        raise ManifestError(csvs[0], finding, "Correct num_classes or the columns")
    clips = tuple(clip for table in tables for clip in _read_clips(table, species, allow_outside))
    _check_recordings(clips)
    _refuse_two_splits(clips, "recording", lambda clip: clip.filename, lambda clip: clip.filename)
    _refuse_two_splits(clips, "group", lambda clip: clip.group, lambda clip: str(clip.group))
    return Manifest(
        csvs, data_dir, species, clips, {csv: split for csv, split in (split_of or {}).items() if csv in csvs}
    )


def check_contents(manifest: Manifest, content_of: Mapping[str, str]) -> None:
    """Refuse one content in two splits under two names. ``content_of`` gives the content hash of a filename.

    Raises:
        ManifestError: naming both files. Filenames that ``content_of`` lacks are not checked.
    """
    _refuse_two_splits(
        manifest.clips, "content", lambda clip: content_of.get(clip.filename), lambda clip: clip.filename
    )


@dataclass(frozen=True)
class _Table:
    """A CSV whose header is read and checked. ``split`` is for its rows where it has no such column."""

    csv: Path
    columns: dict[str, int]
    decimal_comma: bool
    rows: Iterator[tuple[int, list[str]]]
    split: str | None

    @property
    def species(self) -> tuple[str, ...]:
        return tuple(name for name in self.columns if not _is_reserved(name))


def _find_data_dir(csvs: tuple[Path, ...], data_dir: Path | None) -> Path:
    if not csvs:
        raise ManifestError("manifest", "no CSV given", "Pass at least one CSV")
    if data_dir is not None:
        if not data_dir.is_dir():
            raise ManifestError(data_dir, "not a folder", "Pass --data-dir with the folder of the recordings")
        return data_dir
    home = os.path.realpath(csvs[0].parent)
    for csv in csvs[1:]:
        if os.path.realpath(csv.parent) != home:
            raise ManifestError(csv, f"not in the folder of {csvs[0]}", "Pass --data-dir")
    return csvs[0].parent


def _open_table(csv: Path, split_of: Mapping[Path, str]) -> _Table:
    lines = _read_lines(csv)
    first_line = next(lines, "")
    if not first_line.strip():
        raise ManifestError(_place(csv, 1), "no header", "Begin the CSV with filename and the species")
    delimiter = _find_delimiter(first_line)
    rows = _read_rows(csv, chain([first_line], lines), delimiter)
    _, names = next(rows, (1, [""]))  # none: all its cells are quoted nothing
    split = split_of.get(csv, _SPLIT_OF_NAME.get(csv.name.lower()))
    return _Table(csv, _find_columns(csv, names), delimiter != ",", rows, split)


def _read_lines(csv: Path) -> Iterator[str]:
    try:
        with csv.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise ManifestError(_place(csv, number), "a NUL byte, expected text", "Save it as UTF-8")
                yield line
    except OSError as error:
        raise ManifestError(csv, f"cannot be read ({error.strerror})", "Pass a readable CSV") from None
    except UnicodeDecodeError:
        raise ManifestError(csv, "not UTF-8 text", "Save it as UTF-8") from None


def _find_delimiter(header: str) -> str:
    """The delimiter that stands behind ``filename``, or else the one that cuts the header into the most cells."""

    def rank(delimiter: str) -> tuple[bool, int]:
        with suppress(CsvError):  # the row reader meets it again and knows the place
            names = next(csv_reader([header], delimiter=delimiter))
            return names[0].strip() == "filename", len(names)
        return False, 0

    return max(",;\t", key=rank)


def _read_rows(csv: Path, lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, each with the line where it begins."""
    rows = csv_reader(lines, delimiter=delimiter, strict=True)  # strict: an open quote is no end of a file
    line = 1
    try:
        for cells in rows:
            if any(map(str.strip, cells)):
                yield line, cells
            line = rows.line_num + 1
    except CsvError as error:
        raise ManifestError(_place(csv, line), f"not a row of a CSV ({error})", "Check its quotes") from None


def _find_columns(csv: Path, cells: list[str]) -> dict[str, int]:
    """Return the position of each name. A line break or run of spaces within a name counts as one space."""
    place = _place(csv, 1)
    names = [" ".join(cell.split()) for cell in cells]
    if names[0] != "filename":
        finding = f"the first column is {_shown(names[0])}, expected 'filename'"
        raise ManifestError(place, finding, "Put filename first; separate by comma, semicolon or tab")
    columns: dict[str, int] = {}
    for position, name in enumerate(names):
        if not name:
            raise ManifestError(place, f"column {position + 1} has no name", "Name it or delete it")
        if name in columns:
            raise ManifestError(place, f"two columns are named {_shown(name)}", "Rename or delete one")
        if _is_reserved(name.lower()) and not _is_reserved(name):
            finding = f"column {_shown(name)}, expected {_shown(name.lower())} or a species"
            raise ManifestError(place, finding, "Write it in lower case")
        columns[name] = position
    if all(map(_is_reserved, columns)):
        raise ManifestError(place, "no species column", "Add one column of 0 and 1 for each species")
    return columns


def _is_reserved(name: str) -> bool:
    return name in _RESERVED or name.startswith("meta_")


def _refuse_other_species(table: _Table, first: _Table) -> None:
    here, there = (dict.fromkeys(t.species) for t in (table, first))
    sides = {table.csv: [s for s in here if s not in there], first.csv: [s for s in there if s not in here]}
    findings = [f"only {csv} has {_shown(', '.join(names))}" for csv, names in sides.items() if names]
    if findings:
        raise ManifestError(table.csv, "; ".join(findings), "Give both CSVs the same species")


def _read_clips(table: _Table, species: Sequence[str], allow_outside: bool) -> Iterator[Clip]:
    label_columns = {name: table.columns[name] for name in species}
    empty = True
    for line, cells in table.rows:
        try:
            clip = _read_clip(table, label_columns, line, cells, allow_outside)
        except ValueError as error:
            raise ManifestError(_place(table.csv, line), *error.args) from None
        yield clip
        empty = False
    if empty:
        raise ManifestError(table.csv, "a header without rows", "Add a row for each clip")


def _read_clip(
    table: _Table, label_columns: Mapping[str, int], line: int, cells: list[str], allow_outside: bool
) -> Clip:
    """Raises ValueError with a finding and a remedy, as all readers of cells do; the caller knows the place."""
    columns, comma = table.columns, table.decimal_comma
    if len(cells) != len(columns):
        finding = f"{count(len(cells), 'cell')}, expected {len(columns)} as in the header"
        raise ValueError(finding, "Correct the row; a cell that holds the delimiter needs quotes")
    cells = [*cells, ""]  # where a column that is absent, -1, finds nothing
    split = cells[columns["split"]].strip().lower() if "split" in columns else table.split
    return Clip(
        _read_filename(cells[0], allow_outside),
        table.csv,
        line,
        _read_labels(cells, label_columns, comma),
        sys.intern(split) if split else None,
        sys.intern(cells[columns.get("group", -1)].strip()) or None,
        _read_number("time_expansion", cells[columns.get("time_expansion", -1)], comma),
        _read_number("start_s", cells[columns.get("start_s", -1)], comma),
        _read_number("duration_s", cells[columns.get("duration_s", -1)], comma),
    )


# The caches below are for speed, and for equal values of a million rows to share one object.
@lru_cache(maxsize=1024)
def _read_filename(cell: str, allow_outside: bool) -> str:
    path = cell.strip().replace("\\", "/")
    if not path:
        raise ValueError("no filename", "Name a recording or delete the row")
    if not allow_outside and (path.startswith("/") or _DRIVE.match(path)):
        finding = f"filename {_shown(cell)} is absolute, expected one relative to the data dir"
        raise ValueError(finding, "Shorten it, pass --data-dir, or build with --allow-outside")
    path = normpath(path)
    if not allow_outside and (path == ".." or path.startswith("../")):
        finding = f"filename {_shown(cell)} leads out of the data dir"
        raise ValueError(finding, "Correct it, pass --data-dir, or build with --allow-outside")
    if path == ".":
        raise ValueError(f"filename {_shown(cell)} is the data dir, expected a recording", "Name a recording")
    return path


def _read_labels(cells: list[str], columns: Mapping[str, int], decimal_comma: bool) -> tuple[int, ...]:
    try:
        return _to_labels(tuple([cells[column] for column in columns.values()]))
    except KeyError:
        texts = tuple(_trim(cells[column], decimal_comma) for column in columns.values())
    for species, text in zip(columns, texts, strict=True):
        if text not in _LABELS:
            finding = f"label {_shown(text)} for {_shown(species)}, expected 0, 1 or empty"
            raise ValueError(finding, "Correct the cell, or begin the column's name with meta_ if it is no species")
    return _to_labels(texts)


@lru_cache(maxsize=4096)
def _to_labels(texts: tuple[str, ...]) -> tuple[int, ...]:
    return tuple([_LABELS[text] for text in texts])


@lru_cache(maxsize=1024)
def _read_number(column: str, cell: str, decimal_comma: bool) -> float | None:
    text = _trim(cell, decimal_comma)
    if not text:
        return None
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    zero_fits = column == "start_s"
    if math.isfinite(value) and (value > 0 or (value == 0 and zero_fits)):
        return value
    expected = f"expected a finite number {'>= 0' if zero_fits else '> 0'}"
    raise ValueError(f"{column} {_shown(cell)}, {expected}", "Correct the cell")


def _trim(cell: str, decimal_comma: bool) -> str:
    return cell.strip().replace(",", ".") if decimal_comma else cell.strip()


def _check_recordings(clips: Iterable[Clip]) -> None:
    """Refuse a clip that is given twice and a recording with two time expansions, one of them missing included."""

    def span(clip: Clip) -> tuple[str, float, float | None]:
        return clip.filename, clip.start_s or 0.0, clip.duration_s

    first: dict[str, Clip] = {}
    spans: dict[tuple[str, float, float | None], Clip] = {}  # only of recordings with several clips: lean
    for clip in clips:
        earlier = first.setdefault(clip.filename, clip)
        if earlier is clip:
            continue
        spans.setdefault(span(earlier), earlier)
        twin = spans.setdefault(span(clip), clip)
        if twin is not clip:
            finding = f"{_shown(clip.filename)} with the same span stands at {twin.place} already"
            raise ManifestError(clip.place, finding, "Delete one of the rows")
        if earlier.time_expansion != clip.time_expansion:
            here, there = (c.time_expansion or "none" for c in (clip, earlier))
            finding = f"time_expansion {here} for {_shown(clip.filename)}, but {there} at {earlier.place}"
            raise ManifestError(clip.place, finding, "Give all clips of a recording the same")


def _refuse_two_splits(
    clips: Iterable[Clip], kind: str, key_of: Callable[[Clip], str | None], name_of: Callable[[Clip], str]
) -> None:
    """Refuse clips with one key in two splits. A clip without a split or a key leaks nothing."""
    first: dict[str, Clip] = {}
    for clip in clips:
        key = None if clip.split is None else key_of(clip)
        if key is None:
            continue
        earlier = first.setdefault(key, clip)
        if earlier.split != clip.split:
            here, there = (f"{_shown(name_of(c))} is in {_shown(str(c.split))}" for c in (clip, earlier))
            finding = f"one {kind} in two splits: {here}, but {there} at {earlier.place}"
            raise ManifestError(clip.place, finding, f"Keep a {kind} in one split")


def _place(csv: Path, line: int) -> str:
    return f"{csv} line {line}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 160 else f"{text[:157]}...")
