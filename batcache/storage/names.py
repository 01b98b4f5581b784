"""Names that people take for one: in another Unicode form, in other letter case, or with signs that do not show."""

import os
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path


def fold(name: str) -> str:
    """What two names share that look alike.

    >>> fold("Fran\\u00e7ois") == fold("FRANC\\u0327OIS"), fold("a\\u200bb") == fold("ab"), fold("a") == fold("b")
    (True, True, False)
    """
    if name.isascii():
        return name.casefold()
    shown = "".join(char for char in name if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", shown).casefold())


def find_alike(folder: Path, path: str) -> str | None:
    """The path under ``folder`` of the one file that is there and whose name looks like that of ``path``.

    None where there is none, where several are, or where there is a file of just this name.
    """
    found: list[str] = []
    for part in path.split("/"):
        try:
            names = _names_in(folder, os.stat(folder).st_mtime_ns)  # noqa: PTH116 (as quickly as may be)
        except OSError:
            return None
        there = names.get(fold(part), ())
        name = part if part in there else there[0] if len(there) == 1 else None
        if name is None:
            return None
        found.append(name)
        folder /= name
    whole = "/".join(found)
    return None if whole == path else whole


@lru_cache(maxsize=64)
def _names_in(folder: Path, _changed_ns: int) -> Mapping[str, tuple[str, ...]]:
    """The names in a folder by what they share with those that look alike."""
    names: dict[str, tuple[str, ...]] = {}
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 (names alone)
        key = fold(name)
        names[key] = (*names.get(key, ()), name)
    return names
