"""What a killed build leaves behind: temporary files, records that do not count, shards without a record."""

import glob
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from batcache.storage.disk import PARTIAL, remove_tree
from batcache.storage.listing import is_folder, list_folder, walk_folder
from batcache.storage.place import Place, is_remote
from batcache.store.format.index import Index
from batcache.store.format.records import list_records, list_shards, require_records, withdraw

_BEING_MADE_S = 3600
"""A store is made in seconds, before it has a lock: what is younger than this may be another process's, at work."""


def remove_leftovers(cache: Place, index: Index) -> None:
    """Remove all that a killed build, repair or prune left in a store, and beside it. The caller holds the store.

    What another process removes at the same time is passed over.

    Raises:
        StoreError: all records are lost, or records or shards cannot be listed (UnreachableError): nothing is removed.
        OSError: something cannot be removed.
    """
    require_records(cache)
    shards = _shards(cache, index)
    remove_temporary_files(cache)
    withdraw(cache, _records(cache, index).keys())
    for made in _half_made(cache):
        shutil.rmtree(made, ignore_errors=True)  # beside the store: in nobody's way if it stays
    for shard in shards:
        with suppress(FileNotFoundError):
            remove_tree(shard)


def remove_temporary_files(cache: Place) -> None:
    """Remove the temporary files in a store whose writers were killed. The caller holds the store: nobody writes one.

    Raises:
        OSError: one cannot be removed.
    """
    for file in _temporary_files(cache):
        file.unlink(missing_ok=True)


def count_leftovers(cache: Place, index: Index) -> int:
    """How many bytes ``remove_leftovers`` gives back. On S3, where nobody can tell what is free, 0."""
    if is_remote(cache):
        return 0
    total = 0
    left = (*_temporary_files(cache), *_records(cache, index).values(), *_half_made(cache), *_shards(cache, index))
    for there in (place for place in left if not is_remote(place)):
        for place in walk_folder(there) if is_folder(there) else (there,):
            with suppress(FileNotFoundError):
                total += place.stat().st_size
    return total


def _temporary_files(cache: Place) -> Iterator[Path]:
    """Also those of shards that are committed, which a killed repair leaves. In a bucket there are none."""
    if is_remote(cache):
        return
    for folder in (cache, cache / "instances", cache / "commits"):
        yield from list_folder(folder, f"*{PARTIAL}")
    for shard in list_folder(cache / "instances" / "c"):
        yield from list_folder(shard / "0", f"*{PARTIAL}")


def _records(cache: Place, index: Index) -> dict[int, Place]:
    """Commit records that do not count: of a long recording some of whose shards lack theirs."""
    return {shard: place for shard, place in list_records(cache).items() if shard not in index.commits}


def _shards(cache: Place, index: Index) -> list[Place]:
    """Folders of shards that have no record that counts."""
    return [place for shard, place in list_shards(cache).items() if shard not in index.commits]


def _half_made(cache: Place) -> Iterator[Path]:
    """Folders beside the store in which the same store was being made by a process that was killed."""
    if is_remote(cache):
        return
    for made in list_folder(cache.parent, f"{glob.escape(cache.name)}.{'[0-9a-f]' * 32}{PARTIAL}"):
        with suppress(FileNotFoundError):
            if time.time() - made.stat().st_mtime > _BEING_MADE_S:
                yield made
