"""Is a store what it promises? Every byte read, every damage listed.

Held against each other: commit records and their digests; each record's rows and its shard; every chunk's checksum in
the record and in the shard; the shard's own index; Zarr's metadata and the layout. With ``deep`` also the stored
features of some recordings and those computed now from their files. What promises nothing is not looked at: the note
of the last build, the versions that made the store, temporary files of a build that was stopped.
"""

import json
import os
import random
import struct
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from batcache.ahead import map_ahead
from batcache.config import FeatureConfig
from batcache.errors import StoreError
from batcache.store.index import Index, read_records, that_count
from batcache.store.layout import (
    CachedRecording,
    Commit,
    Layout,
    array_length,
    array_metadata,
    commit_path,
    read_array_metadata,
    read_attributes,
    read_chunk,
    shard_index,
    shard_path,
)
from batcache.store.sources import read_sources

RELATIVE, ABSOLUTE = 2.0**-10, 6e-3
"""How far features computed on another kind of machine may be off: one step of float16, and in quiet bins of loud
recordings what float32 rounding before the mel filters becomes. The front end is held to the same beside a reference
in float64."""

REPAIR = "Run `batcache verify --repair`"
_ATTRIBUTES = {"format", "format_version", "features", "fingerprint", "layout", "versions"}


@dataclass(frozen=True)
class Progress:
    """How far a stage has come: shards read, or recordings compared with their files."""

    stage: Literal["read", "compare", "repair"]
    done: int
    total: int


@dataclass(frozen=True)
class Damage:
    """Something that is not as promised. ``place`` is a file of the store, ``instances`` count from the recording's
    first."""

    place: str
    finding: str
    remedy: str = REPAIR
    recordings: tuple[str, ...] = ()
    instances: tuple[int, ...] = ()


@dataclass(frozen=True)
class VerifyReport:
    """What was checked, what is damaged, and what ``repair`` has to know.

    ``unsound`` has for each shard to be written again the slots whose bytes are not what they should be, perhaps none;
    ``doubtful`` are shards without a record that can be believed; ``array`` says that Zarr's metadata are not right.
    ``exact``, ``rounded`` and ``not_comparable`` (with reasons) are recordings that were compared with their files.
    """

    cache: Path
    damages: tuple[Damage, ...]
    shards: int
    instances: int
    bytes: int
    seconds: float
    exact: tuple[str, ...] = ()
    rounded: tuple[str, ...] = ()
    not_comparable: Mapping[str, str] = field(default_factory=dict)
    unsound: Mapping[int, frozenset[int]] = field(default_factory=dict)
    doubtful: tuple[int, ...] = ()
    array: bool = False


@dataclass(frozen=True)
class ShardState:
    """What reading a shard has shown: a finding about the file, if any, and one about each slot that is not right."""

    shard: int
    finding: str
    slots: Mapping[int, str]
    bytes: int


