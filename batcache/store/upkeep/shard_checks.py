"""Whether a shard holds what its record says, and whose instances are damaged where it does not."""

import io
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from batcache.errors import UnreachableError, is_of_the_process
from batcache.storage.place import Place, is_remote
from batcache.store.format.commit import CachedRecording, Commit
from batcache.store.format.index import Index
from batcache.store.format.layout import Layout
from batcache.store.format.shard import shard_index, shard_path
from batcache.store.upkeep.record_checks import Damage, name_in


@dataclass(frozen=True)
class ShardState:
    """What reading a shard has shown: a finding about the file, if any, and one about each slot that is not right."""

    shard: int
    finding: str
    slots: Mapping[int, str]
    bytes: int


def examine(cache: Place, commit: Commit, layout: Layout) -> ShardState:
    """Read a shard, a chunk at a time, and hold it against its record.

    Raises:
        UnreachableError: nothing more can be opened or held in memory, which is no damage.
    """
    place, used = shard_path(cache, commit.shard), len(commit.crc32c)
    chunk = np.empty(layout.chunk_bytes + 4, np.uint8)
    slots: dict[int, str] = {}
    try:
        with _open(place, commit.shard_bytes + 1) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            for slot, expected in enumerate(commit.crc32c):
                if finding := _judge_chunk(chunk, file.readinto(chunk.data), expected):
                    slots[slot] = finding
            index = shard_index(used, layout)
            end = file.read(len(index))  # of what was appended, only the size is looked at
    except OSError as error:
        if is_of_the_process(error):
            raise UnreachableError.of_disk(place, "cannot be read", error) from None
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        finding = "missing shard" if missing else f"cannot be read ({error.strerror})"
        return ShardState(commit.shard, finding, dict.fromkeys(range(used), "is missing"), 0)
    finding = ""
    if size > commit.shard_bytes:
        finding = f"shard of more than the {commit.shard_bytes:,} bytes committed"
    elif size < commit.shard_bytes:
        finding = f"shard of {size:,} bytes, committed {commit.shard_bytes:,}"
    elif end != index:
        finding = "its index of chunks is damaged"
    return ShardState(commit.shard, finding, slots, min(size, commit.shard_bytes))


def _open(place: Place, most: int) -> io.BufferedIOBase:
    """A shard to be read; of an object at most so many bytes."""
    return io.BytesIO(place.read_range(0, most)) if is_remote(place) else place.open("rb")


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


def describe(
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
