"""Ways to read instances from disk: our store's reader, and what others would use for the same bytes.

Each is opened from the paths in ``Copies`` and has ``read(first, count)``, which returns a fresh array
``[count, frames_per_instance, n_mels]`` float16. All of them return identical bytes.
"""

import ctypes
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batcache.bench.peers import why_missing
from batcache.store.reader import Store

Instances = NDArray[np.float16]
Read = Callable[[int, int], Instances]
_MOST_KEPT = 0.05  # share of a file's pages


@dataclass(frozen=True)
class Copies:
    """The same instances in a store, in a flat file and, where h5py is there, in HDF5."""

    store: Path
    flat: Path
    hdf5: Path
    shape: tuple[int, int, int]

    def files(self) -> list[Path]:
        """Every file that holds instances."""
        return [
            *(self.store / "instances" / "c").glob("*/0/0"),
            self.flat,
            *([self.hdf5] if self.hdf5.exists() else []),
        ]


def write_copies(path: Path, folder: Path) -> Copies:
    """Copy a store's instances to the other formats, a shard at a time, and flush them to the disk."""
    store = Store(path)
    per = store.layout.instances_per_shard
    used = {shard: len(commit.crc32c) for shard, commit in sorted(store.index.commits.items())}
    shape = (
        max(shard * per + count for shard, count in used.items()),
        store.layout.frames_per_instance,
        store.layout.n_mels,
    )
    copies = Copies(path, folder / "instances.bin", folder / "instances.h5", shape)
    flat = np.memmap(copies.flat, "<f2", "w+", shape=shape)
    for shard, count in used.items():
        flat[shard * per : shard * per + count] = store.read_instances(shard * per, count)
    flat.flush()
    if not why_missing("h5py"):
        import h5py

        with h5py.File(copies.hdf5, "w") as file:
            data = file.create_dataset("instances", shape, "<f2", chunks=(1, *shape[1:]), fletcher32=True)
            for shard, count in used.items():
                data[shard * per : shard * per + count] = flat[shard * per : shard * per + count]
    for file_path in copies.files():
        _flush(file_path)
    return copies


def open_batcache(copies: Copies) -> Read:
    """Our own reader: mapped shards, every checksum verified."""
    return Store(copies.store).read_instances


def open_memory_map(copies: Copies) -> Read:
    """A plain memory map of the instances, nothing verified: what the disk cache gives at best."""
    mapped = np.memmap(copies.flat, "<f2", "r", shape=copies.shape)
    return lambda first, count: np.array(mapped[first : first + count])


def open_zarr(copies: Copies) -> Read:
    """zarr-python."""
    import zarr

    instances = zarr.open_group(copies.store, mode="r")["instances"]
    return lambda first, count: np.asarray(instances[first : first + count])  # type: ignore[index]


def open_tensorstore(copies: Copies) -> Read:
    """TensorStore, with its cache off."""
    import tensorstore

    place = {"driver": "file", "path": str(copies.store / "instances")}
    instances = tensorstore.open({"driver": "zarr3", "kvstore": place}).result()
    return lambda first, count: np.asarray(instances[first : first + count].read().result())


def open_hdf5(copies: Copies) -> Read:
    """h5py on the exported file."""
    import h5py

    instances = h5py.File(copies.hdf5, "r")["instances"]
    return lambda first, count: np.asarray(instances[first : first + count])


PEERS: dict[str, tuple[str, Callable[[Copies], Read]]] = {
    "memory map, nothing verified": ("numpy", open_memory_map),
    "zarr-python, crc32c": ("zarr", open_zarr),
    "TensorStore, crc32c": ("tensorstore", open_tensorstore),
    "HDF5 (h5py), fletcher32": ("h5py", open_hdf5),
}
"""What each peer's package is called, and how it is opened."""


def forget(paths: list[Path]) -> str:
    """Ask the system to drop files from memory, so that the next read comes from the disk.

    Returns why they are still there, or nothing. A file that somebody maps stays.
    """
    if not hasattr(os, "posix_fadvise"):
        return "this system cannot be asked to drop files from memory"
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if resident_share(path) > _MOST_KEPT:
            return "the system keeps the files in memory"
    return ""


def resident_share(path: Path) -> float:
    """The share of a file's pages that are in memory, as ``mincore`` tells without loading any."""
    mincore = ctypes.CDLL(None).mincore
    mapped = np.memmap(path, np.uint8, "r")
    pages = np.zeros(-(-len(mapped) // mmap.PAGESIZE), np.uint8)
    failed = mincore(
        ctypes.c_void_p(mapped.ctypes.data), ctypes.c_size_t(len(mapped)), pages.ctypes.data_as(ctypes.c_void_p)
    )
    return 0.0 if failed else float((pages & 1).mean())


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
