"""Splits for the clips that have none, drawn by whole groups so that each split holds its share of every species."""

from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from msgspec import structs

from batcache.errors import ManifestError, count
from batcache.manifest.balance import Units, assign
from batcache.manifest.manifest import Clip, Manifest
from batcache.manifest.table import open_table
from batcache.storage.disk import write_file
from batcache.storage.names import fold
from batcache.storage.place import Place
from batcache.storage.spreadsheet import as_written, to_csv

_ABSENCE_WEIGHT = 0.5  # of clips without a species, beside 1 of clips with it: they are rarely scarce


def draw_splits(manifest: Manifest, shares: Mapping[str, float], seed: int) -> Manifest:
    """Return the manifest with a split for every clip that had none.

    Groups and recordings stay whole; without a group a recording is a group of its own. Copies of one sound under two
    names are not known before a build: give them one group. Clips that have a split keep it, and take those of their
    group along. ``shares`` are of all clips, the first split's being the one in which no species may be lacking.

    Raises:
        ManifestError: every clip has a split already, or there are fewer groups than splits.
    """
    if all(clip.split for clip in manifest.clips):
        place = ", ".join(map(str, manifest.csvs))
        raise ManifestError(place, "every row has a split already", "Empty the split column to draw anew")
    names = draw_names(manifest.clips, shares, seed)
    clips = tuple(structs.replace(clip, split=name) for clip, name in zip(manifest.clips, names, strict=True))
    return replace(manifest, clips=clips)


def draw_names(
    clips: Sequence[Clip], shares: Mapping[str, float], seed: int, content_of: Mapping[str, str] | None = None
) -> list[str]:
    """The split of each clip, in their order, which does not matter to the draw. See ``draw_splits``.

    Args:
        clips: those with a split keep it.
        shares: of all clips, by split; they add up to 1.
        seed: decides among assignments that are equally good.
        content_of: the content hash of each filename. Copies of one content stay together.

    Raises:
        ManifestError: there are fewer groups than splits, or a group that must stay whole has two splits.
    """
    unit_of = find_units(clips, content_of or {})
    names = sorted(set(unit_of))
    number = {name: i for i, name in enumerate(names)}
    given: dict[str, str] = {}
    for clip, unit in zip(clips, unit_of, strict=True):
        if clip.split and given.setdefault(unit, clip.split) != clip.split:
            finding = f"{clip.filename} is in {clip.split}, others of its groups and recordings in {given[unit]}"
            raise ManifestError(clip.place, finding, "Keep them in one split")
    if len(names) < len(shares):
        only = names[0].partition(" ")[2]
        groups = f"only one group ({only})" if len(names) == 1 else f"only {count(len(names), 'group')}"
        finding = f"{groups} for {' and '.join(shares)}"
        raise ManifestError(clips[0].csv, finding, "Add clips of other groups")
    splits = list(shares)
    rows = [i for i, unit in enumerate(unit_of) if given.get(unit, splits[0]) in shares]  # not those set aside
    labels = np.array([clips[i].labels for i in rows], np.int8).reshape(len(rows), -1)
    bears = np.concatenate([labels == 1, labels == 0], axis=1).astype(np.int64)
    place = np.array([number[unit_of[i]] for i in rows])
    sizes, counts = np.bincount(place, minlength=len(names)), np.zeros((len(names), bears.shape[1]), np.int64)
    np.add.at(counts, place, bears)
    kept = np.flatnonzero(sizes)
    weights = np.repeat([1.0, _ABSENCE_WEIGHT], labels.shape[1])
    fixed = np.array([splits.index(given[names[i]]) if names[i] in given else -1 for i in kept])
    if len(kept):
        drawn = assign(Units(sizes[kept], counts[kept], weights, fixed), np.array([shares[s] for s in splits]), seed)
        given |= {names[i]: splits[split] for i, split in zip(kept, drawn, strict=True)}
    return [given[unit] for unit in unit_of]


def find_units(clips: Sequence[Clip], content_of: Mapping[str, str]) -> list[str]:
    """The name of what must stay together with each clip: all that shares a group, recording or content with it.

    Groups whose names look alike are one, by the name that comes first.
    """
    parent: dict[str, str] = {}
    group_of: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for clip in clips:
        names = [f"file {clip.filename}"]
        names += [f"content {content_of[clip.filename]}"] if clip.filename in content_of else []
        names += [f"group {group_of.setdefault(fold(clip.group), clip.group)}"] if clip.group else []
        for name in names[1:]:
            one, other = find(names[0]), find(name)
            parent[min(one, other)] = max(one, other)  # so that a group gives its name, not a file or a content
    return [find(f"file {clip.filename}") for clip in clips]


def write_with_splits(manifest: Manifest, out: Place) -> None:
    """Write a manifest's one CSV again, every cell as it was, with the clips' splits in the column ``split``.

    The delimiter stays; names of columns lose line breaks and double spaces. The column is the last where there was
    none.
    """
    (path,) = manifest.csvs
    table = open_table(path, manifest.split_of)
    split_of = {clip.line: clip.split or "" for clip in manifest.clips}
    names = list(table.columns)
    at = table.columns.get("split", len(names))
    rows = [[*names[:at], "split", *names[at + 1 :]]]
    for line, cells in table.rows:
        rows.append([*map(as_written, cells[:at]), split_of[line], *map(as_written, cells[at + 1 :])])
    with path.open("rb") as file:
        mark = BOM_UTF8 if file.read(len(BOM_UTF8)) == BOM_UTF8 else b""
    write_file(out, mark + to_csv(rows, table.delimiter))
