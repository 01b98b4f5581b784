"""One builder a store: a small file in it says who builds, and goes when the build ends.

The file is made together with its content, or not at all, and only where there is none. A builder that was killed
leaves it behind: on the same machine the next one sees that the process is gone and takes over; of another machine, or
a container with process numbers of its own, only the user can know.
"""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psutil

from batcache.errors import StoreError, UnreachableError
from batcache.storage.disk import remove_partials
from batcache.storage.exclusive import create_exclusively, remove_checked
from batcache.storage.place import Place

LOCK = "building.json"
_held: set[str] = set()
"""Tokens of the locks that this process holds."""
_FIRST_NAMESPACE = "pid:[4026531836]"
"""Linux' name for the process numbers of a machine itself, as opposed to a container's."""


@contextmanager
def hold(store: Place, lock: str = LOCK, doing: str = "built") -> Iterator[str]:
    """Be the only process that changes a store, until the block ends; gives what the hold is known by.

    Other folders are held alike, by a ``lock`` of another name; ``doing`` says in one word what is done to them.

    Raises:
        StoreError: another process holds the store, or nothing can be written there. The error says which process,
            since when, and how to break the lock where that process is gone.
    """
    place, token = store / lock, uuid4().hex
    mine = json.dumps(
        {
            **_describe_here(),
            "process": os.getpid(),
            "process_began": _began(os.getpid()),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "token": token,
        }
    ).encode()
    _held.add(token)
    try:
        while not create_exclusively(place, mine):
            remove_checked(place, lambda found: _require_gone(place, found, doing))
        remove_partials(place)  # of builders that were killed while they made a lock; one that makes one tries again
        yield token
    finally:
        _held.discard(token)
        with suppress(OSError, StoreError):  # else it is found stale: this process does not hold it any more
            if place.read_bytes() == mine:
                place.unlink()


def require_held(store: Place, token: str) -> None:
    """Check that a store is still held as it was when ``hold`` gave this token: also from another machine.

    Raises:
        StoreError: that hold has ended.
    """
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        if json.loads((store / LOCK).read_bytes())["token"] == token:
            return
    raise StoreError(store, "the build that asked for this has ended", "")


def require_idle(store: Place) -> None:
    """Check that no process is changing a store. A lock whose process is gone does not count.

    Raises:
        StoreError: a process is; says which, since when. UnreachableError: the disk does not tell.
    """
    place = store / LOCK
    try:
        _require_gone(place, place.read_bytes(), "built")
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise UnreachableError.of_disk(place, "cannot be read", error) from None


def was_abandoned(folder: Path, lock: str) -> bool:
    """Whether a folder has a lock of this name whose process is gone: it was killed.

    Raises:
        OSError: the disk does not tell.
    """
    try:
        _require_gone(folder / lock, (folder / lock).read_bytes(), "held")
    except (FileNotFoundError, StoreError):
        return False
    return True


def _require_gone(place: Place, found: bytes, doing: str) -> None:
    idle = "nothing builds this store" if doing == "built" else f"it is not {doing}"
    remedy = f"Wait for it; if {idle} any more, delete {place}"
    here = _describe_here()
    try:
        holder = json.loads(found)
        there = {name: str(holder[name]) for name in here}
        process, began, since = int(holder["process"]), float(holder["process_began"]), holder["since"]
        if process < 1:
            raise ValueError(process)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise StoreError(place.parent, f"is being {doing} by a process that cannot be told", remedy) from None
    if there == here:
        if not _runs(process, began) or (process == os.getpid() and holder.get("token") not in _held):
            return  # gone, or an earlier build of this process that could not remove it
    elif there == here | {"boot": there["boot"]} and here["machine"] and here["processes"] == _FIRST_NAMESPACE:
        return  # this machine was started anew since
    if there == here:
        where = "of this machine"
    elif there["host"] == here["host"]:
        where = f"of another machine or container named {there['host']}"
    else:
        where = f"on {there['host']}"
    raise StoreError(place.parent, f"is being {doing} by process {process} {where} since {since}", remedy)


def _describe_here() -> dict[str, str]:
    """Where a process number means what it means here; what only Linux can tell is empty elsewhere."""

    def read(place: str) -> str:
        try:
            return Path(place).read_text(encoding="ascii").strip()
        except OSError:
            return ""

    try:
        processes = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        processes = ""
    return {
        "host": socket.gethostname(),
        "machine": read("/etc/machine-id"),
        "boot": read("/proc/sys/kernel/random/boot_id"),
        "processes": processes,
    }


def _runs(process: int, began: float) -> bool:
    """Whether the process of this number that began then runs. One that cannot be looked at may be it."""
    try:
        if sys.platform == "linux":
            with suppress(PermissionError):  # it runs, as another user
                os.kill(process, 0)
        return abs(_began(process) - began) <= 1
    except (ProcessLookupError, psutil.NoSuchProcess, OverflowError):
        return False
    except (OSError, psutil.Error):
        return True


def _began(process: int) -> float:
    """When a process began, in seconds since 1970 as psutil gives them. On Linux these move whenever the clock is set:
    there it is in clock ticks since the machine started."""
    if sys.platform == "linux":
        return float(Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()[19])
    return psutil.Process(process).create_time()
