"""Which recording a row of labels is about.

A row may name a path of another machine, or the file alone. Letters' case, the Unicode form and the kind of slashes
count nothing. Of several recordings of one name, that with the most folders in common is meant.
"""

from collections.abc import Iterable, Sequence

from batcache.storage.names import fold

_ENDINGS = (".wav", ".flac")


class Recordings:
    """Finds recordings, POSIX paths, by what rows call them."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_path: dict[tuple[str, ...], list[str]] = {}
        self._by_name: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for name in names:
            self._by_path.setdefault(tuple(_parts(name)), []).append(name)
            last = _parts(name)[-1]
            self._by_name.setdefault(last, []).append(name)
            self._by_stem.setdefault(_stem(last), []).append(name)

    def match(self, files: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        """The recording that each name in a table stands for, and why the others stand for none.

        The path of a recording here stands for it. A name without its folder, or with folders that are not here,
        stands for the only recording of that name, unless the table knows that name in several folders.
        """
        folders: dict[str, set[tuple[str, ...]]] = {}
        distinct = dict.fromkeys(files)
        for file in distinct:
            *above, last = _parts(file) or [""]
            folders.setdefault(_stem(last), set()).add(tuple(above))
        found, missing = {}, {}
        for file in distinct:
            *above, last = _parts(file) or [""]
            same = self._by_path.get((*above, last), [])
            if file in same or len(same) == 1:
                found[file] = file if file in same else same[0]
                continue
            candidates = self._by_name.get(last) or self._by_stem.get(_stem(last), [])
            common = [_common(above, _parts(name)[:-1]) for name in candidates]
            best = [name for name, length in zip(candidates, common, strict=True) if length == max(common)]
            if not candidates:
                missing[file] = "no such recording"
            elif len(best) > 1:
                missing[file] = f"may be {' or '.join(best[:3])}"
            elif not max(common) and len(folders[_stem(last)]) > 1:
                missing[file] = f"not in the folder of {best[0]}"
            else:
                found[file] = best[0]
        return found, missing


def _parts(path: str) -> list[str]:
    return [part for part in fold(path).replace("\\", "/").strip().split("/") if part not in ("", ".")]


def _stem(name: str) -> str:
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many folders two paths have in common, counted from their ends."""
    length = 0
    while length < min(len(one), len(other)) and one[-1 - length] == other[-1 - length]:
        length += 1
    return length
