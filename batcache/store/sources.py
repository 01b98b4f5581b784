"""Where a store's manifest lies: paths and rejects of the last build, never labels."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from batcache.disk import write_file
from batcache.errors import StoreError
from batcache.manifest import Manifest

SOURCES = "last_build.json"


@dataclass(frozen=True)
class Sources:
    """Where the manifest of the last build lies, and what that build rejected and why.

    Without CSVs and data dir: the frames came from an exported file, which does not know them.
    """

    csvs: tuple[Path, ...]
    split_of: dict[Path, str]
    data_dir: Path | None
    rejected: dict[str, str]


def write_sources(cache: Path, manifest: Manifest, rejected: Mapping[str, str]) -> None:
    """Remember where the manifest lies, relative to the store where they share a drive, so that both can be moved."""
    document = {
        "csvs": [portable(csv, cache) for csv in manifest.csvs],
        "split_of": {portable(csv, cache): split for csv, split in manifest.split_of.items()},
        "data_dir": portable(manifest.data_dir, cache),
        "rejected": dict(rejected),
    }
    _write(cache, document)


def write_unknown_sources(cache: Path, rejected: Mapping[str, str]) -> None:
    """Remember what was rejected, where nothing else is known."""
    _write(cache, {"csvs": [], "split_of": {}, "data_dir": None, "rejected": dict(rejected)})


def _write(cache: Path, document: Mapping[str, Any]) -> None:
    content = json.dumps(document, indent=1).encode()
    place = cache / SOURCES
    if not place.exists() or place.read_bytes() != content:
        write_file(place, content)


def read_sources(cache: Path) -> Sources:
    """Read what ``write_sources`` wrote.

    Raises:
        StoreError: that note is missing or damaged.
    """
    place = cache / SOURCES
    try:
        note = json.loads(place.read_bytes())
        csvs = tuple((cache / csv).resolve() for csv in note["csvs"])
        split_of = {(cache / csv).resolve(): split for csv, split in note["split_of"].items()}
        data_dir = None if note["data_dir"] is None else (cache / note["data_dir"]).resolve()
        return Sources(csvs, split_of, data_dir, dict(note["rejected"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(place, f"cannot be read ({error})", "Run `batcache build` again") from None


def find_other_root(cache: Path, data_dir: Path, paths: Iterable[str]) -> Path | None:
    """The data dir of the last build, where it is another than this one and holds a file of one of these names.

    Files of one name in two folders would take each other's place, and each other's labels. A cache that was moved, or
    that travels without its recordings, has no such file beside it.
    """
    try:
        root = read_sources(cache).data_dir
    except StoreError:
        return None  # the next build writes the note anew
    if root is None or root == data_dir.resolve() or not root.is_dir():
        return None
    return root if any((root / path).is_file() for path in paths) else None


def portable(path: Path, start: Path) -> str:
    """A path as POSIX text, relative to ``start``; absolute where Windows has them on different drives.

    Links are followed first: ``..`` out of a linked folder leads elsewhere.
    """
    try:
        return PurePath(os.path.relpath(os.path.realpath(path), os.path.realpath(start))).as_posix()
    except ValueError:
        return path.resolve().as_posix()
