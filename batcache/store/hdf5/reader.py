"""A store in one HDF5 file, for archives, R and MATLAB: its format, version 1, and how it is read.

    user block, 512 bytes     two lines: where the instances lie; the SHA-256 of that line and of all else in the file
    /                         attributes: format, format_version, settings (the store's attributes as JSON), and for
                              those who read no JSON each of them by itself
    instances                 float16 [instances, frames_per_instance, n_mels], a chunk an instance, Fletcher-32
    crc32c                    uint32 [instances], of an instance's bytes
    recordings/<column>       a column for each field of ``CachedRecording``
    shards/<column>           how many instances each of the store's shards held, so that a store can be made again
    rejected/path, reason     what could not be used

Only instances that a recording uses are here, in the store's order; ``recordings/first_instance`` counts from 0 in
this file. What a column holds is said in ``store/hdf5/columns.py``.

Nothing in the file depends on the clock or on where it lies: equal stores give equal bytes. The instances lie one after
the other, so reading maps them into memory and verifies their crc32c, as the store's own reader does. HDF5 itself
parses only what the user block's digest has verified: its library is not made for damaged files.
"""

import hashlib
import json
import mmap
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, starmap
from pathlib import Path
from typing import Any, BinaryIO, Self

import h5py
import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from batcache.errors import StoreError, brief, list_some
from batcache.store.format.attributes import check_attributes
from batcache.store.format.commit import CachedRecording, Commit
from batcache.store.format.index import Index
from batcache.store.format.last_build import LastBuild
from batcache.store.format.layout import Layout
from batcache.store.hdf5.columns import INTEGER, TEXT, Kind, count_rows, find_dataset, find_group, read_column, read_row
from batcache.store.reader import Store
from batcache.store.shard_reader import MappedShard

FORMAT = "batcache-hdf5"
FORMAT_VERSION = 1
HEAD_BYTES = 512
FLETCHER_BYTES = 4
SHARD_COLUMNS = ("instances", "generation", "continues")
REJECTED_COLUMNS = ("path", "reason")

_MAGIC = f"{FORMAT} ".encode()
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_REMEDY = "Restore it from a copy, or export it again"


RECORDING_KINDS = {field.encode_name: Kind.of(field.type) for field in msgspec.structs.fields(CachedRecording)}


