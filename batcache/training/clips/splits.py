"""Which bags train, validate and test: taken from the CSV, drawn by whole groups where it leaves validation open."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from msgspec import structs

from batcache.errors import ManifestError, RunError, brief, count, did_you_mean, quote
from batcache.manifest.draw_splits import draw_names, find_units
from batcache.manifest.manifest import Manifest
from batcache.manifest.split_names import KNOWN_SPLITS, find_misspelt
from batcache.storage.listing import is_file
from batcache.storage.spreadsheet import as_written, to_csv
from batcache.training.clips.bags import Bag
from batcache.training.runs import read_as_begun

SPLITS = "split.csv"
_COLUMNS = ("filename", "start_s", "duration_s", "content", "group", "split")
ClipKey = tuple[str, str, str]
"""Filename, start and duration of a clip, as ``split.csv`` writes them."""


def share_groups(bags: Sequence[Bag], share: float, seed: int) -> tuple[tuple[Bag, ...], tuple[Bag, ...]]:
    """Part training bags in two by whole groups, drawn by seed: ``share`` of them, as near as may be, to validate on.

    Every species keeps clips to train on, and has some to validate on where its groups allow it. Copies of one content
    under several names stay together. The order of the bags does not matter to the draw.

    Raises:
        ManifestError: there is only one group.
    """
    clips = [structs.replace(bag.clip, split=None) for bag in bags]
    content_of = {bag.clip.filename: bag.row.recording for bag in bags}
    units = set(find_units(clips, content_of))
    if len(units) == 1:
        only = units.pop().partition(" ")[2]
        finding = f"no clip of split val, and only one group ({only}) to take some from"
        raise ManifestError(bags[0].clip.csv, finding, "Add rows of split val")
    names = draw_names(clips, {"train": 1 - share, "val": share}, seed, content_of)
    pairs = list(zip(bags, names, strict=True))
    kept = tuple(bag for bag, name in pairs if name == "train")
    return kept, tuple(bag.with_split("val") for bag, name in pairs if name == "val")


def require_split(bags: Sequence[Bag], manifest: Manifest, split: str) -> None:
    """Refuse a split without bags.

    Raises:
        ManifestError: names the splits there are and the first row whose split is nearly this one, else, where one
            lies beside, the CSV that was not given.
    """
    if bags:
        return
    there = ", ".join(f"{name} ({clips})" for name, clips in sorted(manifest.splits.items())) or "none"
    near = _csv_beside(manifest.csvs, split)
    if manifest.splits.get(split):
        finding = f"every recording of split {split} was rejected by build ({count(manifest.splits[split], 'clip')})"
        raise ManifestError(", ".join(map(str, manifest.csvs)), finding, "See the cache's list of rejects")
    if split in KNOWN_SPLITS and (misspelt := find_misspelt(manifest.clips, split)):
        name = str(misspelt.split)
        finding = f"split {quote(name)}, but no clip of split {split} (there are: {there})"
        rows = "this row" if manifest.splits[name] == 1 else f"these {manifest.splits[name]:,} rows"
        raise ManifestError(misspelt.place, finding, f"Did you mean {split}? Correct the split of {rows}")
    remedy = "Add a split column, or name the CSV train.csv, val.csv or test.csv"
    if manifest.splits:
        remedy = f"Write {split} in the split column, or name one of these"
        if split not in KNOWN_SPLITS:
            remedy = did_you_mean(split, manifest.splits, remedy)
    if near:
        remedy = f"{near} lies beside and was not given: pass --csv {near} too, to build and here"
    raise ManifestError(", ".join(map(str, manifest.csvs)), f"no clip of split {split} (there are: {there})", remedy)


def _csv_beside(csvs: Sequence[Path], split: str) -> Path | None:
    given = {csv.resolve() for csv in csvs}
    beside = (csv.parent / f"{split}.csv" for csv in csvs)
    return next((csv for csv in beside if is_file(csv) and csv.resolve() not in given), None)


@dataclass(frozen=True)
class SplitRow:
    """What a run did with a clip: its split, and the content and group that must not be judged as unseen again.

    ``group`` is empty where the manifest gave none.
    """

    content: str
    group: str
    split: str


def clip_key(bag: Bag) -> ClipKey:
    """The name of a bag's clip, by which ``split.csv`` finds it again: two spans of a recording differ in it."""
    clip = bag.clip
    start, duration = clip.start_s, clip.duration_s
    return clip.filename, "" if start is None else str(start), "" if duration is None else str(duration)


def describe_splits(bags: Sequence[Bag]) -> bytes:
    """The split of every bag as used, as ``split.csv`` holds it."""
    rows = ((*clip_key(bag), bag.row.content, bag.clip.group or "", bag.clip.split or "") for bag in bags)
    return to_csv(chain([_COLUMNS], rows))


def read_splits(path: Path) -> Mapping[ClipKey, SplitRow]:
    """Read what ``describe_splits`` gave, from the ``split.csv`` in a run's folder.

    Raises:
        RunError: missing, not such a file, or not as it was written.
    """
    try:
        header, *rows = csv.reader(io.StringIO(read_as_begun(path.parent, path.name), newline=""))
        if tuple(header) != _COLUMNS:
            raise ValueError(f"columns {', '.join(header)}")
        if short := [row for row in rows if len(row) != len(_COLUMNS)]:
            raise ValueError(f"a row of {count(len(short[0]), 'cell')}, expected {len(_COLUMNS)}")
        return {
            (as_written(name), start, duration): SplitRow(content, as_written(group), as_written(split))
            for name, start, duration, content, group, split in rows
        }
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(path, f"cannot be read ({brief(error)})", "Restore it from a copy, or train again") from None