def verify(
    cache: Path,
    *,
    sample: int = 0,
    seed: int = 0,
    data_dir: Path | None = None,
    workers: int | None = None,
    known_sound: Collection[int] = (),
) -> Iterator[Progress | VerifyReport]:
    """Read everything and report every damage. Nothing is written.

    Args:
        cache: the store.
        sample: so many recordings, drawn at random, are computed anew and compared.
        seed: decides which.
        data_dir: where their files are; None: where the last build found them.
        workers: threads that read (by default one a core).
        known_sound: shards whose chunks need not be read.

    Raises:
        StoreError: no store, or its ``zarr.json`` is so damaged that nothing else can be read; a sample without a
            data dir.
    """
    began = time.monotonic()
    workers = workers or os.cpu_count() or 1
    features, layout, attributes = read_attributes(cache)
    records, refused = read_records(cache, features.fingerprint)
    _check_layout(cache, features, layout, records.values())
    index = Index(that_count(records, layout))
    wrong, doubtful = _check_records(cache, records, refused, index, layout)
    damages = [*_check_group(cache, set(attributes)), *wrong]
    sound = [commit for shard, commit in sorted(index.commits.items()) if shard not in doubtful]
    array = _check_array(cache, sound, layout, exact=not doubtful)
    damages += array

    unsound, read = {}, 0
    owners = owners_of(index, layout)
    pool = ThreadPoolExecutor(workers)
    try:
        reading = [commit for commit in sound if commit.shard not in known_sound]
        states = map_ahead(pool, lambda commit: examine(cache, commit, layout), reading, 2 * workers)
        for done, (state, commit) in enumerate(zip(states, reading, strict=True), 1):
            read += state.bytes
            if state.finding or state.slots:
                unsound[state.shard] = frozenset(state.slots)
                damages += _describe(cache, state, commit, owners[state.shard], layout)
            yield Progress("read", done, len(reading))
    finally:
        pool.shutdown(cancel_futures=True)

    compared: dict[str, tuple[str, str]] = {}
    if sample:
        groups = _draw(owners, unsound, sample, seed, layout)
        folder = data_dir or read_sources(cache).data_dir
        for done, (rows, (outcome, detail)) in enumerate(_compare(cache, groups, folder, features, workers, layout), 1):
            compared[rows[0].path] = outcome, detail
            if outcome == "differs":
                damages.append(_describe_difference(cache, rows, detail, layout))
                for instance in range(rows[0].first_instance, rows[0].first_instance + rows[0].instances):
                    shard, slot = divmod(instance, layout.instances_per_shard)
                    unsound[shard] = unsound.get(shard, frozenset()) | {slot}
            yield Progress("compare", done, len(groups))
    yield VerifyReport(
        cache=cache,
        damages=tuple(damages),
        shards=len(reading),
        instances=sum(len(commit.crc32c) for commit in reading),
        bytes=read,
        seconds=time.monotonic() - began,
        exact=tuple(path for path, (outcome, _) in compared.items() if outcome == "exact"),
        rounded=tuple(path for path, (outcome, _) in compared.items() if outcome == "rounded"),
        not_comparable={path: detail for path, (outcome, detail) in compared.items() if outcome == "not comparable"},
        unsound=unsound,
        doubtful=tuple(sorted(doubtful)),
        array=bool(array),
    )


def examine(cache: Path, commit: Commit, layout: Layout) -> ShardState:
    """Read a shard, a chunk at a time, and hold it against its record."""
    place, used = shard_path(cache, commit.shard), len(commit.crc32c)
    chunk = np.empty(layout.chunk_bytes + 4, np.uint8)
    slots: dict[int, str] = {}
    try:
        with place.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            for slot, expected in enumerate(commit.crc32c):
                if finding := _judge_chunk(chunk, file.readinto(chunk.data), expected):
                    slots[slot] = finding
            end = file.read()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        finding = "missing shard" if missing else f"cannot be read ({error.strerror})"
        return ShardState(commit.shard, finding, dict.fromkeys(range(used), "is missing"), 0)
    finding = ""
    if size != commit.shard_bytes:
        finding = f"shard of {size:,} bytes, committed {commit.shard_bytes:,}"
    elif end != shard_index(used, layout):
        finding = "its index of chunks is damaged"
    return ShardState(commit.shard, finding, slots, size)


def _judge_chunk(chunk: NDArray[np.uint8], got: int, expected: int) -> str:
    if got < len(chunk):
        return "is missing from its shard"
    crc = google_crc32c.value(chunk[:-4])
    fits_itself = chunk[-4:].tobytes() == struct.pack("<I", crc)
    if crc == expected:
        return "" if fits_itself else "has a damaged checksum; its bytes are right"
    return "holds other bytes than were committed" if fits_itself else "is damaged (its checksum does not match)"


def _check_layout(cache: Path, features: FeatureConfig, layout: Layout, records: Iterable[Commit]) -> None:
    """Refuse a layout by which every record and shard would look damaged."""
    fits = [commit.shard_bytes == _shard_bytes(commit, layout) for commit in records]
    if layout.n_mels != features.n_mels or (fits and not any(fits)):
        raise StoreError(
            cache / "zarr.json", "its layout is damaged: it fits no commit record", "Restore it from a copy"
        )


def _shard_bytes(commit: Commit, layout: Layout) -> int:
    return len(commit.crc32c) * (layout.chunk_bytes + 4) + 16 * layout.instances_per_shard + 4


def _check_group(cache: Path, attributes: set[str]) -> list[Damage]:
    document = json.loads((cache / "zarr.json").read_bytes())
    lacking = sorted(_ATTRIBUTES - attributes)
    remedy = "Restore it from a copy"
    damages = [Damage("zarr.json", f"lacks {', '.join(lacking)}", remedy)] if lacking else []
    if (document.get("zarr_format"), document.get("node_type")) != (3, "group"):
        damages.append(Damage("zarr.json", "not the metadata of a Zarr v3 group", remedy))
    return damages


