"""Names of files that differ from those on the disk only in letter case, or in how Unicode composes their letters.

A Mac writes ``ä`` as ``a`` and a mark (NFD), others as one letter (NFC); on screen both look alike. Windows and macOS
find a file in any letter case, Linux does not.
"""

import os
from pathlib import Path
from threading import Lock
from unicodedata import normalize

_MOST_FOLDERS = 1000


class Spelling:
    """Finds what a name may have meant below ``root``. Each folder is listed once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listed: dict[str, dict[str, str]] = {}
        self._lock = Lock()

    def find(self, path: str) -> str | None:
        """The path of a file that is called like this one but for letter case or Unicode form, and how it differs."""
        place, parts = str(self.root), []
        for part in path.split("/"):
            meant = part if part in ("", ".", "..") else self._names(place).get(_fold(part))
            if meant is None:
                return None
            parts.append(meant)
            place = os.path.join(place, meant)  # noqa: PTH118 (as the folders of a Path are, but for ..)
        found = "/".join(parts)
        if found == path or not Path(place).is_file():
            return None
        same_letters = normalize("NFC", found) == normalize("NFC", path)
        return f"{found!r}, " + ("in another Unicode form" if same_letters else "in other letter case")

    def _names(self, folder: str) -> dict[str, str]:
        with self._lock:
            if folder not in self._listed:
                if len(self._listed) >= _MOST_FOLDERS:
                    self._listed.clear()
                try:
                    self._listed[folder] = {_fold(name): name for name in os.listdir(folder)}  # noqa: PTH208 (names)
                except OSError:
                    self._listed[folder] = {}
            return self._listed[folder]


def _fold(name: str) -> str:
    return normalize("NFC", normalize("NFC", name).casefold())
