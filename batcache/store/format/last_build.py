"""Where a store's manifest lies, and what builds rejected: paths and reasons, never labels."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from batcache.errors import StoreError, UnreachableError, brief, list_some
from batcache.manifest.cells import leads_out
from batcache.manifest.manifest import Manifest, read_manifest
from batcache.storage.disk import write_file
from batcache.storage.place import Place, is_remote, parse_place
from batcache.storage.s3 import SCHEME

LAST_BUILD = "last_build.json"


@dataclass(frozen=True)
class LastBuild:
    """Where the manifest of the last build lies, what was rejected and why, by the last build that listed it, and
    whether recordings may lie outside the data dir: that build was told so, if one does.

    Without CSVs and data dir: the frames came from an exported file, which does not know them.
    """

    csvs: tuple[Path, ...]
    split_of: dict[Path, str]
    data_dir: Path | None
    rejected: dict[str, str]
    allow_outside: bool = False


def write_last_build(cache: Place, manifest: Manifest, rejected: Mapping[str, str]) -> None:
    """Remember where the manifest lies, relative to the store where they share a drive, so that both can be moved.

    Earlier rejects that this manifest does not list stay: runs may have been trained from the manifest that does.
    """
    listed, before = manifest.recordings(), _find_last_build(cache)
    earlier = {path: reason for path, reason in before.rejected.items() if path not in listed} if before else {}
    document = {
        "csvs": [portable(csv, cache) for csv in manifest.csvs],
        "split_of": {portable(csv, cache): split for csv, split in manifest.split_of.items()},
        "data_dir": portable(manifest.data_dir, cache),
        "allow_outside": any(leads_out(clip.filename) for clip in manifest.clips),
        "rejected": dict(sorted({**earlier, **rejected}.items())),
    }
    _write(cache, document)


def write_unknown_last_build(cache: Place, rejected: Mapping[str, str]) -> None:
    """Remember what was rejected, where nothing else is known."""
    _write(cache, {"csvs": [], "split_of": {}, "data_dir": None, "rejected": dict(rejected)})


def _write(cache: Place, document: Mapping[str, Any]) -> None:
    content = json.dumps(document, indent=1).encode()
    place = cache / LAST_BUILD
    if not place.exists() or place.read_bytes() != content:
        write_file(place, content)


def read_last_build(cache: Place) -> LastBuild:
    """Read what ``write_last_build`` wrote.

    Raises:
        StoreError: that note is missing or damaged.
    """
    place = cache / LAST_BUILD
    try:
        note = json.loads(place.read_bytes())
        csvs = tuple(locate(csv, cache) for csv in note["csvs"])
        split_of = {locate(csv, cache): split for csv, split in note["split_of"].items()}
        data_dir = None if note["data_dir"] is None else locate(note["data_dir"], cache)
        return LastBuild(csvs, split_of, data_dir, dict(note["rejected"]), note.get("allow_outside") is True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise StoreError(place, f"cannot be read ({brief(error)})", "Run `batcache build` again") from None


def _find_last_build(cache: Place) -> LastBuild | None:
    """The same, None where that note is missing or damaged: the next build writes it anew."""
    try:
        return read_last_build(cache)
    except UnreachableError:
        raise
    except StoreError:
        return None


def read_last_manifest(cache: Place, data_dir: Path | None = None, *, to_read_files: bool = False) -> Manifest:
    """The manifest of the last build, as its CSVs are now; ``data_dir`` where the recordings were moved.

    Whoever is going ``to_read_files`` gets none from outside the data dir, unless that build was told to allow it.

    Raises:
        StoreError, ManifestError: the note or the CSVs are missing or damaged.
    """
    last = read_last_build(cache)
    allow_outside = last.allow_outside or not to_read_files
    require_there(cache, last, data_dir)
    data_dir = data_dir or last.data_dir
    return read_manifest(last.csvs, data_dir, split_of=last.split_of, allow_outside=allow_outside)


def require_there(cache: Place, last: LastBuild, data_dir: Path | None = None) -> None:
    """Refuse a store whose last build's CSVs are no longer where it says, nor, unless one is given, the data dir.

    Raises:
        StoreError: names those that are gone.
    """
    places = (*last.csvs, None if data_dir else last.data_dir)
    if gone := [str(place) for place in places if place and not place.exists()]:
        finding = f"what it was last built from is not there ({list_some(gone)})"
        remedy = "Was it, or were they moved? Build the CSVs again, with --data-dir: nothing is computed anew"
        raise StoreError(cache, finding, remedy)


def find_data_dir(cache: Place, data_dir: Path | None) -> tuple[Path | None, bool]:
    """Where the recordings are, as told here or to the last build, and whether its rows may lead out of there.

    Raises:
        StoreError: the note of that build, where it is needed, is missing or damaged.
    """
    try:
        last = read_last_build(cache)
    except StoreError:
        if data_dir is None:
            raise
        return data_dir, False
    return data_dir or last.data_dir, last.allow_outside


def find_other_root(cache: Place, data_dir: Path, paths: Iterable[str]) -> Path | None:
    """The data dir of the last build, where it is another than this one and holds a file of one of these names.

    Files of one name in two folders would take each other's place, and each other's labels. A cache that was moved, or
    that travels without its recordings, has no such file beside it.
    """
    last = _find_last_build(cache)
    root = last.data_dir if last else None
    if root is None or root == data_dir.resolve() or not root.is_dir():
        return None
    return root if any((root / path).is_file() for path in paths) else None


def portable(path: Place, start: Place) -> str:
    """A path as POSIX text, relative to ``start``; absolute where Windows has them on different drives.

    Links are followed first: ``..`` out of a linked folder leads elsewhere. An S3 URL stays one, and from S3 every path
    is absolute.
    """
    if is_remote(path):
        return str(path)
    if is_remote(start):
        return path.resolve().as_posix()
    try:
        return PurePath(os.path.relpath(os.path.realpath(path), os.path.realpath(start))).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def locate(text: str, start: Place) -> Path:
    """The path that ``portable`` made this text of. There is none where a store was copied to S3 from a folder."""
    return Path(str(start)) / text if is_remote(start) else (start / text).resolve()


def locate_cache(text: str, start: Path) -> Place:
    """The cache that ``portable`` made this text of."""
    return parse_place(text) if text.startswith(SCHEME) else locate(text, start)
