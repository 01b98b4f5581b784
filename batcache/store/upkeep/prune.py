"""Giving back the space of recordings that were deleted or replaced.

A shard of which nothing is kept is removed. What is kept of the others is copied, every checksum verified, into new
shards, packed as a build packs; once these are committed, the old ones go, each one's record first. Killed at any
point, the store reads right: at worst some recordings stand in two shards with the same frames, and the next prune
ends what this one began.
"""

import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path

import google_crc32c
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from batcache.errors import BatcacheError, StoreError, remedy_for
from batcache.manifest.manifest import Manifest
from batcache.progress import OnProgress, Progress, ignore_progress, raising_what_listeners_raise
from batcache.storage.disk import replacing
from batcache.storage.listing import is_file, walk_folder
from batcache.store.format.array import array_length, resize
from batcache.store.format.attributes import read_attributes
from batcache.store.format.commit import CachedRecording, Commit, write_commit
from batcache.store.format.index import Index
from batcache.store.format.last_build import read_last_manifest
from batcache.store.format.leftovers import remove_leftovers
from batcache.store.format.lock import hold
from batcache.store.format.packing import PackedShards
from batcache.store.format.records import withdraw
from batcache.store.format.shard import ShardWriter, read_chunk, shard_path
from batcache.store.reader import Store
from batcache.store.upkeep.prune_plan import PrunePlan, plan_prune


@dataclass(frozen=True)
class PruneReport:
    """Sizes are those of all shards, in bytes; with ``dry_run`` the second is what it would be."""

    cache: Path
    plan: PrunePlan
    recordings: int
    instances_freed: int
    bytes_before: int
    bytes_after: int
    seconds: float
    note: str = ""
    dry_run: bool = False


@raising_what_listeners_raise
def prune(
    cache: Path, manifest: Manifest | None = None, *, dry_run: bool = False, on_progress: OnProgress = ignore_progress
) -> PruneReport:
    """Remove what no recording uses any more, and recordings that were deleted.

    With a ``manifest`` those are deleted that it does not list. Without, those that the manifest of the last build
    does not list and whose file is gone: a store may hold recordings of several CSVs.

    Raises:
        StoreError: the store is damaged, has no recording of the manifest, or has a file that cannot be removed.
    """
    began = time.monotonic()
    read_attributes(cache)  # there is a store
    with nullcontext() if dry_run else hold(cache), _naming(cache):
        store = Store(cache)
        index, layout = store.index, store.layout
        is_kept, note = _what_to_keep(cache, index, manifest)
        plan = plan_prune(index, is_kept, layout)
        before = _bytes_of_shards(cache)
        freed = _instances(index, [*plan.dead, *plan.emptied])
        moved = sum(rows[0].instances for rows in plan.groups)
        if dry_run:
            after = sum(
                commit.shard_bytes for k, commit in index.commits.items() if k not in {*plan.dead, *plan.emptied}
            )
            after += sum(layout.shard_bytes([plan.instances(part)]) for part in plan.moves)
        else:
            _carry_out(store, plan, on_progress)
            after = _bytes_of_shards(cache)
    return PruneReport(
        cache=cache,
        plan=plan,
        recordings=len({row.path for row in index.recordings} - set(plan.dropped)),
        instances_freed=freed - moved,
        bytes_before=before,
        bytes_after=after,
        seconds=time.monotonic() - began,
        note=note,
        dry_run=dry_run,
    )


@contextmanager
def _naming(cache: Path) -> Iterator[None]:
    """Turn what the system refuses into an error that names the file: Windows removes none that a training has open."""
    try:
        yield
    except OSError as error:
        finding = f"cannot be removed or written ({error.strerror or error})"
        remedy = remedy_for(error, "Close what has it open, see that the disk has room")
        raise StoreError(error.filename or cache, finding, f"{remedy}, and prune again") from error


