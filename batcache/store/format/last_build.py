"""Where a store's manifest lies, and what builds rejected: paths and reasons, never labels."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from batcache.errors import Seen, StoreError, UnreachableError, brief, list_some
from batcache.manifest.cells import leads_out
from batcache.manifest.manifest import Manifest, read_manifest
from batcache.storage.disk import write_file
from batcache.storage.listing import is_file, is_folder, is_there
from batcache.storage.place import Place, is_remote, parse_place
from batcache.storage.s3 import SCHEME
from batcache.store.format.records import LAST_BUILD


@dataclass(frozen=True)
class LastBuild:
    """What the last build was given, and which recordings could not be used.

    ``split_of`` gives the split that each CSV stands for, where one does. ``rejected`` gives the reason for each
    recording that the last build which listed it rejected. ``allow_outside`` says that filenames may lead out of the
    data dir. A store that was restored from an exported file has no CSVs and no data dir: the file does not know them.
    """

    csvs: tuple[Path, ...]
    split_of: dict[Path, str]
    data_dir: Path | None
    rejected: dict[str, str]
    allow_outside: bool = False


def write_last_build(
    cache: Place,
    manifest: Manifest,
    rejected: Mapping[str, str],
    looked_at: Mapping[str, Seen] | None = None,
    reader: str = "",
) -> None:
    """Write down where the manifest's CSVs and recordings lie, and what was ``rejected``, by path and reason.

    ``looked_at`` is what was seen of rejected files that need not be opened again as long as they are as they were, and
    are looked at by the same ``reader``.

    Paths are relative to the store where they share a drive with it, so that both can be moved together. Recordings
    that an earlier build rejected and this manifest does not list stay listed: a run may have been trained from them.
    A manifest without CSVs, of recordings whose features are only to be kept, leaves those of the last build.

    Raises:
        OSError: the disk refuses.
        UnreachableError: the object store cannot be reached or refuses.
    """
    listed, before = manifest.recordings(), _find_last_build(cache)
    earlier = {path: reason for path, reason in before.rejected.items() if path not in listed} if before else {}
    csvs, split_of, data_dir = manifest.csvs, manifest.split_of, manifest.data_dir
    allow_outside = any(leads_out(clip.filename) for clip in manifest.clips)
    if not csvs and before and before.csvs and before.data_dir:
        csvs, split_of, data_dir, allow_outside = before.csvs, before.split_of, before.data_dir, before.allow_outside
    document = {
        "csvs": [portable(csv, cache) for csv in csvs],
        "split_of": {portable(csv, cache): split for csv, split in split_of.items()},
        "data_dir": portable(data_dir, cache),
        "allow_outside": allow_outside,
        "rejected": dict(sorted({**earlier, **rejected}.items())),
    }
    if looked_at:
        document |= {"reader": reader, "looked_at": {path: list(seen) for path, seen in sorted(looked_at.items())}}
    _write(cache, document)


def read_rejects(cache: Place, reader: str) -> dict[str, tuple[Seen, str]]:
    """What was seen of the files that the last build rejected, and why; nothing where another ``reader`` did, or the
    file is missing or damaged."""
    try:
        note = json.loads((cache / LAST_BUILD).read_bytes())
        if note.get("reader") != reader:
            return {}
        rejected, found = note["rejected"], {}
        for path, (size, mtime_ns, expansion, channel) in note["looked_at"].items():
            seen = (int(size), int(mtime_ns), None if expansion is None else float(expansion), int(channel))
            found[str(path)] = (seen, str(rejected[path]))
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}


def write_unknown_last_build(cache: Place, rejected: Mapping[str, str]) -> None:
    """Write down only what was ``rejected``: for a store whose CSVs and data dir are not known. Raises as
    ``write_last_build``."""
    _write(cache, {"csvs": [], "split_of": {}, "data_dir": None, "rejected": dict(rejected)})


def _write(cache: Place, document: Mapping[str, Any]) -> None:
    content = json.dumps(document, indent=1).encode()
    place = cache / LAST_BUILD
    if not is_there(place) or place.read_bytes() != content:
        write_file(place, content)


def read_last_build(cache: Place) -> LastBuild:
    """Read ``last_build.json``. Paths in it are returned as they are from here.

    Raises:
        StoreError: the file is missing or damaged, or the object store refuses.
    """
    place = cache / LAST_BUILD
    try:
        note = json.loads(place.read_bytes())
        csvs = tuple(locate(csv, cache) for csv in note["csvs"])
        split_of = {locate(csv, cache): split for csv, split in note["split_of"].items()}
        data_dir = None if note["data_dir"] is None else locate(note["data_dir"], cache)
        return LastBuild(csvs, split_of, data_dir, dict(note["rejected"]), note.get("allow_outside") is True)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            raise StoreError(place, f"cannot be read ({brief(error)})", "Run `batcache build` again") from None
        raise UnreachableError.of_disk(place, "cannot be read", error) from None
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise StoreError(place, f"cannot be read ({brief(error)})", "Run `batcache build` again") from None


def _find_last_build(cache: Place) -> LastBuild | None:
    """``read_last_build``, or None where the file is missing or damaged: the next build writes it anew."""
    try:
        return read_last_build(cache)
    except UnreachableError:
        raise
    except StoreError:
        return None


def read_last_manifest(cache: Place, data_dir: Path | None = None, *, to_read_files: bool = False) -> Manifest:
    """The manifest of the last build, read from its CSVs as they are now.

    ``data_dir`` is where the recordings are now, if they were moved. For a caller that is going ``to_read_files`` a
    filename that leads out of the data dir is an error, unless the last build was told to allow that.

    Raises:
        StoreError: ``last_build.json``, the CSVs or the data dir are missing.
        ManifestError: the CSVs are damaged.
    """
    last = read_last_build(cache)
    allow_outside = last.allow_outside or not to_read_files
    require_there(cache, last, data_dir)
    data_dir = data_dir or last.data_dir
    return read_manifest(last.csvs, data_dir, split_of=last.split_of, allow_outside=allow_outside)


def require_there(cache: Place, last: LastBuild, data_dir: Path | None = None) -> None:
    """Check that the CSVs of the last build are where it found them, and, unless ``data_dir`` is given, its data dir.

    Raises:
        StoreError: some are not; names them.
    """
    places = (*last.csvs, None if data_dir else last.data_dir)
    if gone := [str(place) for place in places if place and not is_there(place)]:
        finding = f"what it was last built from is not there ({list_some(gone)})"
        remedy = "Was it, or were they moved? Build the CSVs again, with --data-dir: nothing is computed anew"
        raise StoreError(cache, finding, remedy)


def find_data_dir(cache: Place, data_dir: Path | None) -> tuple[Path | None, bool]:
    """The folder of the recordings, and whether filenames may lead out of it, as the last build was told.

    The folder is ``data_dir`` where it is given, else that of the last build; None where no one knows it.

    Raises:
        StoreError: no ``data_dir`` is given, and ``last_build.json`` is missing or damaged.
    """
    try:
        last = read_last_build(cache)
    except StoreError:
        if data_dir is None:
            raise
        return data_dir, False
    return data_dir or last.data_dir, last.allow_outside


def find_other_root(cache: Place, data_dir: Path, paths: Iterable[str]) -> Path | None:
    """The data dir of the last build, if it is not ``data_dir`` and holds a file of one of these ``paths``; else None.

    Files of one name in two folders would take each other's place in the store, and each other's labels. The old data
    dir of a store that was moved, or that travels without its recordings, holds no such file.
    """
    last = _find_last_build(cache)
    root = last.data_dir if last else None
    if root is None or root == data_dir.resolve() or not is_folder(root):
        return None
    return root if any(is_file(root / path) for path in paths) else None


def portable(path: Place, start: Place) -> str:
    """``path`` as POSIX text, relative to the folder ``start``; absolute where they lie on different Windows drives.

    Links are followed first: ``..`` out of a linked folder leads elsewhere. A place in a bucket is written as its URL,
    and a local path seen from a bucket is absolute.
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
    """The local path that ``portable`` turned into ``text``. Where the store was copied from a folder to a bucket, the
    text is relative to that folder, and the path that is returned does not exist."""
    return Path(str(start)) / text if is_remote(start) else (start / text).resolve()


def locate_cache(text: str, start: Path) -> Place:
    """The place of a cache, local or in a bucket, that ``portable`` turned into ``text``."""
    return parse_place(text) if text.startswith(SCHEME) else locate(text, start)
