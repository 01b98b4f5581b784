"""CSV to clips: labels (0, 1 or unknown), splits and groups, and the rules that keep a test set unseen.

A CSV is UTF-8 with or without BOM, cut by comma, semicolon or tab. Its first column is ``filename``, relative to the
data dir, with either slash; then one column a species holds 0, 1 or nothing (not annotated). Reserved columns and
those beginning ``meta_`` are optional and never species. All that is wrong is a ``ManifestError``, raised before any
work begins; whether the recordings exist is the build's question.

A CSV with a column ``content``, a table of what a person reviewed, may lie elsewhere and have other species than the
CSVs it is given with: what these do not name is not annotated there. Module ``reviewed`` says which clips its rows are.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from batcache.errors import ManifestError, count, quote
from batcache.manifest.cells import (
    cells_at,
    read_channel,
    read_filename,
    read_labels,
    read_name,
    read_number,
    read_split,
)
from batcache.manifest.table import Table, open_table, place_of
from batcache.storage.listing import is_folder
from batcache.storage.memory import no_garbage
from batcache.storage.names import fold
from batcache.storage.spreadsheet import as_written


class Clip(msgspec.Struct, frozen=True, gc=False):
    """One row: a recording, or its span ``start_s``, ``duration_s`` in true seconds (None: the whole recording).

    A struct, as a million of them are made whenever a large CSV is read.

    ``filename`` is a POSIX path relative to the data dir, without ``.`` and, unless files outside were allowed, within
    it: then it may begin with ``..`` or be absolute. ``line`` is where the row begins,
    counted as an editor counts. ``labels`` are 1, 0 or ``UNKNOWN``, in the order of ``Manifest.species``. ``split`` is
    in lower case; ``group`` is a site-night, which must not be cut in two. ``channel`` of the recording counts from 1.
    ``content`` is the content hash of a row of a review, empty where it is not known; None in all other CSVs.
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
    channel: int = 1
    content: str | None = None

    @property
    def place(self) -> str:
        """The CSV and line of the row, as errors name it."""
        return place_of(self.csv, self.line)

    @property
    def group_or_recording(self) -> str:
        """What must not be cut in two: the group, or the recording where no group is given."""
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

    @property
    def possible_species(self) -> tuple[str, ...]:
        """The species that some clip holds, or may hold: those whose labels are not 0 throughout."""
        return tuple(name for i, name in enumerate(self.species) if any(clip.labels[i] != 0 for clip in self.clips))

    def recordings(self) -> dict[str, Clip]:
        """Each recording's first clip, by filename, in order of appearance."""
        first: dict[str, Clip] = {}
        for clip in self.clips:
            first.setdefault(clip.filename, clip)
        return first


@no_garbage()
def read_manifest(
    csvs: Sequence[Path],
    data_dir: Path | None = None,
    *,
    num_classes: int | None = None,
    split_of: Mapping[Path, str] | None = None,
    allow_outside: bool = False,
    allow_leaks: bool = False,
) -> Manifest:
    """Read and check CSVs as one manifest.

    Args:
        csvs: one or more CSVs with the same species, their columns in any order; reviews may have others.
        data_dir: where filenames start from; None is the folder that holds all the CSVs but reviews.
        num_classes: how many species the caller expects.
        split_of: the split of a CSV without a ``split`` column. Wins over the names train.csv, val.csv and test.csv.
        allow_outside: let filenames lead out of the data dir. A CSV from elsewhere could otherwise have any file of
            this machine read. Links within the data dir are its owner's, and followed.
        allow_leaks: let a group or recording lie in two splits: for an audit, which lists all of them.

    Raises:
        ManifestError: anything that cannot be trusted, a group or recording in two splits included.
    """
    csvs = tuple(csvs)
    tables = [open_table(csv, split_of or {}) for csv in csvs]
    listing = [table for table in tables if not table.is_review] or tables
    data_dir = _find_data_dir([table.csv for table in listing], data_dir)
    species = listing[0].species
    for table in tables:
        _refuse_other_species(table, listing[0])
        species += tuple(name for name in table.species if name not in species)
    if num_classes is not None and num_classes != len(species):
        finding = f"{count(len(species), 'species column')}, but num_classes is {num_classes}"
        raise ManifestError(csvs[0], finding, "Correct num_classes or the columns")
    clips = tuple(clip for table in tables for clip in _read_clips(table, species, allow_outside))
    listed = [clip for clip in clips if clip.content is None]
    _check_recordings(listed)
    if not allow_leaks:
        refuse_leaks(listed)
    given = {csv: split for csv, split in (split_of or {}).items() if csv in csvs}
    return Manifest(csvs, data_dir, species, clips, given)


def refuse_leaks(clips: Sequence[Clip]) -> None:
    """Refuse a recording or a group in two splits. Raises ManifestError, naming both rows."""
    refuse_two_splits(clips, "recording", lambda clip: clip.filename, lambda clip: clip.filename)
    refuse_two_splits(clips, "group", lambda clip: clip.group and fold(clip.group), lambda clip: str(clip.group))


def _find_data_dir(csvs: Sequence[Path], data_dir: Path | None) -> Path:
    if not csvs:
        raise ManifestError("manifest", "no CSV given", "Pass at least one CSV")
    if data_dir is not None:
        if not is_folder(data_dir):
            raise ManifestError(data_dir, "not a folder", "Pass --data-dir with the folder of the recordings")
        return data_dir
    home = os.path.realpath(csvs[0].parent)
    for csv in csvs[1:]:
        if os.path.realpath(csv.parent) != home:
            raise ManifestError(csv, f"not in the folder of {csvs[0]}", "Pass --data-dir")
    return csvs[0].parent