def _what_to_keep(
    cache: Path, index: Index, manifest: Manifest | None
) -> tuple[Callable[[CachedRecording], bool], str]:
    """Which rows stay, and what to tell of how that was decided."""
    if manifest is not None:
        listed = set(manifest.recordings())
        if index.by_path and listed.isdisjoint(index.by_path):
            finding = "holds no recording that the CSV lists, and would be emptied"
            raise StoreError(cache, finding, "Pass the --csv it was built from, or delete the cache")
        return lambda row: row.path in listed, ""
    try:
        last = read_last_manifest(cache)
    except BatcacheError as error:
        return (
            lambda row: True,
            f"no recording is taken for deleted, since the last build's CSV cannot be read: {error}",
        )
    listed = set(last.recordings())
    there = {path for path in index.by_path if is_file(last.data_dir / path)}
    if not there:
        return lambda row: True, f"no recording is taken for deleted, since none of their files is in {last.data_dir}"
    return lambda row: row.path in listed or row.path in there, ""


def _carry_out(store: Store, plan: PrunePlan, on_progress: OnProgress) -> None:
    cache, index, layout = Path(str(store.path)), store.index, store.layout
    remove_leftovers(cache, index)
    _remove(cache, plan.dead)
    for shard, rows in plan.revisions.items():
        commit = index.commits[shard]
        write_commit(cache, replace_fields(commit, generation=commit.generation + 1, recordings=rows))
    left = {k: len(commit.crc32c) for k, commit in index.commits.items() if k not in plan.dead}
    ends = {part.first_shard: plan.instances(part) for part in plan.moves}
    resize(cache, array_length([*left.items(), *ends.items()], layout))
    done, total = 0, sum(ends.values())
    for part in plan.moves:
        _write(store, plan, part)
        done += ends[part.first_shard]
        on_progress(Progress("copy", done, total))
    _remove(cache, plan.emptied)
    for shard in plan.emptied:
        del left[shard]
    resize(cache, array_length([*left.items(), *ends.items()], layout))


def _write(store: Store, plan: PrunePlan, part: PackedShards) -> None:
    """Copy recordings into one new shard and commit it."""
    rows: list[CachedRecording] = []
    with replacing(shard_path(store.path, part.first_shard)) as file:
        writer = ShardWriter(file, store.layout)
        for which, first in part.members:
            group = plan.groups[which]
            for instance in range(group[0].first_instance, group[0].first_instance + group[0].instances):
                writer.append_bytes(*_read(store, instance))
            rows += [replace(row, first_instance=first) for row in group]
        shard_bytes, crcs = writer.finish()
    commit = Commit(part.first_shard, 0, store.fingerprint, shard_bytes, False, crcs, tuple(rows))
    write_commit(store.path, commit)


def _read(store: Store, instance: int) -> tuple[NDArray[np.uint8], int]:
    """A chunk and its checksum, verified. The shard is not kept mapped: Windows removes no mapped file."""
    shard, slot = divmod(instance, store.layout.instances_per_shard)
    payload, crc = read_chunk(store.path, instance, store.layout)[:-4], store.index.commits[shard].crc32c[slot]
    if len(payload) != store.layout.chunk_bytes or google_crc32c.value(payload) != crc:
        raise StoreError(shard_path(store.path, shard), "damaged shard", "Run `batcache verify --repair` first")
    return payload, crc


def _remove(cache: Path, shards: Collection[int]) -> None:
    """Remove shards; once none of their records is there any more."""
    withdraw(cache, shards)
    for shard in shards:
        shutil.rmtree(shard_path(cache, shard).parent.parent)


def _instances(index: Index, shards: Collection[int]) -> int:
    return sum(len(index.commits[shard].crc32c) for shard in shards)


def _bytes_of_shards(cache: Path) -> int:
    total = 0
    for place in walk_folder(cache / "instances" / "c"):
        with suppress(FileNotFoundError):
            total += place.stat().st_size
    return total
