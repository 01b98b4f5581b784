"""Making a damaged store whole again, from what of it is sound and from the recordings.

A shard whose record can be believed is written anew under a temporary name: sound chunks are copied, the others
computed from their files. Computed on the kind of machine that built the store they are what the record says, and a
rename ends it; else the record goes first and comes back, with the new checksums, last. Where the record cannot be
believed it is removed, and a build makes its recordings anew. Killed at any point, the store is as damaged as it was,
or lacks the record of a shard, which the next build or repair makes again.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import google_crc32c
import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from batcache.ahead import map_ahead
from batcache.config import DataConfig
from batcache.disk import replacing, sync, write_file
from batcache.errors import BatcacheError, StoreError, list_some
from batcache.features.frontend import FrontEnd
from batcache.store import build
from batcache.store.array import array_length, array_metadata
from batcache.store.chunks import ShardWriter, read_chunk, shard_path
from batcache.store.commits import CachedRecording, Commit, commit_path, is_intact, write_commit
from batcache.store.fresh import compute_again, find_file
from batcache.store.group import read_attributes
from batcache.store.index import Index, read_records, that_count
from batcache.store.layout import FORMAT_VERSION, Layout
from batcache.store.lock import hold
from batcache.store.plan import Plan
from batcache.store.records import Damage
from batcache.store.sources import read_last_manifest, read_sources
from batcache.store.verify import Owners, Progress, VerifyReport, owners_of, verify

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
    withdrawn: int = 0
    impossible: dict[str, str] = field(default_factory=dict)


def repair(
    cache: Path, found: VerifyReport, data_dir: Path | None = None, workers: int | None = None
) -> Iterator[Progress | build.Progress | RepairReport]:
    """Repair what ``verify`` found; yields progress, the report last. Computes on the CPU.

    A recording whose file is gone or holds other audio stays damaged; so does a record that cannot be read while files
    of its recordings are missing, since they could not be built again.
    """
    began, workers, done = time.monotonic(), workers or os.cpu_count() or 1, _Done()
    features, layout, _ = read_attributes(cache)
    records, _ = read_records(cache, features.fingerprint)
    index = Index({k: c for k, c in that_count(records, layout).items() if k not in found.doubtful})
    folder = data_dir or _last_data_dir(cache)
    shards = _Shards(cache, folder, FrontEnd(features), layout, owners_of(index, layout), done)
    with hold(cache), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for count, (shard, slots) in enumerate(sorted(found.unsound.items()), 1):
            shards.write_again(index.commits[shard], slots, pool, workers)
            yield Progress("repair", count, len(found.unsound))
        if found.array:
            _write_array_metadata(cache, index, layout)
    if found.doubtful:  # a build holds the store itself
        yield from _build_again(cache, index, found.doubtful, data_dir, done, workers)
    left = found.damages
    sound = set(records) - found.unsound.keys() - set(found.doubtful)
    for event in verify(cache, workers=workers, known_sound=sound):
        if isinstance(event, VerifyReport):
            left = event.damages
    yield RepairReport(
        shards=done.shards,
        recomputed=tuple(dict.fromkeys(done.recomputed)),
        withdrawn=done.withdrawn,
        impossible=done.impossible,
        left=left,
        seconds=time.monotonic() - began,
    )


def _last_data_dir(cache: Path) -> Path | None:
    try:
        return read_sources(cache).data_dir
    except StoreError:
        return None


@dataclass(frozen=True)
class _Shards:
    """Shards of a store to be written again."""

    cache: Path
    data_dir: Path | None
    front_end: FrontEnd
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
                withdraw(self.cache, commit.shard)
        if crcs != expected:
            write_commit(self.cache, replace(commit, shard_bytes=shard_bytes, crc32c=crcs))
        self.done.shards += 1

    def _compute(self, rows: list[CachedRecording], begin: int, slots: frozenset[int]) -> Fresh | str:
        """The instances of a recording that lie in these slots, or why they cannot be had."""
        row = rows[0]
        wanted = {row.first_instance + i: row.first_instance + i - begin for i in range(row.instances)}
        wanted = {instance: slot for instance, slot in wanted.items() if slot in slots}
        placed = "no data dir is known" if self.data_dir is None else find_file(rows, self.data_dir)
        if isinstance(placed, str):
            return placed
        assert self.data_dir is not None
        made: Fresh = {}
        for i, frames in enumerate(compute_again(placed, self.data_dir, self.front_end, self.layout)):
            if (slot := wanted.pop(row.first_instance + i, None)) is not None:
                made[slot] = np.array(frames)
        return "its file gives fewer frames than are cached" if wanted else made


def withdraw(cache: Path, shard: int) -> None:
    """Remove a commit record, for good before anything else is done."""
    commit_path(cache, shard).unlink(missing_ok=True)
    sync(cache / "commits")


def _write_array_metadata(cache: Path, index: Index, layout: Layout) -> None:
    """Write Zarr's metadata anew, for as many instances as are committed."""
    length = array_length([(commit.shard, len(commit.crc32c)) for commit in index.commits.values()], layout)
    content = json.dumps(array_metadata(layout, length), indent=2).encode()
    write_file(cache / "instances" / "zarr.json", content)


def _build_again(
    cache: Path, index: Index, doubtful: tuple[int, ...], data_dir: Path | None, done: _Done, workers: int
) -> Iterator[build.Progress]:
    """Remove records that cannot be believed and build what they stood for, as the CSVs of the last build list it."""
    features, layout, _ = read_attributes(cache)
    try:
        manifest = read_last_manifest(cache, data_dir)
    except BatcacheError as error:
        done.impossible |= {f"commits/{k}.json": f"what it held is not known: {error}" for k in doubtful}
        return
    lost = {
        path for path in manifest.recordings() if path not in index.by_path and (manifest.data_dir / path).is_file()
    }
    reasons = {f"commits/{k}.json": _why_keep(cache, k, manifest.data_dir, lost) for k in doubtful}
    kept = {name: reason for name, reason in reasons.items() if reason}
    if kept:
        done.impossible |= kept
        return
    for shard in doubtful:
        done.withdrawn += commit_path(cache, shard).exists()
        withdraw(cache, shard)
    config = DataConfig(**vars(features), instance_s=layout.frames_per_instance / features.frames_per_second)
    for event in build.build(manifest, cache, config, device="cpu", workers=workers):
        if isinstance(event, build.Progress):
            yield event
        elif isinstance(event, Plan):
            done.recomputed += [placed.facts.path for task in event.tasks for placed in task.recordings]
            done.shards += sum(task.shards for task in event.tasks)


def _why_keep(cache: Path, shard: int, data_dir: Path, lost: set[str]) -> str:
    """Why a record must stay though it cannot be believed, or nothing. ``lost`` are files that no other record has.

    The names in it may be damaged too; then there are as many of the lost that it does not name.
    """
    try:
        text = commit_path(cache, shard).read_bytes()
        document = msgspec.json.decode(text)
        names = [name for name in document["recordings"]["path"] if isinstance(name, str)]
        version = document["format_version"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if is_intact(text) and version != FORMAT_VERSION:
        return f"format version {version}; upgrade batcache"
    gone = [name for name in names if not (data_dir / name).is_file()]
    if len(gone) <= len(lost.difference(names)):
        return ""
    return f"files of its recordings are gone, and could not be built again: {list_some(gone)}"