def _refuse_other_species(table: Table, first: Table) -> None:
    """A review may have other species, but not the same in other letters."""
    here, there = (dict.fromkeys(t.species) for t in (table, first))
    sides = {table.csv: [s for s in here if s not in there], first.csv: [s for s in there if s not in here]}
    alike = {fold(name): name for name in sides[first.csv]}
    for name in sides[table.csv]:
        if fold(name) in alike:
            finding = f"{quote(name)} is {quote(alike[fold(name)])} in {first.csv}, in other case or Unicode form"
            raise ManifestError(table.csv, finding, "Write it alike in both")
    if table.is_review:
        return
    findings = [f"only {csv} has {quote(', '.join(names))}" for csv, names in sides.items() if names]
    if findings:
        raise ManifestError(table.csv, "; ".join(findings), "Give both CSVs the same species")


def _read_clips(table: Table, species: Sequence[str], allow_outside: bool) -> Iterator[Clip]:
    read = _clip_reader(table, species, allow_outside)
    empty = True
    for line, cells in table.rows:
        try:
            clip = read(line, cells)
        except ValueError as error:
            raise ManifestError(place_of(table.csv, line), *error.args) from None
        yield clip
        empty = False
    if empty:
        raise ManifestError(table.csv, "a header without rows", "Add a row for each clip")


def _clip_reader(table: Table, species: Sequence[str], allow_outside: bool) -> Callable[[int, list[str]], Clip]:
    """A function of a row's line and cells, which raises ValueError with a finding and a remedy, as all readers of
    cells do; the caller knows the place. What stays the same for all rows is looked up here, once."""
    csv, width, comma, absent = table.csv, len(table.columns), table.decimal_comma, -1
    names = ("split", "group", "time_expansion", "start_s", "duration_s", "channel", "content")
    split, group, time_expansion, start_s, duration_s, channel, content = (
        table.columns.get(name, absent) for name in names
    )
    labels_of = cells_at([table.columns.get(name, absent) for name in species])

    def read(line: int, cells: list[str]) -> Clip:
        if len(cells) != width:
            finding = f"{count(len(cells), 'cell')}, expected {width} as in the header"
            raise ValueError(finding, "Correct the row; a cell that holds the delimiter needs quotes")
        cells.append("")  # where a column that is absent finds nothing
        return Clip(
            read_filename(as_written(cells[0]), allow_outside),
            csv,
            line,
            read_labels(labels_of(cells), species, comma),
            table.split if split == absent else read_split(cells[split]) or None,
            read_name(cells[group]) or None,
            None if time_expansion == absent else read_number("time_expansion", cells[time_expansion], comma),
            None if start_s == absent else read_number("start_s", cells[start_s], comma),
            None if duration_s == absent else read_number("duration_s", cells[duration_s], comma),
            1 if channel == absent else read_channel(cells[channel], comma),
            None if content == absent else cells[content].strip(),
        )

    return read


def _check_recordings(clips: Sequence[Clip]) -> None:
    """Refuse a clip that is given twice and a recording with two time expansions, one of them missing included, or of
    two channels."""

    def span(clip: Clip) -> tuple[str, float, float | None]:
        return clip.filename, clip.start_s or 0.0, clip.duration_s

    if len({clip.filename for clip in clips}) == len(clips):
        return
    first: dict[str, Clip] = {}
    spans: dict[tuple[str, float, float | None], Clip] = {}  # only of recordings with several clips: lean
    for clip in clips:
        earlier = first.setdefault(clip.filename, clip)
        if earlier is clip:
            continue
        spans.setdefault(span(earlier), earlier)
        twin = spans.setdefault(span(clip), clip)
        if twin is not clip:
            finding = f"{quote(clip.filename)} with the same span stands at {twin.place} already"
            raise ManifestError(clip.place, finding, "Delete one of the rows")
        if earlier.time_expansion != clip.time_expansion:
            here, there = (c.time_expansion or "none" for c in (clip, earlier))
            finding = f"time_expansion {here} for {quote(clip.filename)}, but {there} at {earlier.place}"
            raise ManifestError(clip.place, finding, "Give all clips of a recording the same")
        if earlier.channel != clip.channel:
            finding = f"channel {clip.channel} of {quote(clip.filename)}, but {earlier.channel} at {earlier.place}"
            raise ManifestError(clip.place, finding, "Take one channel of a recording, or copy it under another name")


def refuse_two_splits(
    clips: Sequence[Clip], kind: str, key_of: Callable[[Clip], str | None], name_of: Callable[[Clip], str]
) -> None:
    """Refuse clips with one key in two splits. A clip without a split or a key leaks nothing."""
    first: dict[str, Clip] = {}
    for clip in clips:
        key = None if clip.split is None else key_of(clip)
        if key is None:
            continue
        earlier = first.setdefault(key, clip)
        if earlier.split != clip.split:
            here, there = (f"{quote(name_of(c))} is in {quote(str(c.split))}" for c in (clip, earlier))
            finding = f"one {kind} in two splits: {here}, but {there} at {earlier.place}"
            raise ManifestError(clip.place, finding, f"Keep a {kind} in one split")