@dataclass(frozen=True)
class Head:
    """The user block. ``count`` instances of ``stored`` bytes lie from ``start`` on, in a file of ``size`` bytes."""

    size: int
    start: int
    stored: int
    count: int

    @property
    def stop(self) -> int:
        """The byte behind the last instance."""
        return self.start + self.count * self.stored

    def write(self, file: BinaryIO, path: Path) -> None:
        """Seal the file at ``path``, which ``file`` writes: nothing but the instances may change from now on."""
        line = f"{FORMAT} {FORMAT_VERSION} {json.dumps(vars(self))}\n".encode()
        digest = self._digest(path, line).encode()
        file.seek(0)
        file.write((line + digest + b"\n").ljust(HEAD_BYTES, b" "))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a head and verify all that it vouches for.

        Raises:
            StoreError: no export, of another version, cut short, or damaged outside its instances.
        """
        try:
            with path.open("rb") as file:
                block = file.read(HEAD_BYTES)
        except OSError as error:
            raise StoreError.of_disk(path, "cannot be read", error, "Pass another --cache") from None
        if not block.startswith(_MAGIC):
            finding = "an HDF5 file, but not by `batcache export`" if block.startswith(_HDF5_MAGIC) else "no cache"
            raise StoreError(path, finding, "Pass a store, or a file that `batcache export` wrote")
        try:
            line, digest, padding = block.split(b"\n")
            version = int(line.split(b" ")[1])
            if version == FORMAT_VERSION:
                head = cls(**json.loads(line.split(b" ", 2)[2]))
                whole = all(type(value) is int for value in vars(head).values()) and not padding.strip(b" ")
                if not whole or not HEAD_BYTES <= head.start < head.stop <= head.size or head.stored <= FLETCHER_BYTES:
                    raise ValueError("no such file")
        except (ValueError, TypeError, IndexError, RecursionError):
            raise StoreError(path, "damaged (its first lines make no sense)", _REMEDY) from None
        if version != FORMAT_VERSION:
            finding = f"format version {version}, this batcache reads {FORMAT_VERSION}"
            raise StoreError(path, finding, "Upgrade batcache")
        size = path.stat().st_size
        if size != head.size:
            raise StoreError(path, f"file of {size} bytes, exported with {head.size}", _REMEDY)
        if digest != head._digest(path, line + b"\n").encode():
            raise StoreError(path, "changed since it was exported, or damaged (its digest does not match)", _REMEDY)
        return head

    def _digest(self, path: Path, line: bytes) -> str:
        """SHA-256 of the first line and of all that is neither the user block nor an instance."""
        digest = hashlib.sha256(line)
        with path.open("rb") as file:
            for start, stop in ((HEAD_BYTES, self.start), (self.stop, self.size)):
                file.seek(start)
                for done in range(start, stop, 1 << 20):
                    digest.update(file.read(min(1 << 20, stop - done)))
        return digest.hexdigest()


class Hdf5Store(Store):
    """An exported store, open for reading. Its index is that of the store that ``restore`` makes of it.

    Raises:
        StoreError: missing, damaged, or of a format, settings or front end that this batcache does not know.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._head = Head.read(path)
        # What HDF5 and h5py raise at a file that someone made on purpose is not one kind of error.
        try:
            with h5py.File(path, "r", locking=False) as file:
                self.attributes = _read_attributes(file)
                self.features, self.layout = check_attributes(path, self.attributes)
                _check_instances(file, self._head, self.layout)
                self.index = _read_index(file, self._head, self.layout, self.fingerprint)
                self._starts = [0, *accumulate(len(commit.crc32c) for commit in self.index.commits.values())]
                self._rejected = dict(zip(*_read_rejected(file, self._head), strict=True))
        except StoreError:
            raise
        except Exception as error:
            finding = f"not readable as what `batcache export` writes ({' '.join(f'{error}'.split())})"
            raise StoreError(path, finding, _REMEDY) from None
        self.__setstate__({})

    @property
    def on_disk(self) -> str:
        """How much room the file takes, in words."""
        return f"{self._head.size / 1e6:,.1f} MB in one HDF5 file"

    def last_build(self) -> LastBuild:
        """What the last build rejected; its CSVs are not known."""
        return LastBuild((), {}, None, dict(self._rejected))

    def _open_shard(self, shard: int) -> MappedShard:
        count = len(self.index.commits[shard].crc32c)
        begin = self._head.start + self._starts[shard] * self._head.stored
        within = begin % mmap.ALLOCATIONGRANULARITY
        length = count * self._head.stored
        with Path(str(self.path)).open("rb") as file:
            mapped = mmap.mmap(file.fileno(), within + length, offset=begin - within, access=mmap.ACCESS_READ)
        stored = np.frombuffer(mapped, np.uint8, length, within).reshape(count, self._head.stored)
        return MappedShard(mapped, self._head.size, stored, np.zeros(count, np.bool_))

    def _damaged_shard(self, shard: int, error: Exception) -> StoreError:
        return StoreError(self.path, f"cannot be read ({brief(error)}), and holds {self._names(shard)}", _REMEDY)

    def _fault(self, shard: int, finding: str) -> StoreError:
        return StoreError(self.path, finding, _REMEDY)


def _read_attributes(file: h5py.File) -> dict[str, Any]:
    """The attributes of the store that was exported."""
    settings = file.attrs.get_id("settings")
    if settings.shape != () or h5py.check_string_dtype(settings.dtype) is None:
        raise ValueError("settings are not a text")
    attributes = json.loads(file.attrs["settings"])
    if not isinstance(attributes, dict):
        raise ValueError("settings are no JSON object")
    return attributes


def _check_instances(file: h5py.File, head: Head, layout: Layout) -> None:
    shape = (layout.frames_per_instance, layout.n_mels)
    instances = find_dataset(file, "instances")
    if (instances.shape, instances.chunks, instances.dtype) != ((head.count, *shape), (1, *shape), np.dtype("<f2")):
        finding = f"instances are {instances.dtype} {instances.shape} in chunks of {instances.chunks}"
        raise ValueError(f"{finding}, expected float16 {(head.count, *shape)} in chunks of one instance")
    if head.stored != layout.chunk_bytes + FLETCHER_BYTES:
        raise ValueError(f"instances take {head.stored} bytes, expected {layout.chunk_bytes + FLETCHER_BYTES}")


