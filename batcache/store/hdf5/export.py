"""Writing a store into one HDF5 file: the same store gives the same bytes."""

import json
import os
import re
import struct
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
from h5py import h5f, h5g, h5p
from msgspec.structs import replace

from batcache.errors import StoreError
from batcache.progress import OnProgress, Progress, ignore_progress, raising_what_listeners_raise
from batcache.storage.disk import replacing, require_room, reserve
from batcache.storage.listing import is_folder, is_there
from batcache.storage.place import Place
from batcache.store.format.commit import CachedRecording, Commit, columns_in_use
from batcache.store.hdf5.columns import INTEGER, TEXT, write_column
from batcache.store.hdf5.reader import (
    FLETCHER_BYTES,
    FORMAT,
    FORMAT_VERSION,
    HEAD_BYTES,
    RECORDING_KINDS,
    REJECTED_COLUMNS,
    SHARD_COLUMNS,
    Head,
    read_settings,
)
from batcache.store.reader import Store

_INSTANCES_AT_ONCE = 64
_VERSION = h5f.LIBVER_V110
"""What HDF5 1.10 reads, which R and MATLAB have."""


@dataclass(frozen=True)
class Exported:
    """``recordings`` counts rows: a file under two names has two."""

    path: Path
    recordings: int
    instances: int


@dataclass(frozen=True)
class _Contents:
    """What goes into the file. ``spans`` are first instance and count, in the store, of what its recordings use;
    ``shards`` has one row for each shard of which something is used."""

    spans: tuple[tuple[int, int], ...]
    recordings: tuple[CachedRecording, ...]
    shards: tuple[tuple[int, int, int], ...]
    crc32c: "np.ndarray[Any, np.dtype[np.uint32]]"


@raising_what_listeners_raise
def export(cache: Place, target: Path, *, force: bool = False, on_progress: OnProgress = ignore_progress) -> Exported:
    """Write the store at ``cache`` into an HDF5 file, which is whole or not there.

    Raises:
        StoreError: the store is missing, empty or damaged; the file exists and ``force`` is not given; the disk has no
            room, or fails.
    """
    store = Store(cache)
    if is_folder(target) or (is_there(target) and not force):
        remedy = "Name a file" if is_folder(target) else "Pass --force to replace it, or name another file"
        raise StoreError(target, "is there already", remedy)
    contents = _choose(store)
    if not contents.recordings:
        raise StoreError(cache, "holds no recording", "Run `batcache build --csv ...` first")
    total, most = len(contents.crc32c), _bytes_at_most(store, contents)
    require_room(target, most, "Free some space, or name another file")
    try:
        with replacing(target) as file:
            partial = Path(file.name)
            reserve(file, most)
            with _writing(partial, total) as hdf5:
                reserve(file, most)  # again, since HDF5 begins with an empty file
                _write_instances(hdf5, store, contents, on_progress)
                start = _find_instances(hdf5["instances"], target)
                _write_index(hdf5, store, contents)
            file.truncate(_end(partial))
            head = Head(partial.stat().st_size, start, store.layout.chunk_bytes + FLETCHER_BYTES, total)
            head.write(file, partial)
    except (OSError, RuntimeError) as error:  # h5py raises both
        finding = f"cannot be written ({_reason(error)})"
        raise StoreError(target, finding, "See to the disk and export again") from None
    return Exported(target, len(contents.recordings), total)


def _choose(store: Store) -> _Contents:
    """What the recordings of a store use, counted anew without gaps."""
    per, commits = store.layout.instances_per_shard, store.index.commits
    rows = list(store.index.recordings)
    spans = sorted({(row.first_instance, row.instances) for row in rows})
    firsts, counts, crcs, total = {}, dict.fromkeys(sorted(commits), 0), array("I"), 0
    for first, count in spans:
        firsts[first] = total
        total += count
        for instance in range(first, first + count):
            shard, slot = divmod(instance, per)
            counts[shard] += 1
            crcs.append(commits[shard].crc32c[slot])
    return _Contents(
        tuple(spans),
        tuple(replace(row, first_instance=firsts[row.first_instance]) for row in rows),
        tuple(_shard_row(commits[shard], count) for shard, count in counts.items() if count),
        np.array(crcs, "<u4"),
    )


def _shard_row(commit: Commit, count: int) -> tuple[int, int, int]:
    return count, commit.generation, int(commit.continues)


def _bytes_at_most(store: Store, contents: _Contents) -> int:
    """What the file takes at most. A cell of the index takes 64 bytes, but for its text; some text is escaped here."""
    instances = len(contents.crc32c) * (store.layout.chunk_bytes + FLETCHER_BYTES + 4)
    rejected = store.last_build().rejected
    cells = len(contents.recordings) * len(RECORDING_KINDS) + len(contents.shards) * 3 + len(rejected) * 2
    texts = msgspec.json.encode((contents.recordings, rejected, store.attributes))
    blocks = 3 * _meta_block_bytes(len(contents.crc32c))
    return HEAD_BYTES + instances + 64 * cells + 2 * len(texts) + blocks + (1 << 16)