def _check_array(cache: Path, commits: Sequence[Commit], layout: Layout, *, exact: bool) -> list[Damage]:
    """Zarr's metadata of the array. Where records are damaged, nobody knows how long it should be: long enough."""
    place, length = "instances/zarr.json", array_length([(c.shard, len(c.crc32c)) for c in commits], layout)
    try:
        found = read_array_metadata(cache)
    except StoreError as error:
        return [Damage(place, error.finding)]
    there = found["shape"][0]
    if found != array_metadata(layout, there):
        return [Damage(place, "does not describe the array that this layout has")]
    if there < length or (exact and there != length):
        return [Damage(place, f"says {there:,} instances, expected {length:,}")]
    return []


def _check_records(
    cache: Path, records: Mapping[int, Commit], refused: Mapping[int, StoreError], index: Index, layout: Layout
) -> tuple[list[Damage], set[int]]:
    """What is wrong with records, and the shards whose record is missing or not to be believed."""
    damages = [Damage(_name(cache, commit_path(cache, k)), error.finding) for k, error in sorted(refused.items())]
    doubtful = set(refused)
    for shard in sorted(_shards_on_disk(cache) - {*records, *refused}):
        finding = "no commit record for a shard that is there: a build was stopped, or the record was removed"
        damages.append(Damage(_name(cache, commit_path(cache, shard)), finding, f"Run `batcache build`, or {_LOWER}"))
        doubtful.add(shard)
    for shard, commit in sorted(records.items()):
        finding = (
            "; ".join(_judge_rows(commit, records, layout))
            if shard in index.commits
            else "belongs to a long recording that lacks the record of another shard"
        )
        if finding:
            names = tuple(row.path for row in commit.recordings)
            damages.append(Damage(_name(cache, commit_path(cache, shard)), finding, recordings=names))
            doubtful.add(shard)
    return damages, doubtful


_LOWER = REPAIR[0].lower() + REPAIR[1:]


def _judge_rows(commit: Commit, records: Mapping[int, Commit], layout: Layout) -> Iterator[str]:
    """What in a record contradicts itself or the format."""
    capacity, used = layout.instances_per_shard, len(commit.crc32c)
    if not 0 < used <= capacity or commit.shard_bytes != _shard_bytes(commit, layout):
        yield f"{used} chunks do not make a shard of {commit.shard_bytes:,} bytes"
    if commit.continues and (commit.recordings or used != capacity):
        yield "its recording goes on in the next shard, and yet it is not full or has rows"
    spans: dict[int, CachedRecording] = {}
    for row in commit.recordings:
        other = spans.setdefault(row.first_instance, row)
        if (other.key, other.instances, other.frames) != (row.key, row.instances, row.frames):
            yield f"{other.path} and {row.path} stand at the same instances with different contents"
        if row.instances != layout.instances(row.frames):
            yield f"{row.path} has {row.frames} frames in {row.instances} instances"
        elif not _lies_within(row, commit, records, capacity):
            yield f"{row.path} lies outside its shard"
    for one, other in pairwise(sorted(spans.values(), key=lambda row: row.first_instance)):
        if one.first_instance + one.instances > other.first_instance:
            yield f"{one.path} and {other.path} overlap"


