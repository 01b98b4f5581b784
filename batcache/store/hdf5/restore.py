"""Making a store from an exported HDF5 file, without any recording: safe to kill, as a build is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batcache.errors import StoreError
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.storage.disk import require_room
from batcache.storage.listing import is_there
from batcache.storage.place import Place
from batcache.store.build.target import create
from batcache.store.build.writers import write_shard
from batcache.store.format.array import array_length, resize
from batcache.store.format.attributes import own_attributes, read_attributes
from batcache.store.format.commit import write_commit
from batcache.store.format.index import Index, read_index
from batcache.store.format.last_build import write_unknown_last_build
from batcache.store.format.leftovers import remove_leftovers
from batcache.store.format.lock import hold
from batcache.store.format.records import LAST_BUILD, note_committed
from batcache.store.hdf5.reader import Hdf5Store


@dataclass(frozen=True)
class Restored:
    """``recordings`` counts rows, ``already_there`` the shards that an earlier, stopped run had committed."""

    cache: Place
    recordings: int
    instances: int
    already_there: int


def restore(source: Path, cache: Place, *, on_progress: OnProgress = ignore_progress) -> Restored:
    """Make the store that ``source`` was exported from, at ``cache``.

    Stopped, it goes on where it was. Slots that no recording used are gone; but for them the store is the same, byte
    for byte. Where its CSVs lie is not known, until they are built into it.

    Raises:
        StoreError: the file is damaged, the cache holds anything else, or has no room.
    """
    store = Hdf5Store(source)
    create(cache, store.features, store.layout, own_attributes(store.attributes))
    _read_begun(cache, store)  # before anything is written there
    with hold(cache):
        index = _read_begun(cache, store)
        wanted = store.index.commits
        remove_leftovers(cache, index)
        missing = [commit.shard_bytes for shard, commit in wanted.items() if shard not in index.commits]
        require_room(cache, sum(missing), "Free some space, or pass another --cache")
        if not index.commits:
            note_committed(cache, has_records=False)
        used = [(shard, len(commit.crc32c)) for shard, commit in wanted.items()]
        resize(cache, array_length(used, store.layout))
        total = sum(count for _, count in used)
        done = sum(len(commit.crc32c) for commit in index.commits.values())
        for shard, commit in wanted.items():
            if shard in index.commits:
                continue
            written = write_shard(cache, shard, _instances(store, shard), store.layout)
            assert written == (commit.shard_bytes, commit.crc32c)
            write_commit(cache, commit)
            done += len(commit.crc32c)
            on_progress(Progress("restore", done, total))
        if not is_there(cache / LAST_BUILD):
            write_unknown_last_build(cache, store.last_build().rejected)
    return Restored(cache, sum(1 for _ in store.index.recordings), total, len(index.commits))


def _read_begun(cache: Place, store: Hdf5Store) -> Index:
    """What of the store is there already; anything else is an error, before anything is touched."""
    _, layout, attributes = read_attributes(cache)
    same = attributes["fingerprint"] == store.fingerprint and layout == store.layout
    index = read_index(cache, attributes["fingerprint"], layout)
    if not same or any(store.index.commits.get(shard) != commit for shard, commit in index.commits.items()):
        finding = f"holds something else than {store.path} does"
        raise StoreError(cache, finding, "Pass a --cache that is not there yet")
    return index


def _instances(store: Hdf5Store, shard: int) -> Iterator[NDArray[np.float16]]:
    first = shard * store.layout.instances_per_shard
    for instance in range(first, first + len(store.index.commits[shard].crc32c)):
        yield store.read_instances(instance, 1)[0]
