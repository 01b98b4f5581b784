"""Writing that survives being killed: a file is either whole and in place, or not there.

Every file of a store or run is written under a temporary name, flushed to the disk, renamed, and its folder flushed.
On S3 an upload has all of that.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from batcache.errors import StoreError
from batcache.storage.s3 import Place, S3Path

PARTIAL = ".partial"


@contextlib.contextmanager
def replacing(path: Place) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the place of ``path`` once the block ends without an error.

    Raises:
        OSError: naming ``path`` where the system names no file, as when a disk is full; for S3 the folder of temporary
            files, which it is that is full.
    """
    if isinstance(path, S3Path):
        try:
            with tempfile.TemporaryFile() as file:
                yield file
                file.seek(0)
                path.upload(file)
        except OSError as error:
            error.filename = error.filename or tempfile.gettempdir()
            raise
        return
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # what went wrong first is what matters
            partial.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(partial)):
            error.filename = str(path)
        raise
    for folder in (path.parent, *(new.parent for new in made)):
        sync(folder)


def write_file(path: Place, content: bytes) -> None:
    """Write a whole file, or leave what was there."""
    if isinstance(path, S3Path):
        path.write_bytes(content)
        return
    with replacing(path) as file:
        file.write(content)


def free_bytes(place: Place) -> int | None:
    """What is free on the disk of a file or folder, which need not be there yet; None where nobody can tell: on S3."""
    if isinstance(place, S3Path):
        return None
    there = next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def require_room(place: Place, size: int, remedy: str) -> None:
    """See that so many bytes are free.

    Raises:
        StoreError: fewer are; says both numbers.
    """
    free = free_bytes(place)
    if free is not None and size > free:
        raise StoreError(place, f"{size / 1e6:,.2f} MB to write, {free / 1e6:,.2f} MB free", remedy)


def reserve(file: BinaryIO, size: int) -> None:
    """Give a file its room beforehand, where the system can: no later write within it then finds the disk full.

    Raises:
        OSError: there is no such room.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that knows no such thing
                raise


def remove_tree(path: Place) -> None:
    """Remove a folder and all that is in it."""
    if isinstance(path, S3Path):
        path.remove_tree()
    else:
        shutil.rmtree(path)


def sync(path: Path) -> None:
    """Flush a file, or a folder's entries, so that a rename in it outlives a power cut. Windows flushes by itself."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
