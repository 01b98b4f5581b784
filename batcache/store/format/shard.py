"""Shards, byte by byte: chunks of one instance, each with its checksum, then Zarr's index of them."""

import struct
from array import array
from collections.abc import Callable
from typing import BinaryIO, TypeVar

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from batcache.errors import StoreError
from batcache.storage.place import Place, read_range, sizes_under
from batcache.store.format.layout import Layout

NO_CHUNK = 2**64 - 1
"""Offset and size that Zarr's shard index gives to a chunk that is not there."""

Somewhere = TypeVar("Somewhere", bound=Place)


def shard_path(store: Somewhere, shard: int) -> Somewhere:
    """Where a shard lies: ``instances/c/<shard>/0/0``, as Zarr names it."""
    return store / "instances" / "c" / str(shard) / "0" / "0"  # type: ignore[return-value]  # it is of one kind


def shard_sizes(store: Place) -> Callable[[int], int | None]:
    """A function that gives a shard's size in bytes, None where the shard is missing. A bucket is asked once, here."""
    size_of = sizes_under(store / "instances" / "c")
    return lambda shard: size_of(f"{shard}/0/0")


class ShardWriter:
    """Writes one shard, an instance at a time, in Zarr's ``sharding_indexed`` format."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self._file, self._layout = file, layout
        self._crcs = array("I")

    @property
    def room(self) -> int:
        """How many more chunks the shard takes."""
        return self._layout.instances_per_shard - len(self._crcs)

    def append(self, instance: NDArray[np.float16]) -> None:
        """Add one instance as a chunk. Shape: ``[frames_per_instance, n_mels]``. Raises OSError where the disk
        refuses."""
        payload = np.ascontiguousarray(instance, "<f2").reshape(-1).view(np.uint8)
        self.append_bytes(payload, google_crc32c.value(payload))

    def append_bytes(self, payload: NDArray[np.uint8], crc: int) -> None:
        """Add the bytes of one chunk, as uint8, with the crc32c that is given. Raises as ``append``."""
        assert len(payload) == self._layout.chunk_bytes and self.room
        self._file.write(payload.data)
        self._file.write(struct.pack("<I", crc))
        self._crcs.append(crc)

    def finish(self) -> "tuple[int, array[int]]":
        """Write the index of chunks, which ends the shard. Returns the shard's size in bytes and the crc32c of each
        chunk. Raises as ``append``."""
        index = shard_index(len(self._crcs), self._layout)
        self._file.write(index)
        return self._layout.shard_bytes([len(self._crcs)]), self._crcs


def shard_index(used: int, layout: Layout) -> bytes:
    """The last bytes of a shard with ``used`` chunks: the offset and size of each, and the checksum of that table."""
    stored = layout.chunk_bytes + 4
    entries = np.full((layout.instances_per_shard, 2), NO_CHUNK, "<u8")
    entries[:used, 0] = np.arange(used, dtype="<u8") * stored
    entries[:used, 1] = stored
    index = entries.tobytes()
    return index + struct.pack("<I", google_crc32c.value(index))


def read_chunk(cache: Place, instance: int, layout: Layout) -> NDArray[np.uint8]:
    """Read the bytes of one chunk and, behind them, its checksum, which is not verified.

    Shape: ``[chunk_bytes + 4]``, uint8. Shorter where the file ends before, empty where there is no file.

    Raises:
        StoreError: the disk or the object store refuses, so that nobody can tell whether the chunk is there.
    """
    shard, slot = divmod(instance, layout.instances_per_shard)
    stored = layout.chunk_bytes + 4
    place = shard_path(cache, shard)
    try:
        return np.frombuffer(read_range(place, slot * stored, stored), np.uint8)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return np.empty(0, np.uint8)
    except OSError as error:
        raise StoreError.of_disk(place, "cannot be read", error, "See to the disk and try again") from None


def parse_shard_index(shard: memoryview, layout: Layout) -> NDArray[np.uint64]:
    """Return offset and size of each chunk, ``[instances_per_shard, 2]``.

    Raises:
        ValueError: the index is damaged.
    """
    size = layout.instances_per_shard * 16
    index, crc = bytes(shard[-size - 4 : -4]), bytes(shard[-4:])
    if len(index) != size or struct.pack("<I", google_crc32c.value(index)) != crc:
        raise ValueError("its index does not match its checksum")
    return np.frombuffer(index, "<u8").reshape(-1, 2)
