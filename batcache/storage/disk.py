"""Writing that survives being killed: a file is either whole and in place, or not there.

Every file of a store or run is written under a temporary name of its own, flushed to the disk, renamed, and its folder
flushed. Several processes may replace one file at the same time: each succeeds, and the last one's content stays. In a
bucket an upload does all of that.
"""

import contextlib
import errno
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from batcache.errors import StoreError
from batcache.storage.place import Place, is_remote

PARTIAL = ".partial"
"""How the name of every temporary file ends."""
_ABANDONED_S = 3600  # a temporary file to which nothing was written for so long has no writer any more
_HEX_DIGITS = 32
_HEX = "[0-9a-f]" * _HEX_DIGITS  # as a pattern
_LONGEST_NAME = 255  # bytes, on every usual file system
_WINDOWS = os.name == "nt"
_WAITS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@contextlib.contextmanager
def replacing(path: Place) -> Iterator[BinaryIO]:
    """Open a temporary file, to write to and read, that takes the place of ``path`` once the block ends well.

    Raises:
        OSError: the disk refuses or is full. The error names ``path`` where the system names no file; for a bucket it
            names the folder of temporary files, which is then the one that is full.
        UnreachableError: the object store cannot be reached or refuses.
    """
    if is_remote(path):
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
    _remove_abandoned(path.parent)
    partial = temporary_name(path)
    try:
        with partial.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _rename(partial, path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # what went wrong first is what matters
            partial.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(partial)):
            error.filename = str(path)
        raise
    for folder in (path.parent, *(new.parent for new in made)):
        sync(folder)


def temporary_name(path: Path) -> Path:
    """A new name beside ``path`` that nobody else has: ``<name>.<32 hexadecimal digits>.partial``.

    A name that would get too long for a file system is cut.
    """
    return path.with_name(f"{_stem_of_partials(path)}.{uuid4().hex}{PARTIAL}")


def _stem_of_partials(path: Path) -> str:
    room = _LONGEST_NAME - len(f".{PARTIAL}") - _HEX_DIGITS
    name = os.fsencode(path.name)
    return path.name if len(name) <= room else name[:room].decode(errors="ignore")


def remove_partials(path: Place) -> None:
    """Remove the temporary files that killed processes left when they were replacing ``path``; in a bucket there are
    none. A process that is replacing it now would fail: the caller must be the only one who may."""
    if is_remote(path):
        return
    for partial in path.parent.glob(f"{glob.escape(_stem_of_partials(path))}.{_HEX}{PARTIAL}"):
        with contextlib.suppress(OSError):  # gone meanwhile; or Windows, which removes none that is open
            partial.unlink()


@lru_cache(maxsize=4096)
def _remove_abandoned(folder: Path) -> None:
    """Remove all temporary files in a folder that killed processes left, once in the life of this process: a folder may
    hold many thousand files. One that was written to within the hour may have a writer that lives, and stays."""
    for partial in folder.glob(f"*.{_HEX}{PARTIAL}"):
        with contextlib.suppress(OSError):  # as above; or a folder, in which a store is being made
            if time.time() - partial.stat().st_mtime > _ABANDONED_S:
                partial.unlink()


def _rename(partial: Path, path: Path) -> None:
    """Let a temporary file take its name. Windows refuses while another process has the old file open, which one that
    reads or replaces it has for some milliseconds: it is asked again for up to two seconds."""
    for wait_s in _WAITS_S if _WINDOWS else ():
        try:
            partial.replace(path)
        except PermissionError:
            time.sleep(wait_s)
        else:
            return
    partial.replace(path)


def write_file(path: Place, content: bytes) -> None:
    """Write a whole file, or leave what was there. Raises as ``replacing``."""
    if is_remote(path):
        path.write_bytes(content)
        return
    with replacing(path) as file:
        file.write(content)


def append_file(path: Place, content: bytes) -> None:
    """Add to the end of a file, which is made where it is missing. In a bucket, where nothing can be appended, the file
    is written anew: two processes must not append to it at once. Raises as ``replacing``."""
    if is_remote(path):
        path.write_bytes((path.read_bytes() if path.exists() else b"") + content)
        return
    with path.open("ab") as file:
        file.write(content)


def free_bytes(place: Place) -> int | None:
    """The bytes that are free on the disk of a file or folder, which need not be there yet; None for a bucket, where
    nobody can tell."""
    if is_remote(place):
        return None
    there = next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def require_room(place: Place, size: int, remedy: str) -> None:
    """Check that ``size`` bytes are free on the disk of ``place``. A bucket is taken to have room.

    Raises:
        StoreError: fewer are free; says both numbers, and the ``remedy``.
    """
    free = free_bytes(place)
    if free is not None and size > free:
        raise StoreError(place, f"{size / 1e6:,.2f} MB to write, {free / 1e6:,.2f} MB free", remedy)


def reserve(file: BinaryIO, size: int) -> None:
    """Reserve ``size`` bytes of the disk for an open file, where the system can: later writes within them never find
    the disk full.

    Raises:
        OSError: the disk has not that much room.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that knows no such thing
                raise


def remove_tree(path: Place) -> None:
    """Remove a folder and all that is in it.

    Raises:
        OSError: a file cannot be removed.
        UnreachableError: the object store cannot be reached or refuses.
    """
    if is_remote(path):
        path.remove_tree()
    else:
        shutil.rmtree(path)


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of files, to the disk: a rename in the folder then outlives a power cut.

    On Windows this does nothing: the system flushes by itself.
    """
    if _WINDOWS:
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
