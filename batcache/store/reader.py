"""Reading a store: every promise of the index checked at opening, every chunk's checksum at reading.

A shard is mapped into memory once and its index parsed once; an instance is then one checksum and one copy.
"""

import mmap
from collections import OrderedDict
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from batcache.errors import StoreError, list_some
from batcache.store.index import Index, read_index
from batcache.store.layout import CachedRecording, parse_shard_index, read_attributes, shard_path
from batcache.store.sources import Sources, read_sources

_MAPPED_SHARDS = 512
_REMEDY = "Delete that shard's record in commits/ and run `batcache build` again: it makes the shard anew"


class Store:
    """An open store.

    Raises:
        StoreError: missing, damaged, or of a format, settings or front end that this batcache does not know.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.features, self.layout, self.attributes = read_attributes(path)
        self.index: Index = read_index(path, self.features.fingerprint, self.layout)
        self._check_shards()
        self._mapped: OrderedDict[int, tuple[NDArray[np.uint8], NDArray[np.uint64]]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Another process maps the shards itself."""
        return self.__dict__ | {"_mapped": OrderedDict()}

    def find(self, path: str) -> CachedRecording | None:
        """The row of a file, None where it is not in the store or failed.

        Raises:
            StoreError: a build of this file was interrupted and not run again.
        """
        rows = [row for row in self.index.by_path.get(path, ()) if not row.failure]
        if len(rows) > 1:
            raise StoreError(self.path, f"a build was stopped while it replaced {path}", "Run `batcache build` again")
        return rows[0] if rows else None

    def sources(self) -> Sources:
        """What the last build was given. Raises as ``read_sources``."""
        return read_sources(self.path)

    def read_instances(self, first: int, count: int) -> NDArray[np.float16]:
        """Read consecutive instances. Shape: ``[count, frames_per_instance, n_mels]``.

        Raises:
            StoreError: a chunk that is missing or whose bytes are not those that were committed.
        """
        out = np.empty((count, self.layout.frames_per_instance, self.layout.n_mels), "<f2")
        flat = out.view(np.uint8).reshape(count, self.layout.chunk_bytes)
        for i in range(count):
            shard, slot = divmod(first + i, self.layout.instances_per_shard)
            content, entries = self._map(shard)
            offset, stored = int(entries[slot, 0]), int(entries[slot, 1])
            if stored != self.layout.chunk_bytes + 4 or offset + stored > len(content):
                raise self._damage(first + i, "is missing from its shard")
            chunk = content[offset : offset + stored - 4]
            if google_crc32c.value(chunk) != self.index.commits[shard].crc32c[slot]:
                raise self._damage(first + i, "is damaged (its checksum does not match)")
            flat[i] = chunk
        return out

    def read_frames(self, row: CachedRecording, start: int = 0, stop: int | None = None) -> NDArray[np.float16]:
        """Read the real frames ``start`` to ``stop`` of a recording. Shape: ``[stop - start, n_mels]``."""
        stop = row.frames if stop is None else min(stop, row.frames)
        if stop <= start:
            return np.empty((0, self.layout.n_mels), np.float16)
        per = self.layout.frames_per_instance
        first, last = start // per, (stop - 1) // per
        instances = self.read_instances(row.first_instance + first, last - first + 1)
        return instances.reshape(-1, self.layout.n_mels)[start - first * per : stop - first * per]

    def _map(self, shard: int) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
        if shard in self._mapped:
            self._mapped.move_to_end(shard)
            return self._mapped[shard]
        place = shard_path(self.path, shard)
        try:
            with place.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            entries = parse_shard_index(memoryview(mapped), self.layout)
        except (OSError, ValueError) as error:
            raise StoreError(place, f"damaged shard ({error}), which holds {self._names(shard)}", _REMEDY) from None
        self._mapped[shard] = np.frombuffer(mapped, np.uint8), entries
        if len(self._mapped) > _MAPPED_SHARDS:
            self._mapped.popitem(last=False)
        return self._mapped[shard]

    def _check_shards(self) -> None:
        for shard, commit in self.index.commits.items():
            place = shard_path(self.path, shard)
            size = place.stat().st_size if place.exists() else None
            if size != commit.shard_bytes:
                finding = "missing shard" if size is None else f"shard of {size} bytes, committed {commit.shard_bytes}"
                raise StoreError(place, f"{finding}, which holds {self._names(shard)}", _REMEDY)

    def _damage(self, instance: int, finding: str) -> StoreError:
        rows = [r for r in self.index.recordings if r.first_instance <= instance < r.first_instance + r.instances]
        name = rows[0].path if rows else "no known recording"
        number = instance - rows[0].first_instance if rows else instance
        return StoreError(self.path, f"instance {number} of {name} {finding}", _REMEDY)

    def _names(self, shard: int) -> str:
        """The recordings that lie in a shard, or the first few of them."""
        per = self.layout.instances_per_shard
        return list_some(
            r.path
            for r in self.index.recordings
            if r.first_instance < (shard + 1) * per and r.first_instance + r.instances > shard * per
        )
