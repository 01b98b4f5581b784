"""Writing that survives being killed: a file is either whole and in place, or not there.

Every file of a store or run is written under a temporary name, flushed to the disk, renamed, and its folder flushed.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the place of ``path`` once the block ends without an error."""
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    for folder in (path.parent, *(new.parent for new in made)):
        sync(folder)


def write_file(path: Path, content: bytes) -> None:
    """Write a whole file, or leave what was there."""
    with replacing(path) as file:
        file.write(content)


def free_bytes(place: Path) -> int:
    """What is free on the disk of a file or folder, which need not be there yet."""
    there = next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def sync(path: Path) -> None:
    """Flush a file, or a folder's entries, so that a rename in it outlives a power cut. Windows flushes by itself."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
