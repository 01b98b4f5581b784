"""A shard that is open for reading: mapped into memory from a disk, or read by ranges of bytes from a bucket.

Both give the same chunks, each with its checksum, which whoever reads them verifies.
"""

import mmap
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batcache.storage.place import Place, is_remote
from batcache.storage.s3 import S3Path
from batcache.store.format.layout import Layout
from batcache.store.format.shard import parse_shard_index, shard_path


@dataclass(frozen=True)
class MappedShard:
    """A shard on a disk, mapped once. It stays readable when a prune removes the file.

    Shapes: ``stored`` is ``[chunks, bytes of a chunk and its checksum]``, ``missing`` ``[chunks of a full shard]``.
    """

    mapped: mmap.mmap
    file_bytes: int
    stored: NDArray[np.uint8]
    missing: NDArray[np.bool_]

    def read(self, slot: int, count: int) -> NDArray[np.uint8]:
        """Read ``count`` chunks from ``slot`` on. Shape: ``[count, bytes of a chunk and its checksum]``.

        Raises:
            ValueError: the file was cut short since it was mapped; the system kills who reads beyond its new end.
        """
        if self.mapped.size() < self.file_bytes:
            raise ValueError("it was cut short")
        return self.stored[slot : slot + count]


@dataclass(frozen=True)
class RemoteShard:
    """A shard in a bucket. Where its chunks lie follows from the format. Shapes as in ``MappedShard``."""

    place: S3Path
    stored_bytes: int
    missing: NDArray[np.bool_]

    def read(self, slot: int, count: int) -> NDArray[np.uint8]:
        """Read ``count`` chunks from ``slot`` on, in one request. Shape as in ``MappedShard.read``.

        Raises:
            FileNotFoundError: there is no such object.
            ValueError: the shard ends before the last of these chunks.
            UnreachableError: the object store cannot be reached or refuses.
        """
        content = self.place.read_range(slot * self.stored_bytes, count * self.stored_bytes)
        if len(content) != count * self.stored_bytes:
            raise ValueError("it ends too early")
        return np.frombuffer(content, np.uint8).reshape(count, self.stored_bytes)


def open_shard(store: Place, shard: int, used: int, layout: Layout) -> MappedShard | RemoteShard:
    """Open a shard whose record has ``used`` chunks. Nothing is requested of a bucket yet.

    Raises:
        OSError: the file is missing (FileNotFoundError) or the disk refuses.
        ValueError: the shard's index of chunks is damaged, or the file is empty.
    """
    place, stored_bytes = shard_path(store, shard), layout.chunk_bytes + 4
    if is_remote(place):
        return RemoteShard(place, stored_bytes, np.arange(layout.instances_per_shard) >= used)
    with place.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    entries = parse_shard_index(memoryview(mapped), layout)
    in_place = np.arange(len(entries), dtype=np.uint64) * stored_bytes  # format 1 writes them one after the other
    whole = min(used, len(mapped) // stored_bytes)
    missing = (entries[:, 0] != in_place) | (entries[:, 1] != stored_bytes)
    missing[whole:] = True
    stored = np.frombuffer(mapped, np.uint8, whole * stored_bytes).reshape(whole, stored_bytes)
    return MappedShard(mapped, len(mapped), stored, missing)
