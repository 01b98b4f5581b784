"""Reading a store: every promise of the index checked at opening, every chunk's checksum at reading.

A shard is mapped into memory once and its index parsed once; an instance is then one checksum and one copy. In a bucket
consecutive instances are one request. Threads may share a store. A build or prune may run meanwhile: what it has
changed since the store was opened is told from damage by reading the shard's commit record again.
"""

from array import array
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from threading import Lock
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from batcache.errors import ChangedStoreError, StoreError, did_you_mean, list_some, remedy_for
from batcache.storage.place import Place, is_remote
from batcache.store.format.attributes import read_attributes
from batcache.store.format.commit import CachedRecording
from batcache.store.format.index import Index, read_index, was_replaced
from batcache.store.format.last_build import LastBuild, read_last_build
from batcache.store.format.layout import say_how_to_mend
from batcache.store.format.shard import shard_path, shard_sizes
from batcache.store.local_shard import LocalShard, keep_locally
from batcache.store.shard_reader import MappedShard, RemoteShard, open_shard

_MAPPED_SHARDS = 512
_OPENINGS = 5
OpenShard = MappedShard | RemoteShard | LocalShard


class Store:
    """An open store.

    Raises:
        StoreError: missing, damaged, or of a format, settings or front end that this batcache does not know.
    """

    def __init__(self, path: Place) -> None:
        self.path = path
        self.features, self.layout, self.attributes = read_attributes(path)
        self._read_index()
        self.__setstate__({})

    def _read_index(self) -> None:
        """Read the commit records and check the shards, again where a build or prune changes them meanwhile."""
        for left in reversed(range(_OPENINGS)):
            self.index: Index = read_index(self.path, self.fingerprint, self.layout)
            try:
                self._check_shards()
                break
            except ChangedStoreError:
                if not left:
                    raise

    def __getstate__(self) -> dict[str, Any]:
        """Another process maps the shards itself."""
        return {name: value for name, value in vars(self).items() if name not in ("_mapped", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._mapped: OrderedDict[int, OpenShard] = OrderedDict()
        self._lock = Lock()  # several threads may read

    @property
    def fingerprint(self) -> str:
        """Of its features. Where it differs from ``features.fingerprint``, an earlier front end computed them."""
        return str(self.attributes["fingerprint"])

    @property
    def front_end_version(self) -> int:
        """Of the front end that computed its features."""
        version = self.features.find_version(self.fingerprint)
        assert version is not None, "one is known, or it would not be open"
        return version

    @property
    def on_disk(self) -> str:
        """How much room the store takes, in words."""
        return f"{self._bytes / 1e6:,.1f} MB in {len(self.index.commits):,} shards"

    @cached_property
    def _bytes(self) -> int:
        return sum(commit.shard_bytes for commit in self.index.commits.values())

    def find(self, path: str) -> CachedRecording | None:
        """The row of a file, None where it is not in the store or failed.

        Raises:
            StoreError: a build of this file was interrupted and not run again.
        """
        rows = self.index.by_path.get(path, ())
        if len(rows) == 1 and not rows[0].failure:  # nearly always
            return rows[0]
        rows = tuple(row for row in rows if not row.failure)
        if len(rows) > 1:
            raise StoreError(self.path, f"a build was stopped while it replaced {path}", "Run `batcache build` again")
        return rows[0] if rows else None

    def last_build(self) -> LastBuild:
        """What the last build was given. Raises as ``read_last_build``."""
        return read_last_build(self.path)

    def frames(self, path: str) -> NDArray[np.float16]:
        """All frames of a recording. Shape: ``[frames, n_mels]``.

        Raises:
            StoreError: no such recording, or damage.
        """
        return self.read_frames(self._find(path))

    def bag(self, path: str, instance_s: float | None = None) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        """A recording cut into instances, and which of its frames are real: the last instance is padded with 0.

        ``instance_s`` is their length in true seconds, by default that which the store was built with.

        Shape: ``[instances, frames_per_instance, n_mels]``, ``[instances, frames_per_instance]``. Raises as ``frames``.
        """
        frames = self.frames(path)
        per = self.layout.frames_per_instance
        if instance_s is not None:
            per = max(1, round(instance_s * self.features.frames_per_second))
        count = max(1, -(-len(frames) // per))
        bag = np.zeros((count * per, self.layout.n_mels), np.float16)
        bag[: len(frames)] = frames
        real = np.arange(count * per) < len(frames)
        return bag.reshape(count, per, -1), real.reshape(count, per)

    def table(self) -> dict[str, NDArray[Any]]:
        """The index: a column by name for each fact of the recordings, a row for each, as a DataFrame wants them."""
        rows = list(self.index.recordings)
        return {name: np.array([getattr(row, name) for row in rows]) for name in CachedRecording.__struct_fields__}

    def _find(self, path: str) -> CachedRecording:
        row = self.find(path)
        if row is not None:
            return row
        for failed in self.index.by_path.get(path, ()):
            raise StoreError(self.path, f"{path} could not be computed: {failed.failure}", "See to it and build again")
        raise StoreError(self.path, f"has no recording {path}", did_you_mean(path, self.index.by_path))

    def read_instances(self, first: int, count: int) -> NDArray[np.float16]:
        """Read consecutive instances. Shape: ``[count, frames_per_instance, n_mels]``.

        Raises:
            StoreError: a chunk is missing, or its bytes are not those that were committed; or it cannot be read.
            ChangedStoreError: for the same reason, where a build, prune or repair has replaced the shard meanwhile.
        """
        out = np.empty((count, self.layout.frames_per_instance, self.layout.n_mels), np.float16)
        self._copy(first, out)
        return out

    def read_frames(
        self, row: CachedRecording, start: int = 0, stop: int | None = None, out: NDArray[np.float16] | None = None
    ) -> NDArray[np.float16]:
        """Read the real frames ``start`` to ``stop`` of a recording, into ``out`` if given. Raises as
        ``read_instances``.

        Shape: ``[stop - start, n_mels]``.
        """
        stop = row.frames if stop is None else min(stop, row.frames)
        if out is None:
            out = np.empty((max(0, stop - start), self.layout.n_mels), np.float16)
        per, done = self.layout.frames_per_instance, start
        if is_remote(self.path) and start < stop:  # one request, wherever the span is cut
            instance, within = divmod(start, per)
            count = -(-stop // per) - instance
            frames = self.read_instances(row.first_instance + instance, count).reshape(-1, self.layout.n_mels)
            out[: stop - start] = frames[within:][: stop - start]
            return out
        while done < stop:
            instance, within = divmod(done, per)
            whole = 0 if within else (stop - done) // per
            if whole:
                count = whole * per
                self._copy(row.first_instance + instance, out[done - start :][:count].reshape(whole, per, -1))
            else:
                count = min(per - within, stop - done)
                frames = self.read_instances(row.first_instance + instance, 1)[0]
                out[done - start :][:count] = frames[within:][:count]
            done += count
        return out

    def _copy(self, first: int, out: NDArray[np.float16]) -> None:
        """Fill ``out`` with consecutive instances, then verify each one's checksum there."""
        size, per_shard = self.layout.chunk_bytes, self.layout.instances_per_shard
        flat = out.reshape(len(out), -1).view(np.uint8)
        done = 0
        while done < len(out):
            shard, slot = divmod(first + done, per_shard)
            chunks = self._map(shard)
            count = min(len(out) - done, per_shard - slot)
            missing = chunks.missing[slot : slot + count]
            if missing.any():
                raise self._damage(first + done + int(missing.argmax()), "is missing from its shard")
            into, crcs = flat[done : done + count], self.index.commits[shard].crc32c[slot : slot + count]
            into[:] = self._read(chunks.read, shard, slot, count)[:, :size]
            damaged = _find_damaged(into, crcs)
            if damaged is not None and isinstance(chunks, LocalShard):
                into[:] = self._read(chunks.read_anew, shard, slot, count)[:, :size]
                damaged = _find_damaged(into, crcs)
            if damaged is not None:
                raise self._damage(first + done + damaged, "is damaged (its checksum does not match)")
            done += count

    def _read(
        self, read: Callable[[int, int], NDArray[np.uint8]], shard: int, slot: int, count: int
    ) -> NDArray[np.uint8]:
        try:
            return read(slot, count)
        except (OSError, ValueError) as error:
            raise self._damaged_shard(shard, error) from None

    def _map(self, shard: int) -> OpenShard:
        with self._lock:
            if shard not in self._mapped:
                try:
                    self._mapped[shard] = self._open_shard(shard)
                except (OSError, ValueError) as error:
                    raise self._damaged_shard(shard, error) from None
                if len(self._mapped) > _MAPPED_SHARDS:
                    self._mapped.popitem(last=False)
            self._mapped.move_to_end(shard)
            return self._mapped[shard]

    def _open_shard(self, shard: int) -> OpenShard:
        crcs = self.index.commits[shard].crc32c
        opened = open_shard(self.path, shard, len(crcs), self.layout)
        if isinstance(opened, MappedShard) or opened.place.local is None:
            return opened
        return keep_locally(opened, opened.place.local, crcs, self._bytes, self.layout.instances_per_shard)

    def _check_shards(self) -> None:
        size_of = shard_sizes(self.path)
        for shard, commit in self.index.commits.items():
            size = size_of(shard)
            if size != commit.shard_bytes:
                finding = "missing shard" if size is None else f"shard of {size} bytes, committed {commit.shard_bytes}"
                raise self._fault(shard, f"{finding}, which holds {self._names(shard)}")

    def _damaged_shard(self, shard: int, error: Exception) -> StoreError:
        place, holds = shard_path(self.path, shard), f"which holds {self._names(shard)}"
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            remedy = remedy_for(error, "See to the disk and try again")
            return StoreError(place, f"cannot be read ({error.strerror}), {holds}", remedy)
        return self._fault(shard, f"damaged shard ({error}), {holds}")

    def _fault(self, shard: int, finding: str) -> StoreError:
        """The error for a shard that is not what the record says that was read at opening."""
        place = shard_path(self.path, shard)
        if was_replaced(self.path, self.index.commits[shard]):
            finding = f"was built, pruned or repaired since it was opened: shard {shard} is not the same any more"
            return ChangedStoreError(self.path, finding, "Run the command again, a training with --resume")
        return StoreError(place, finding, say_how_to_mend(place, f"{shard}.json"))

    def _damage(self, instance: int, finding: str) -> StoreError:
        rows = [r for r in self.index.recordings if r.first_instance <= instance < r.first_instance + r.instances]
        name = rows[0].path if rows else "no known recording"
        number = instance - rows[0].first_instance if rows else instance
        return self._fault(instance // self.layout.instances_per_shard, f"instance {number} of {name} {finding}")

    def _names(self, shard: int) -> str:
        """The recordings that lie in a shard, or the first few of them."""
        per = self.layout.instances_per_shard
        return list_some(
            r.path
            for r in self.index.recordings
            if r.first_instance < (shard + 1) * per and r.first_instance + r.instances > shard * per
        )


def _find_damaged(chunks: NDArray[np.uint8], crc32c: "array[int]") -> int | None:
    """The first of these chunks that does not have the checksum that was committed."""
    return next((i for i, crc in enumerate(crc32c) if google_crc32c.value(chunks[i]) != crc), None)
