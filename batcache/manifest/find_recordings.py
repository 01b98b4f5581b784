"""The recordings to be judged or listed: found in folders, at any depth, or named one by one."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from batcache.errors import PredictError, list_some
from batcache.storage.listing import is_folder, is_there

COPIES = "batcache-copies.txt"
"""A file that says so lies where batcache has written copies of recordings, which are no further recordings."""
_ENDINGS = (".wav", ".flac")
_OF_WINDOWS = ("$RECYCLE.BIN", "System Volume Information")
"""Folders that Windows puts on every drive: what was deleted, and what nobody may read."""


@dataclass(frozen=True)
class Found:
    """Recordings below a folder.

    Attributes:
        root: the folder given, or the one that holds all that is given.
        names: POSIX paths relative to it, sorted, each once.
        rejected: folders that cannot be read, and names that no table could hold, since they are not UTF-8; and why.
    """

    root: Path
    names: tuple[str, ...]
    rejected: dict[str, str]


def find_recordings(paths: Sequence[Path]) -> Found:
    """Find the WAV and FLAC files below folders; a file that is named is taken whatever its name ends in.

    Links are followed. Hidden files and folders, whose names begin with a dot, are left out: macOS puts one of its own
    beside each recording. So are the recycle bin and the other folder that Windows puts on every drive, and folders
    of copies (``COPIES``) that are not themselves given.

    Raises:
        PredictError: a path that does not exist, or no recording at all.
    """
    files: list[Path] = []
    unread: list[OSError] = []
    for path in paths:
        if not is_there(path):
            raise PredictError(path, "no such file or folder", "Correct it")
        files += _walk(path, unread) if is_folder(path) else [path]
    if not files:
        finding = f"no recording in it, at any depth: no name ends in {' or '.join(_ENDINGS)}"
        raise PredictError(list_some(map(str, paths)), finding, "Pass another folder, or name the files")
    root = _root_of(paths)
    names = {_name(file, root) for file in files}
    unnameable = {name for name in names if not _is_text(name)}
    rejected = {_show(name): "its name is not UTF-8. Rename it." for name in unnameable}
    rejected |= {_show(_name(e.filename, root)): f"a folder that cannot be read ({e.strerror})" for e in unread}
    return Found(root, tuple(sorted(names - unnameable)), rejected)


def _name(file: Path | str, root: Path) -> str:
    return Path(os.path.relpath(file, root)).as_posix()


def _root_of(paths: Sequence[Path]) -> Path:
    folders = [os.path.abspath(path if is_folder(path) else path.parent) for path in paths]  # noqa: PTH100 (without ..)
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # Windows
        raise PredictError(list_some(map(str, paths)), "not all on one drive", "Judge each drive by itself") from None


def _walk(folder: Path, unread: list[OSError]) -> Iterator[Path]:
    """Yield the recordings below a folder; folders that cannot be read go to ``unread``."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, onerror=unread.append, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(real)
        if COPIES in files and Path(place) != folder:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _OF_WINDOWS]
        yield from (Path(place, name) for name in files if name.lower().endswith(_ENDINGS) and not name.startswith("."))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _show(name: str) -> str:
    return name.encode(errors="backslashreplace").decode()
