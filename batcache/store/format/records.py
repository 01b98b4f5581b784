"""Commit records as files: listed, removed, and missed where there must be some.

A store without any record holds nothing, and what lies in its shards is what a killed build left, to be removed. But
records also are not there where someone has moved them away, or a disk has lost them: then the shards are all that is
left. ``committed.json`` tells the two apart: it says whether the store has records. Stores that were built before there
was such a file have them if a build has ended (``last_build.json``).
"""

import json
from collections.abc import Collection

from batcache.errors import StoreError, count
from batcache.storage.disk import sync, write_file
from batcache.storage.listing import is_there, list_folder
from batcache.storage.place import Place, is_remote

COMMITTED = "committed.json"
LAST_BUILD = "last_build.json"


def list_records(store: Place) -> dict[int, Place]:
    """Where the record of each shard lies, by the shard's number.

    Raises:
        UnreachableError: the disk or the object store does not list them. Nothing is known of the store then.
    """
    listed = list_folder(store / "commits", "*.json")
    return {int(place.stem): place for place in listed if place.stem.isdecimal()}  # macOS leaves ._0.json beside 0.json


def list_shards(store: Place) -> dict[int, Place]:
    """The folder of each shard, committed or not, by its number. Raises as ``list_records``."""
    listed = list_folder(store / "instances" / "c")
    return {int(place.name): place for place in listed if place.name.isdecimal()}  # a file manager may have been here


def require_records(store: Place) -> None:
    """Check that a store whose shards were committed has not lost all of its records.

    Raises:
        StoreError: it has; or as of ``list_records``.
    """
    if not list_records(store) and (shards := list_shards(store)) and _has_committed(store):
        finding = f"holds {count(len(shards), 'shard')} and no commit record: who knows what is in them is lost"
        remedy = f"Bring {store / 'commits'} back, or from a copy; or delete the store, and all is computed anew"
        raise StoreError(store, finding, remedy)


def note_committed(store: Place, has_records: bool) -> None:
    """Write down whether a store has records, where that does not stand there yet.

    Raises:
        OSError: the disk refuses.
        UnreachableError: the object store cannot be reached or refuses.
    """
    content = json.dumps({"has_records": has_records}).encode()
    place = store / COMMITTED
    if _read(place) != content:
        write_file(place, content)


def withdraw(store: Place, shards: Collection[int]) -> None:
    """Remove the records of shards, for good before anything else is done. Raises as ``note_committed``."""
    there = list_records(store)
    gone = there.keys() & {*shards}
    if not gone:
        return
    if not there.keys() - gone:
        note_committed(store, has_records=False)  # first: killed in between, what is left is a killed build's
    for shard in sorted(gone):
        there[shard].unlink(missing_ok=True)
    folder = store / "commits"
    if not is_remote(folder):
        sync(folder)


def _has_committed(store: Place) -> bool:
    said = _read(store / COMMITTED)
    if said is None:
        return is_there(store / LAST_BUILD)
    try:
        return bool(json.loads(said)["has_records"])
    except (ValueError, TypeError, KeyError):
        return True  # damaged: nothing is deleted by it


def _read(place: Place) -> bytes | None:
    try:
        return place.read_bytes()
    except FileNotFoundError:
        return None
