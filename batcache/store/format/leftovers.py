"""What a killed build leaves behind: partial files, records that do not count, shards without a record."""

import glob
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from batcache.storage.disk import PARTIAL, remove_tree
from batcache.storage.s3 import Place
from batcache.store.format.index import Index

_BEING_MADE_S = 3600
"""A store is made in seconds, before it has a lock: what is younger than this may be another process's, at work."""


def remove_leftovers(cache: Place, index: Index) -> None:
    """Remove them. What vanishes meanwhile is gone too."""
    for file in _files(cache, index):
        file.unlink(missing_ok=True)
    for made in _half_made(cache):
        shutil.rmtree(made, ignore_errors=True)  # beside the store: in nobody's way if it stays
    for shard in _shards(cache, index):
        with suppress(FileNotFoundError):
            remove_tree(shard)


def count_leftovers(cache: Place, index: Index) -> int:
    """How many bytes removing them gives back. On S3, where nobody can tell what is free, 0."""
    if not isinstance(cache, Path):
        return 0
    total, left = 0, (*_files(cache, index), *_half_made(cache), *_shards(cache, index))
    for there in (place for place in left if isinstance(place, Path)):
        for place in (there, *there.rglob("*")):
            with suppress(FileNotFoundError):
                total += place.stat().st_size if place.is_file() else 0
    return total


def _files(cache: Place, index: Index) -> Iterator[Place]:
    for folder in (cache, cache / "instances", cache / "commits"):
        yield from folder.glob(f"*{PARTIAL}")
    for record in (cache / "commits").glob("*.json"):
        if record.stem.isdecimal() and int(record.stem) not in index.commits:
            yield record


def _shards(cache: Place, index: Index) -> Iterator[Place]:
    for shard in (cache / "instances" / "c").glob("*"):
        if shard.name.isdecimal() and int(shard.name) not in index.commits:  # a file manager may have been here
            yield shard


def _half_made(cache: Place) -> Iterator[Path]:
    """Stores whose making was killed."""
    if not isinstance(cache, Path):
        return
    for made in cache.parent.glob(f"{glob.escape(cache.name)}.{'[0-9a-f]' * 32}{PARTIAL}"):
        with suppress(FileNotFoundError):
            if time.time() - made.stat().st_mtime > _BEING_MADE_S:
                yield made