def _read_index(file: h5py.File, head: Head, layout: Layout, fingerprint: str) -> Index:
    """The commit records that ``restore`` would write."""
    crcs = read_row(find_dataset(file, "crc32c"), head.size, np.dtype("<u4"), head.count)
    shards = find_group(file, "shards")
    counts, generations, continuing = (
        read_row(find_dataset(shards, name), head.size, INTEGER.dtype, count_rows(shards)) for name in SHARD_COLUMNS
    )
    per = layout.instances_per_shard
    if (counts < 1).any() or (counts > per).any() or counts.sum() != head.count:
        raise ValueError("its shards do not hold its instances")
    if ((continuing == 1) & (counts != per)).any() or continuing[-1]:
        raise ValueError("a shard that is not full goes on in the next")
    starts = np.cumsum([0, *counts.tolist()])
    rows, homes = _place(_read_recordings(file, head), starts, head.count, layout)
    edges = np.searchsorted(homes, np.arange(len(counts) + 1))
    if ((continuing == 1) & (np.diff(edges) > 0)).any():
        raise ValueError("a recording ends in a shard that goes on in the next")
    commits = {}
    for shard, (count, generation, continues) in enumerate(
        zip(counts.tolist(), generations.tolist(), continuing.tolist(), strict=True)
    ):
        own = array("I", crcs[starts[shard] : starts[shard + 1]].tolist())
        named = tuple(rows[edges[shard] : edges[shard + 1]])
        size = layout.shard_bytes([count])
        commits[shard] = Commit(shard, generation, fingerprint, size, bool(continues), own, named)
    return Index(commits)


def _place(
    rows: Sequence[CachedRecording], starts: NDArray[np.int64], total: int, layout: Layout
) -> tuple[list[CachedRecording], NDArray[np.int64]]:
    """Rows that count instances as the store does, and the shard in whose record each stands (its last one)."""
    firsts = np.array([row.first_instance for row in rows], np.int64)
    counts = np.array([row.instances for row in rows], np.int64)
    frames = np.array([row.frames for row in rows], np.int64)
    if not ((counts >= 1) & (counts <= total) & (firsts >= 0) & (firsts <= total - counts)).all():
        raise ValueError("a recording whose instances are not here")
    if not ((frames >= 0) & (frames <= counts * layout.frames_per_instance)).all():
        raise ValueError("a recording of more frames than its instances hold")
    shards = np.searchsorted(starts, firsts, "right") - 1
    homes = np.searchsorted(starts, firsts + counts - 1, "right") - 1
    if (np.diff(homes) < 0).any():
        raise ValueError("recordings are not in the order of their shards")
    placed = (shards * layout.instances_per_shard + firsts - starts[shards]).tolist()
    return [replace(row, first_instance=first) for row, first in zip(rows, placed, strict=True)], homes


def _read_recordings(file: h5py.File, head: Head) -> list[CachedRecording]:
    """All rows. A column that an older batcache did not write has its default."""
    group = find_group(file, "recordings")
    if unknown := sorted(set(group) - set(RECORDING_KINDS)):
        raise StoreError(file.filename, f"recordings have unknown columns: {list_some(unknown)}", "Upgrade batcache")
    rows = count_rows(group)
    columns: list[list[Any]] = []
    for field in msgspec.structs.fields(CachedRecording):
        if field.encode_name not in group and not field.required:
            columns.append([field.default] * rows)
        else:
            columns.append(read_column(group, field.encode_name, RECORDING_KINDS[field.encode_name], rows, head.size))
    return list(starmap(CachedRecording, zip(*columns, strict=True)))


def _read_rejected(file: h5py.File, head: Head) -> Iterator[list[Any]]:
    group = find_group(file, "rejected")
    return (read_column(group, name, TEXT, count_rows(group), head.size) for name in REJECTED_COLUMNS)


def read_settings(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that are written one by one beside ``settings``: numbers and texts."""
    flat = {**attributes["features"], **attributes["layout"], "fingerprint": attributes["fingerprint"]}
    return flat | {f"version_{name}": text for name, text in attributes["versions"].items()}
