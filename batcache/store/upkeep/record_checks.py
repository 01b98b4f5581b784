"""Can what a store says of itself be true? Commit records, their rows and Zarr's metadata, held against each other."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from batcache.errors import StoreError, UnreachableError
from batcache.storage.listing import is_there
from batcache.storage.place import Place
from batcache.store.format.array import array_length, array_metadata, read_array_metadata
from batcache.store.format.attributes import PROMISED
from batcache.store.format.commit import CachedRecording, Commit, commit_path
from batcache.store.format.index import Index
from batcache.store.format.layout import Layout, say_how_to_mend
from batcache.store.format.records import list_shards


@dataclass(frozen=True)
class Damage:
    """Something that is not as promised. ``place`` is a file of the store, ``instances`` count from the recording's
    first. Without a remedy of its own, what mends the store mends it."""

    place: str
    finding: str
    remedy: str = ""
    recordings: tuple[str, ...] = ()
    instances: tuple[int, ...] = ()


def check_group(cache: Place, attributes: set[str]) -> list[Damage]:
    """What is wrong with the group's ``zarr.json``, which was read already."""
    try:
        document = json.loads((cache / "zarr.json").read_bytes())
    except OSError as error:
        raise UnreachableError.of_disk(cache / "zarr.json", "cannot be read", error) from None
    lacking = sorted({*PROMISED} - attributes)
    remedy = "Restore it from a copy"
    damages = [Damage("zarr.json", f"lacks {', '.join(lacking)}", remedy)] if lacking else []
    if (document.get("zarr_format"), document.get("node_type")) != (3, "group"):
        damages.append(Damage("zarr.json", "not the metadata of a Zarr v3 group", remedy))
    return damages


def check_array(cache: Place, commits: Sequence[Commit], layout: Layout, *, exact: bool) -> list[Damage]:
    """Zarr's metadata of the array. Where records are damaged, nobody knows how long it should be: long enough."""
    place, length = "instances/zarr.json", array_length([(c.shard, len(c.crc32c)) for c in commits], layout)
    try:
        found = read_array_metadata(cache)
    except UnreachableError:
        raise
    except StoreError as error:
        return [Damage(place, error.finding)]
    there = found["shape"][0]
    if found != array_metadata(layout, there):
        return [Damage(place, "does not describe the array that this layout has")]
    if there < length or (exact and there != length):
        remedy = "Run the same build again, if one was stopped" if there > length else ""
        return [Damage(place, f"says {there:,} instances, expected {length:,}", remedy)]
    return []


def check_records(
    cache: Place, records: Mapping[int, Commit], refused: Mapping[int, StoreError], index: Index, layout: Layout
) -> tuple[list[Damage], set[int]]:
    """What is wrong with records, and the shards whose record is missing or not to be believed."""
    damages = [
        Damage(name_in(cache, commit_path(cache, k)), error.finding, error.remedy)
        for k, error in sorted(refused.items())
    ]
    doubtful = set(refused)
    for shard in sorted(_shards_on_disk(cache) - {*records, *refused}):
        finding = "no commit record for a shard that is there: a build was stopped, or the record was removed"
        remedy = f"Run `batcache build`. Or: {say_how_to_mend(cache)}"
        damages.append(Damage(name_in(cache, commit_path(cache, shard)), finding, remedy))
        doubtful.add(shard)
    for shard, commit in sorted(records.items()):
        finding = (
            "; ".join(_judge_rows(commit, records, layout))
            if shard in index.commits
            else "belongs to a long recording that lacks the record of another shard"
        )
        if finding:
            names = tuple(row.path for row in commit.recordings)
            damages.append(Damage(name_in(cache, commit_path(cache, shard)), finding, recordings=names))
            doubtful.add(shard)
    return damages, doubtful


def _judge_rows(commit: Commit, records: Mapping[int, Commit], layout: Layout) -> Iterator[str]:
    """What in a record contradicts itself or the format."""
    capacity, used = layout.instances_per_shard, len(commit.crc32c)
    if not 0 < used <= capacity or commit.shard_bytes != layout.shard_bytes([used]):
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


def _shards_on_disk(cache: Place) -> set[int]:
    return {shard for shard, place in list_shards(cache).items() if is_there(place / "0" / "0")}


def name_in(cache: Place, place: Place) -> str:
    """A file's name within its store, as damages give it."""
    return place.as_posix().removeprefix(f"{cache.as_posix()}/")
