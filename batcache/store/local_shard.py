"""A shard in a bucket of which copies are kept on this disk, in files of many chunks.

A copy is known by the store, the shard and the checksums of all chunks in the shard's commit record: one of a shard
that was built anew or pruned since has another name, is never read again and goes as the least recently used. Chunks
that are read from a copy are verified as all others are; a copy that fails is dropped and the bucket asked.
"""

import hashlib
from array import array
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from batcache.storage.local_cache import LocalCache
from batcache.storage.s3 import S3Path
from batcache.store.shard_reader import RemoteShard

_FEW_CHUNKS = 10  # a copy's, where copies of the whole store do not fit: those of five seconds


@dataclass(frozen=True)
class LocalShard:
    """Chunks from copies of ``chunks_a_copy`` chunks, else from the bucket, of whose answer copies are kept."""

    remote: RemoteShard
    cache: LocalCache
    name: str
    used: int
    chunks_a_copy: int
    fetching: Lock = field(default_factory=Lock)

    @property
    def missing(self) -> NDArray[np.bool_]:
        """As of ``RemoteShard``."""
        return self.remote.missing

    def read(self, slot: int, count: int) -> NDArray[np.uint8]:
        """Read ``count`` chunks from ``slot`` on, in one request at most. Raises as ``RemoteShard.read``, and
        StoreError where the disk refuses."""
        out = np.empty((count, self.remote.stored_bytes), np.uint8)
        copies = range(slot // self.chunks_a_copy, -(-(slot + count) // self.chunks_a_copy))
        missing = [copy for copy in copies if not self._read_copy(copy, slot, out)]
        if missing:
            with self.fetching:  # of two threads that want the same copy one asks for it
                missing = [copy for copy in missing if not self._read_copy(copy, slot, out)]
                if missing:
                    self._fetch(missing[0], missing[-1], slot, out)
        return out

    def read_anew(self, slot: int, count: int) -> NDArray[np.uint8]:
        """As ``read``, from the bucket, without the copies that hold these chunks: they are dropped."""
        for copy in range(slot // self.chunks_a_copy, -(-(slot + count) // self.chunks_a_copy)):
            self.cache.drop(self._name(copy))
        return self.remote.read(slot, count)

    def _read_copy(self, copy: int, slot: int, out: NDArray[np.uint8]) -> bool:
        begin, end = max(slot, self._begin(copy)), min(slot + len(out), self._begin(copy + 1))
        into = out[begin - slot : end - slot].reshape(-1).data
        return self.cache.read(self._name(copy), (begin - self._begin(copy)) * self.remote.stored_bytes, into)

    def _fetch(self, first: int, last: int, slot: int, out: NDArray[np.uint8]) -> None:
        begin, end = self._begin(first), self._begin(last + 1)
        chunks = self.remote.read(begin, end - begin)
        for copy in range(first, last + 1):
            part = chunks[self._begin(copy) - begin : self._begin(copy + 1) - begin]
            self.cache.keep(self._name(copy), part.reshape(-1).data)
        start, stop = max(slot, begin), min(slot + len(out), end)
        out[start - slot : stop - slot] = chunks[start - begin : stop - begin]

    def _begin(self, copy: int) -> int:
        return min(copy * self.chunks_a_copy, self.used)

    def _name(self, copy: int) -> str:
        return f"{self.name}.{self._begin(copy)}-{self._begin(copy + 1)}"


def keep_locally(
    shard: RemoteShard, cache: LocalCache, crc32c: "array[int]", store_bytes: int, chunks_a_shard: int
) -> LocalShard:
    """The same shard with copies of it kept.

    They are of whole shards where the store, of ``store_bytes``, fits into the cache: that takes the fewest requests.
    Else nothing is fetched that was not asked for, but for the rest of five seconds.
    """
    chunks_a_copy = chunks_a_shard if store_bytes <= cache.most_bytes else _FEW_CHUNKS
    return LocalShard(shard, cache, _identify(shard.place, crc32c), len(crc32c), chunks_a_copy)


def _identify(place: S3Path, crc32c: "array[int]") -> str:
    """What a shard's copies are called: a hash of where it lies and of what its commit record says of its bytes."""
    text = hashlib.sha256(f"{place.endpoint}\n{place}\n".encode())
    text.update(np.asarray(crc32c, "<u4").tobytes())
    return text.hexdigest()[:32]
