"""What several processes must not do at once: making a file, which is what a lock is made of, or changing one.

A file that only one of them can make appears together with its content: on a disk by a hard link to a temporary file
that is written before, in a bucket by a request that the object store carries out only where there is no such object.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from batcache.errors import StoreError
from batcache.storage.disk import temporary_name
from batcache.storage.place import Place, is_remote

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt


def create_exclusively(place: Place, content: bytes) -> bool:
    """Write a file unless there is one of this name; return whether it was written.

    Of several processes that try at once, one is told True. Their contents must differ: in a bucket a process knows
    its own file by them.

    Raises:
        StoreError: the folder cannot be written.
    """
    if is_remote(place):  # a server that knows no conditions writes over what is there
        return not place.exists() and place.create_exclusively(content) and place.read_bytes() == content
    whole = temporary_name(place)
    try:
        whole.write_bytes(content)
        try:
            os.link(whole, place)
        except (FileExistsError, FileNotFoundError):
            return False
        except OSError:  # no links on this file system; Windows' rename does not replace
            return _create_in_two_steps(place, content)
        return True
    except OSError as error:
        raise StoreError.of_disk(place.parent, "cannot be written", error) from None
    finally:
        with suppress(OSError):  # not made
            whole.unlink()


def _create_in_two_steps(place: Path, content: bytes) -> bool:
    try:
        file = place.open("xb")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(content)
    except BaseException:  # half a lock would stop every later build
        place.unlink()
        raise
    return True


def remove_checked(place: Place, check: Callable[[bytes], None]) -> None:
    """Remove a file, once ``check`` has seen its content and raised nothing. No file, nothing to do.

    Were two processes to find the same stale lock, the second could remove the lock that the first has made since. So
    on a disk a file is removed only by the process that has the system's own lock on that very file, and only while
    the name still stands for it. In a bucket two that start at the same moment are not kept apart.
    """
    if fcntl is None or is_remote(place):
        _move_aside(place, check)
        return
    with suppress(FileNotFoundError), place.open("r+b") as file:  # none: just released
        check(file.read())
        with suppress(OSError):  # a network disk may not know such locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.samestat(os.fstat(file.fileno()), place.stat()):
            place.unlink()


def _move_aside(place: Place, check: Callable[[bytes], None]) -> None:
    """The same where an open file cannot be removed: it is renamed first, and put back if it is another's."""
    try:
        found = place.read_bytes()
    except FileNotFoundError:
        return  # just released
    check(found)
    if is_remote(place):
        place.unlink()
        return
    aside = temporary_name(place)
    with suppress(FileNotFoundError, FileExistsError):  # a third was quicker still, and Windows does not replace
        place.rename(aside)
        if aside.read_bytes() != found:
            aside.rename(place)  # another process was quicker: this is its file
        else:
            aside.unlink()


_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def lock_file(place: Path, *, wait: bool = True) -> Iterator[None]:
    """Wait until nobody else is within such a block for this file, which is made and stays, empty.

    Raises:
        BlockingIOError: somebody is, and ``wait`` is False.
        OSError: it cannot be made. Where its file system knows no locks, nobody is kept out.
    """
    handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(handle, wait)
        yield
    finally:
        os.close(handle)  # and the lock goes


def _lock(handle: int, wait: bool) -> None:
    if os.name != "nt":
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        return
    while True:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            return
        except PermissionError as error:  # held by another
            if not wait:
                raise BlockingIOError(*error.args) from None
            time.sleep(0.05)
