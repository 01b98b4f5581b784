"""What lies where: asked in such a way that a disk that does not answer is an error, and never an empty folder.

``Path.glob``, ``exists`` and their like take an error of the disk (no right to look, too many open files, a share that
stutters) for "nothing there", more of them in each version of Python. Where something is deleted or made anew because
something else is not there, that would lose data.
"""

import errno
import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from batcache.errors import UnreachableError
from batcache.storage.place import Place, is_remote

_NOT_THERE = (FileNotFoundError, NotADirectoryError)
_NO_NAME = (errno.ENAMETOOLONG, errno.ELOOP)
"""Of names that no file can have."""
Somewhere = TypeVar("Somewhere", bound=Place)


def list_folder(folder: Somewhere, pattern: str = "*") -> list[Somewhere]:
    """What lies right in a folder under names that match a pattern, sorted; nothing where there is no such folder.

    Raises:
        UnreachableError: the disk does not list the folder; or the object store cannot be reached or refuses.
    """
    if is_remote(folder):
        return list(folder.glob(pattern))
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except _NOT_THERE:
        return []
    except OSError as error:
        raise UnreachableError.of_disk(folder, "cannot be listed", error) from None
    return [folder / name for name in names if fnmatchcase(name, pattern)]


def walk_folder(folder: Path) -> Iterator[Path]:
    """All files under a folder, at any depth; none where there is no such folder. Raises as ``list_folder``."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, _NOT_THERE):
            raise UnreachableError.of_disk(error.filename, "cannot be listed", error) from None

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders.sort()
        yield from (Path(place, name) for name in sorted(files))


def is_there(place: Place) -> bool:
    """Whether there is a file or folder of this name, through links. Raises as ``list_folder``."""
    return place.exists() if is_remote(place) else _mode_of(place) is not None


def is_file(path: Path) -> bool:
    """Whether there is a file of this name. Raises as ``list_folder``."""
    mode = _mode_of(path)
    return mode is not None and stat.S_ISREG(mode)


def is_folder(path: Path) -> bool:
    """Whether there is a folder of this name. Raises as ``list_folder``."""
    mode = _mode_of(path)
    return mode is not None and stat.S_ISDIR(mode)


def _mode_of(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (*_NOT_THERE, ValueError):  # a name with a NUL byte is that of no file
        return None
    except OSError as error:
        if error.errno in _NO_NAME:
            return None
        raise UnreachableError.of_disk(path, "cannot be looked at", error) from None
