"""Copies on this disk of what was read from a bucket: so many bytes at most, the least recently used out first.

Every file lies right in one folder, under a name that says whose bytes it holds, and its time of change is when it was
last read. Several processes may share a folder, and each may be killed at any moment: a file is written under a
temporary name and renamed, and one that is deleted while another process reads it stays readable to that one (Windows
does not delete it then). Nothing is flushed: what a power cut leaves of a file is told by its checksums, which whoever
reads verifies, as a copy is never trusted.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock

from batcache.errors import StoreError

SUFFIX = ".copy"
_OURS = re.compile(rf".*{re.escape(SUFFIX)}(\.[0-9a-f]+\.partial)?")
"""Files of other names are never touched. Temporary files of killed processes count, and are removed, as the others."""
_FILL = 0.95  # files are removed until no more than this share of the room is taken, to look seldom
_UNSEEN = 0.25  # the share of what is free that one process may write before it looks what others have written


@dataclass(frozen=True)
class LocalCache:
    """A folder that holds up to ``most_bytes``, beside what is being written to it."""

    folder: Path
    most_bytes: int

    def read(self, name: str, start: int, out: memoryview) -> bool:
        """Fill ``out`` with the bytes of a file from byte ``start`` on. Returns whether the file holds them: one that
        is missing, too short or cannot be read does not."""
        place = self.folder / f"{name}{SUFFIX}"
        try:
            with place.open("rb") as file:
                file.seek(start)
                filled = file.readinto(out) == len(out)
        except OSError:
            return False
        if not filled:
            self.drop(name)
            return False
        now = time.time_ns()  # of which the system's own clock for files knows only every few milliseconds
        with contextlib.suppress(OSError):  # removed meanwhile, which takes nothing from what was read
            os.utime(place, ns=(now, now))
        return True

    def keep(self, name: str, content: memoryview) -> None:
        """Write a file, and remove others before where there is no room. One larger than all the room is not written.

        Raises:
            StoreError: the disk refuses or is full.
        """
        from batcache.storage.disk import temporary_name  # which knows buckets, and they know this module

        if len(content) > self.most_bytes:
            return
        place = self.folder / f"{name}{SUFFIX}"
        partial = temporary_name(place)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _account(self.folder, self.most_bytes).make_room(len(content))
            with partial.open("xb") as file:
                file.write(content)
        except OSError as error:
            _remove(partial)
            remedy = "See to the disk, or pass another --local-cache or a smaller --local-cache-gb"
            raise StoreError.of_disk(self.folder, "the local cache cannot be written to", error, remedy) from None
        try:
            partial.replace(place)
        except OSError:  # another process took the temporary file for an old one; Windows, where one reads this name
            _remove(partial)

    def drop(self, name: str) -> None:
        """Remove a file, where there is one: it does not hold what it should."""
        _remove(self.folder / f"{name}{SUFFIX}")


@dataclass
class _Account:
    """What this process may write before it looks into the folder again."""

    folder: Path
    most_bytes: int
    unseen: float = 0
    lock: Lock = field(default_factory=Lock)

    def make_room(self, size: int) -> None:
        """Remove the files that were not read for longest until ``size`` more bytes fit, if they do not.

        Raises:
            OSError: the folder cannot be listed.
        """
        with self.lock:
            self.unseen -= size
            if self.unseen >= 0:
                return
            files = sorted(self._list_files())
            taken = sum(bytes_ for _, bytes_, _ in files)
            if taken + size > self.most_bytes:
                for _, bytes_, place in files:
                    taken -= bytes_ * _remove(place)
                    if taken + size <= self.most_bytes * _FILL:
                        break
            self.unseen = max(0, self.most_bytes - taken - size) * _UNSEEN

    def _list_files(self) -> Iterator[tuple[int, int, Path]]:
        """When each was last read, its size and its place."""
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if _OURS.fullmatch(entry.name):
                    with contextlib.suppress(FileNotFoundError):
                        about = entry.stat()
                        yield about.st_mtime_ns, about.st_size, Path(entry.path)


@lru_cache(maxsize=8)
def _account(folder: Path, most_bytes: int) -> _Account:
    """One for all stores that this process has open."""
    return _Account(folder, most_bytes)


def _remove(place: Path) -> bool:
    """Whether a file is gone. Windows removes none that is open."""
    try:
        place.unlink(missing_ok=True)
    except OSError:
        return False
    return True
