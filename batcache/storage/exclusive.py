"""One process at a time: a lock on a file, which the system gives back when its holder ends, however it ends."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """Wait until nobody else is within such a block for this file, which is made and stays, empty.

    Raises:
        OSError: it cannot be made, or its file system knows no locks.
    """
    handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)  # and the lock goes


def _lock(handle: int) -> None:
    if os.name != "nt":
        fcntl.flock(handle, fcntl.LOCK_EX)
        return
    while True:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            return
        except PermissionError:  # held by another
            time.sleep(0.05)
