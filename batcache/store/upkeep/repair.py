"""Making a damaged store whole again, from what of it is sound and from the recordings.

A shard whose record can be believed is written anew under a temporary name: sound chunks are copied, the others
computed from their files. Computed on the kind of machine that built the store they are what the record says, and a
rename ends it; else the record goes first and comes back, with the new checksums, last. Where the record cannot be
believed, ``rebuild`` has its recordings built anew. Killed at any point, the store is as damaged as it was, or lacks
the record of a shard, which the next build or repair makes again.
"""

import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import google_crc32c
import numpy as np
import torch
from numpy.typing import NDArray

from batcache.errors import StoreError
from batcache.features.frontend import FrontEnd
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.storage.ahead import map_ahead
from batcache.storage.disk import replacing, write_file
from batcache.store.format.array import array_length, array_metadata
from batcache.store.format.attributes import describe_front_end, read_attributes
from batcache.store.format.commit import CachedRecording, Commit, write_commit
from batcache.store.format.index import Index, complete_commits
from batcache.store.format.last_build import find_data_dir
from batcache.store.format.layout import Layout
from batcache.store.format.leftovers import remove_temporary_files
from batcache.store.format.lock import hold
from batcache.store.format.records import withdraw
from batcache.store.format.shard import ShardWriter, read_chunk, shard_path
from batcache.store.upkeep.rebuild import Rebuilt, rebuild
from batcache.store.upkeep.recompute import compute_again, find_file
from batcache.store.upkeep.record_checks import Damage
from batcache.store.upkeep.shard_checks import Owners, owners_of
from batcache.store.upkeep.verify import VerifyReport, inspect

Frames = NDArray[np.float16]
Fresh = dict[int, Frames]
"""Instances by slot."""


@dataclass(frozen=True)
class RepairReport:
    """What was done: shards written again, recordings computed (in part) again, records removed because they could
    not be believed; ``impossible`` says of recordings or records why they stay as they are; ``left`` is what a new look
    finds still damaged."""

    shards: int
    recomputed: tuple[str, ...]
    withdrawn: int
    impossible: Mapping[str, str]
    left: tuple[Damage, ...]
    seconds: float


@dataclass
class _Done:
    shards: int = 0
    recomputed: list[str] = field(default_factory=list)
    impossible: dict[str, str] = field(default_factory=dict)


def repair(
    cache: Path,
    found: VerifyReport,
    data_dir: Path | None = None,
    workers: int | None = None,
    *,
    on_progress: OnProgress = ignore_progress,
) -> RepairReport:
    """Repair what ``verify`` found and a new look confirms. Computes on the CPU.

    A recording whose file is gone or holds other audio stays damaged; so does a record that cannot be believed where
    not all of its recordings could be built again.
    """
    began, workers, done = time.monotonic(), workers or os.cpu_count() or 1, _Done()
    with hold(cache):
        remove_temporary_files(cache)  # of a repair that was killed
        found = _look_again(cache, found, workers)
        features, layout, attributes = read_attributes(cache)
        index = Index(
            {k: c for k, c in complete_commits(dict(found.records), layout).items() if k not in found.doubtful}
        )
        folder, outside = _find_data_dir(cache, data_dir)
        other = describe_front_end(features, attributes["fingerprint"])
        shards = _Shards(cache, folder, outside, FrontEnd(features), other, layout, owners_of(index, layout), done)
        pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
        try:
            for count, (shard, slots) in enumerate(sorted(found.unsound.items()), 1):
                shards.write_again(index.commits[shard], slots, pool, workers)
                on_progress(Progress("repair", count, len(found.unsound)))
        finally:
            pool.shutdown(cancel_futures=True)
        if found.array:
            _write_array_metadata(cache, index, layout)
        rebuilt = Rebuilt()
        if found.doubtful:
            rebuilt = rebuild(cache, index, found.doubtful, data_dir, workers, on_progress)
        sound = found.records.keys() - found.unsound.keys() - {*found.doubtful}
        left = inspect(cache, workers=workers, known_sound=sound)
    return RepairReport(
        shards=done.shards + rebuilt.shards,
        recomputed=tuple(dict.fromkeys([*done.recomputed, *rebuilt.recomputed])),
        withdrawn=rebuilt.withdrawn,
        impossible={**done.impossible, **rebuilt.kept},
        left=left.damages,
        seconds=time.monotonic() - began,
    )