def _lies_within(row: CachedRecording, commit: Commit, records: Mapping[int, Commit], capacity: int) -> bool:
    begin, end = commit.shard * capacity, row.first_instance + row.instances
    if not begin < end <= begin + len(commit.crc32c):
        return False
    if row.first_instance >= begin:
        return True
    earlier = range(row.first_instance // capacity, commit.shard)
    return row.first_instance % capacity == 0 and all(k in records and records[k].continues for k in earlier)


def _shards_on_disk(cache: Path) -> set[int]:
    folders = (cache / "instances" / "c").glob("*")
    return {int(place.name) for place in folders if place.name.isdecimal() and (place / "0" / "0").is_file()}


Owners = dict[int, dict[int, list[CachedRecording]]]


def owners_of(index: Index, layout: Layout) -> Owners:
    """For each shard the rows that lie in it, wholly or in part, by first instance."""
    owners: Owners = {shard: {} for shard in index.commits}
    for row in index.recordings:
        first, last = row.first_instance, row.first_instance + row.instances - 1
        for shard in range(first // layout.instances_per_shard, last // layout.instances_per_shard + 1):
            if shard in owners:
                owners[shard].setdefault(first, []).append(row)
    return owners


def _describe(
    cache: Path, state: ShardState, commit: Commit, owners: Mapping[int, list[CachedRecording]], layout: Layout
) -> list[Damage]:
    """One damage for the file, then one for each recording and kind of finding in it."""
    place, begin = _name(cache, shard_path(cache, state.shard)), state.shard * layout.instances_per_shard
    hit: dict[tuple[tuple[str, ...], str], list[int]] = {}
    claimed = set()
    for first, rows in sorted(owners.items()):
        names = tuple(row.path for row in rows)
        for instance in range(max(first, begin), min(first + rows[0].instances, begin + len(commit.crc32c))):
            claimed.add(instance - begin)
            if finding := state.slots.get(instance - begin):
                hit.setdefault((names, finding), []).append(instance - first)
    for slot in sorted(state.slots.keys() - claimed):
        hit.setdefault(((), f"{state.slots[slot]}; no recording uses it"), []).append(slot)
    if len(state.slots) == len(commit.crc32c) and state.finding:  # a shard that is gone is one damage, not many
        names = tuple(dict.fromkeys(name for named, _ in hit for name in named))
        return [Damage(place, state.finding, recordings=names)]
    damages = [Damage(place, state.finding)] if state.finding else []
    return damages + [
        Damage(place, finding, recordings=names, instances=tuple(instances))
        for (names, finding), instances in hit.items()
    ]


def _draw(
    owners: Owners, unsound: Mapping[int, Collection[int]], sample: int, seed: int, layout: Layout
) -> list[list[CachedRecording]]:
    """Some contents, each with all its names, none of which is damaged or failed when it was built."""
    capacity = layout.instances_per_shard
    groups = {first: rows for owned in owners.values() for first, rows in owned.items() if not rows[0].failure}

    def is_sound(row: CachedRecording) -> bool:
        instances = range(row.first_instance, row.first_instance + row.instances)
        return all(
            i // capacity not in unsound or i % capacity not in unsound[i // capacity] for i in instances
        ) and all(i // capacity in owners for i in instances)

    candidates = [first for first, rows in sorted(groups.items()) if is_sound(rows[0])]
    chosen = random.Random(seed).sample(candidates, min(sample, len(candidates)))
    return [groups[first] for first in sorted(chosen)]


def _compare(
    cache: Path,
    groups: Sequence[list[CachedRecording]],
    data_dir: Path,
    features: FeatureConfig,
    workers: int,
    layout: Layout,
) -> Iterator[tuple[list[CachedRecording], tuple[str, str]]]:
    import torch  # only where there is something to compute

    from batcache.features.frontend import FrontEnd
    from batcache.store.fresh import compute_again, find_file

    front_end = FrontEnd(features)

    def compare(rows: list[CachedRecording]) -> tuple[str, str]:
        placed = find_file(rows, data_dir)
        if isinstance(placed, str):
            return "not comparable", placed
        exact, worst, instance = True, 0.0, 0
        for fresh in compute_again(placed, data_dir, front_end, layout):
            stored = read_chunk(cache, rows[0].first_instance + instance, layout)
            if len(stored) < layout.chunk_bytes or instance >= rows[0].instances:
                return "differs", "are of another length than those of its file"
            frames = stored[:-4].view("<f2").reshape(fresh.shape).astype(float)
            off = np.abs(frames - fresh.astype(float))
            exact &= bool((off == 0).all())
            within = off <= ABSOLUTE + RELATIVE * np.abs(fresh.astype(float))  # NaN is not
            if not within.all():
                worst = max(worst, float(np.nan_to_num(off, nan=np.inf).max()))
            instance += 1
        if instance != rows[0].instances:
            return "differs", "are of another length than those of its file"
        if worst:
            return "differs", f"are not those of its file: off by up to {worst:.3g}"
        return ("exact", "") if exact else ("rounded", "")

    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from zip(groups, map_ahead(pool, compare, groups, 2 * workers), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _describe_difference(cache: Path, rows: Sequence[CachedRecording], detail: str, layout: Layout) -> Damage:
    place = _name(cache, shard_path(cache, rows[0].first_instance // layout.instances_per_shard))
    return Damage(place, f"its features {detail}", recordings=tuple(row.path for row in rows))


def _name(cache: Path, place: Path) -> str:
    return place.relative_to(cache).as_posix()
