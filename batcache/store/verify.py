"""Is a store what it promises? Every byte read, every damage listed.

Held against each other: commit records and their digests; each record's rows and its shard; every chunk's checksum in
the record and in the shard; the shard's own index; Zarr's metadata and the layout. With ``deep`` also the stored
features of some recordings and those computed now from their files. What promises nothing is not looked at: the note
of the last build, the versions that made the store, temporary files of a build that was stopped.
"""

import io
import os
import random
import struct
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from batcache.ahead import map_ahead
from batcache.errors import StoreError
from batcache.s3 import Place, S3Path
from batcache.store.chunks import shard_index, shard_path
from batcache.store.commits import CachedRecording, Commit
from batcache.store.group import read_attributes
from batcache.store.index import Index, read_records, that_count
from batcache.store.layout import Layout
from batcache.store.records import Damage, check_array, check_group, check_layout, check_records, name_in
from batcache.store.sources import read_sources


@dataclass(frozen=True)
class Progress:
    """How far a stage has come: shards read, or recordings compared with their files."""

    stage: Literal["read", "compare", "repair"]
    done: int
    total: int


@dataclass(frozen=True)
class VerifyReport:
    """What was checked, what is damaged, and what ``repair`` has to know.

    ``unsound`` has for each shard to be written again the slots whose bytes are not what they should be, perhaps none;
    ``doubtful`` are shards without a record that can be believed; ``array`` says that Zarr's metadata are not right.
    ``exact``, ``rounded`` and ``not_comparable`` (with reasons) are recordings that were compared with their files.
    """

    cache: Place
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
    cache: Place,
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
    check_layout(cache, features, layout, records.values())
    index = Index(that_count(records, layout))
    wrong, doubtful = check_records(cache, records, refused, index, layout)
    damages = [*check_group(cache, set(attributes)), *wrong]
    sound = [commit for shard, commit in sorted(index.commits.items()) if shard not in doubtful]
    array = check_array(cache, sound, layout, exact=not doubtful)
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
        if folder is None:
            raise StoreError(cache, "where its recordings lie is not known", "Pass --data-dir")
        from batcache.store.fresh import compare  # only where there is something to compute

        for done, (rows, (outcome, detail)) in enumerate(compare(cache, groups, folder, features, workers, layout), 1):
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


def examine(cache: Place, commit: Commit, layout: Layout) -> ShardState:
    """Read a shard, a chunk at a time, and hold it against its record."""
    place, used = shard_path(cache, commit.shard), len(commit.crc32c)
    chunk = np.empty(layout.chunk_bytes + 4, np.uint8)
    slots: dict[int, str] = {}
    try:
        with io.BytesIO(place.read_bytes()) if isinstance(place, S3Path) else place.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
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
    cache: Place, state: ShardState, commit: Commit, owners: Mapping[int, list[CachedRecording]], layout: Layout
) -> list[Damage]:
    """One damage for the file, then one for each recording and kind of finding in it."""
    place, begin = name_in(cache, shard_path(cache, state.shard)), state.shard * layout.instances_per_shard
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


def _describe_difference(cache: Place, rows: Sequence[CachedRecording], detail: str, layout: Layout) -> Damage:
    place = name_in(cache, shard_path(cache, rows[0].first_instance // layout.instances_per_shard))
    return Damage(place, f"its features {detail}", recordings=tuple(row.path for row in rows))