def _look_again(cache: Path, found: VerifyReport, workers: int) -> VerifyReport:
    """What of a finding still holds: others may have built or pruned before the store was held."""
    now = inspect(cache, workers=workers, known_sound=found.records.keys() - found.unsound.keys())
    stands = {k: slots for k, slots in found.unsound.items() if now.records.get(k) == found.records[k]}
    return replace(now, unsound={k: s for k, s in {**now.unsound, **stands}.items() if k not in now.doubtful})


def _find_data_dir(cache: Path, data_dir: Path | None) -> tuple[Path | None, bool]:
    try:
        return find_data_dir(cache, data_dir)
    except StoreError:
        return None, False


@dataclass(frozen=True)
class _Shards:
    """Shards of a store to be written again. ``other`` says by which front end they were computed, if not by this."""

    cache: Path
    data_dir: Path | None
    allow_outside: bool
    front_end: FrontEnd
    other: str
    layout: Layout
    owners: Owners
    done: _Done

    def write_again(self, commit: Commit, slots: frozenset[int], pool: ThreadPoolExecutor, workers: int) -> None:
        """Write a shard: sound chunks as they are, those of ``slots`` computed anew, or as bad as before."""
        begin, used = commit.shard * self.layout.instances_per_shard, len(commit.crc32c)
        groups = [
            rows
            for first, rows in self.owners[commit.shard].items()
            if any(first <= begin + slot < first + rows[0].instances for slot in slots)
        ]
        fresh: Fresh = {}
        owned: set[int] = set()
        for rows, made in zip(
            groups, map_ahead(pool, lambda rows: self._compute(rows, begin, slots), groups, 2 * workers), strict=True
        ):
            owned |= {row - begin for row in range(rows[0].first_instance, rows[0].first_instance + rows[0].instances)}
            if isinstance(made, str):
                self.done.impossible |= dict.fromkeys((row.path for row in rows), made)
            else:
                fresh |= made
                if made:
                    self.done.recomputed.append(rows[0].path)
        nothing = np.full((self.layout.frames_per_instance, self.layout.n_mels), np.nan, np.float16)
        fresh |= dict.fromkeys(slots - owned, nothing)  # no recording needs them
        with replacing(shard_path(self.cache, commit.shard)) as file:
            writer = ShardWriter(file, self.layout)
            expected = commit.crc32c
            for slot in range(used):
                if slot in fresh:
                    writer.append(fresh[slot])
                    continue
                payload = read_chunk(self.cache, begin + slot, self.layout)[:-4]
                if slot not in slots and google_crc32c.value(payload) != expected[slot]:
                    raise StoreError(self.cache, f"shard {commit.shard} changed while it was repaired", "Run it again")
                if len(payload) < self.layout.chunk_bytes:
                    payload = nothing.reshape(-1).view(np.uint8)
                writer.append_bytes(payload, expected[slot])
            shard_bytes, crcs = writer.finish()
            if crcs != expected:
                withdraw(self.cache, [commit.shard])
        if crcs != expected:
            write_commit(self.cache, replace(commit, shard_bytes=shard_bytes, crc32c=crcs))
        self.done.shards += 1

    def _compute(self, rows: list[CachedRecording], begin: int, slots: frozenset[int]) -> Fresh | str:
        """The instances of a recording that lie in these slots, or why they cannot be had."""
        row = rows[0]
        wanted = {row.first_instance + i: row.first_instance + i - begin for i in range(row.instances)}
        wanted = {instance: slot for instance, slot in wanted.items() if slot in slots}
        if self.other:
            return self.other
        if self.data_dir is None:
            return "no data dir is known"
        placed = find_file(rows, self.data_dir, allow_outside=self.allow_outside)
        if isinstance(placed, str):
            return placed
        made: Fresh = {}
        for i, frames in enumerate(compute_again(placed, self.data_dir, self.front_end, self.layout)):
            if (slot := wanted.pop(row.first_instance + i, None)) is not None:
                made[slot] = np.array(frames)
        return "its file gives fewer frames than are cached" if wanted else made


def _write_array_metadata(cache: Path, index: Index, layout: Layout) -> None:
    """Write Zarr's metadata anew, for as many instances as are committed."""
    length = array_length([(commit.shard, len(commit.crc32c)) for commit in index.commits.values()], layout)
    content = json.dumps(array_metadata(layout, length), indent=2).encode()
    write_file(cache / "instances" / "zarr.json", content)