@contextmanager
def _writing(path: Path, instances: int) -> Iterator[h5py.File]:
    """A new file that is closed in the end. Once a write has failed, HDF5 would repeat it whenever anything is closed,
    and crash: what is left to write then goes to the null device."""
    hdf5 = _create(path, instances)
    handle = hdf5.id.get_vfd_handle()
    try:
        yield hdf5
        hdf5.flush()
        hdf5.close()
    except BaseException:
        with open(os.devnull, "r+b", 0) as nowhere:  # noqa: PTH123 (it is no file of ours)
            os.dup2(nowhere.fileno(), handle)
        with suppress(OSError, RuntimeError):
            hdf5.close()
        raise


def _end(path: Path) -> int:
    """Where HDF5's own data end, as its superblock (version 3) says: behind that lies only what was reserved."""
    with path.open("rb") as file:
        file.seek(HEAD_BYTES + 12)
        base, _, end = struct.unpack("<3Q", file.read(24))
    assert base == HEAD_BYTES, "the user block"
    return int(end)


def _reason(error: OSError | RuntimeError) -> str:
    """What the system said. HDF5 tells it in several lines, with the time and addresses in memory."""
    said = re.search(r"errno = (\d+)", str(error))
    number = int(said[1]) if said else getattr(error, "errno", None)
    return os.strerror(number) if number else " ".join(str(error).split())


def _meta_block_bytes(instances: int) -> int:
    """HDF5 takes room for its own data in blocks. A first one that holds the index of all chunks (under 17 bytes each)
    leaves no reason to put anything between two instances."""
    return 4096 + 17 * instances


def _create(path: Path, instances: int) -> h5py.File:
    """A new file without times, whose instances will lie one after the other if they are written first."""
    creation = h5p.create(h5p.FILE_CREATE)
    creation.set_userblock(HEAD_BYTES)
    creation.set_obj_track_times(False)
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_libver_bounds(_VERSION, _VERSION)
    access.set_meta_block_size(_meta_block_bytes(instances))
    access.set_sieve_buf_size(0)  # what is written fails where it is written, not when a column is closed
    return h5py.File(h5f.create(bytes(path), h5f.ACC_TRUNC, creation, access))


def _write_index(hdf5: h5py.File, store: Store, contents: _Contents) -> None:
    attributes = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "settings": json.dumps(store.attributes),
    }
    for name, value in (attributes | read_settings(store.attributes)).items():
        hdf5.attrs[name] = value
    try:
        recordings = _create_group(hdf5, "recordings")
        for field in columns_in_use(contents.recordings):
            values = [getattr(row, field.name) for row in contents.recordings]
            write_column(recordings, field.encode_name, RECORDING_KINDS[field.encode_name], values)
        rejected = store.last_build().rejected
        for group, names, kind, rows in (
            (_create_group(hdf5, "shards"), SHARD_COLUMNS, INTEGER, contents.shards),
            (_create_group(hdf5, "rejected"), REJECTED_COLUMNS, TEXT, tuple(rejected.items())),
        ):
            for i, name in enumerate(names):
                write_column(group, name, kind, [row[i] for row in rows])
    except ValueError as error:
        raise StoreError(store.path, f"cannot be exported: {error}", "Rename the file or mend its tags") from None
    hdf5.create_dataset("crc32c", data=contents.crc32c, track_times=False)


def _create_group(hdf5: h5py.File, name: str) -> h5py.Group:
    creation = h5p.create(h5p.GROUP_CREATE)
    creation.set_obj_track_times(False)
    return h5py.Group(h5g.create(hdf5.id, name.encode(), gcpl=creation))


def _write_instances(hdf5: h5py.File, store: Store, contents: _Contents, on_progress: OnProgress) -> None:
    total = len(contents.crc32c)
    chunk = (1, store.layout.frames_per_instance, store.layout.n_mels)
    instances = hdf5.create_dataset(
        "instances", (total, *chunk[1:]), "<f2", chunks=chunk, fletcher32=True, track_times=False
    )
    done = 0
    for first, count in contents.spans:
        for within in range(0, count, _INSTANCES_AT_ONCE):
            block = store.read_instances(first + within, min(_INSTANCES_AT_ONCE, count - within))
            instances[done : done + len(block)] = block
            done += len(block)
            on_progress(Progress("export", done, total))
    hdf5.flush()


def _find_instances(instances: h5py.Dataset, target: Path) -> int:
    """Where the first instance lies in the file, once all others follow it without a gap."""
    start, found, stored = 0, 0, 0

    def follows(chunk: Any) -> bool | None:
        """Ends the iteration, which goes by instances, at the first that lies elsewhere."""
        nonlocal start, found, stored
        if not found:
            start, stored = chunk.byte_offset, chunk.size
        if (chunk.chunk_offset[0], chunk.byte_offset, chunk.size) != (found, start + found * stored, stored):
            return True
        found += 1
        return None

    instances.id.chunk_iter(follows)
    if found != len(instances):
        finding = f"HDF5 {h5py.version.hdf5_version} does not write instances one after the other"
        raise StoreError(target, finding, "Install another h5py")
    return start
