"""A store's group: what its ``zarr.json`` says of all of it, and how a store is made."""

import errno
import json
import os
import re
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from batcache.config.features import FeatureConfig, digest
from batcache.errors import ConfigError, StoreError, brief
from batcache.storage.disk import PARTIAL, sync, write_file
from batcache.storage.listing import is_folder, is_there, list_folder, walk_folder
from batcache.storage.place import Place, is_remote
from batcache.storage.sealed import DAMAGED, begins_with
from batcache.store.format.array import array_options
from batcache.store.format.layout import FORMAT, FORMAT_VERSION, Layout, newer

PROMISED = ("format", "format_version", "features", "fingerprint", "layout", "versions")
DIGEST = "digest"
"""Among a store's attributes: the SHA-256 of the canonical JSON of the others."""


def is_free(path: Place) -> bool:
    """Whether a store may be made here: nothing is there, or an empty folder, or one in which ``create_store`` was
    stopped before it wrote ``zarr.json``, its last file.

    In a bucket such a folder may hold ``instances/`` and nothing else.

    Raises:
        UnreachableError: the folder cannot be read, or the object store cannot be reached or refuses.
    """
    if is_remote(path):
        return {there.name for there in list_folder(path)} <= {"instances"}
    if not is_there(path):
        return True
    return is_folder(path) and all(_is_begun(path, there) for there in list_folder(path))


def _is_begun(store: Path, place: Path) -> bool:
    """Whether this is something that ``create_store`` leaves in a folder where it is stopped, and nothing else."""
    if place.name in ("instances", "commits") and is_folder(place):
        return {there.name for there in list_folder(place)} <= ({"zarr.json"} if place.name == "instances" else set())
    return bool(re.fullmatch(f"[0-9a-f]{{32}}{PARTIAL}", place.name))


def create_store(
    path: Place,
    features: FeatureConfig,
    layout: Layout,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Create an empty store, in one step: it is made beside its place and renamed.

    A bucket knows no renaming, and an existing empty folder may be a mount point, which nothing can replace. There the
    files are written one by one, ``zarr.json`` last: without it nothing counts as a store. ``attributes`` are those of
    the store that this one is a copy of; by default they tell the front end and the packages here.

    Raises:
        OSError: the disk refuses; FileExistsError where another process has made a store here meanwhile.
        UnreachableError: the object store cannot be reached or refuses.
    """
    if is_remote(path) or is_there(path):
        with TemporaryDirectory() as folder:
            made = Path(folder) / path.name
            create_store(made, features, layout, attributes)
            for name in ("instances/zarr.json", "zarr.json"):
                _add(path, name, (made / name).read_bytes())
        return

    import shutil

    import zarr

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid4().hex}{PARTIAL}")  # two may create one store at once
    described = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "features": features.to_record(),
        "fingerprint": features.fingerprint,
        "layout": asdict(layout),
        "versions": _versions(),
    }
    described = dict(attributes or described | {DIGEST: digest(described)})
    try:
        group = zarr.create_group(partial, attributes=described)
        group.create_array("instances", **array_options(layout))
        (partial / "commits").mkdir()
        files = list(walk_folder(partial))
        for place in (*files, *{file.parent for file in files}, partial / "commits"):
            sync(place)
        partial.replace(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync(path.parent)


def _add(store: Place, name: str, content: bytes) -> None:
    """Add a file to a store that is being made.

    Raises:
        FileExistsError: another, who was quicker, has made it.
    """
    if is_remote(store):
        write_file(store / name, content)
        return
    for folder in ("instances", "commits"):
        (store / folder).mkdir(exist_ok=True)
    partial = store / f"{uuid4().hex}{PARTIAL}"
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if is_there(store / "zarr.json"):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(store))
        partial.replace(store / name)
    finally:
        partial.unlink(missing_ok=True)
    sync((store / name).parent)


def read_attributes(store: Place) -> tuple[FeatureConfig, Layout, dict[str, Any]]:
    """Read a store's feature settings, its layout, and all attributes of its ``zarr.json``.

    Raises:
        StoreError: there is no store, it cannot be read, has another format version or unknown settings, or was
            computed by a front end that is not known here. One by an earlier front end is read:
            ``describe_front_end`` tells.
    """
    place = store / "zarr.json"
    try:
        attributes = json.loads(place.read_bytes())["attributes"]
    except FileNotFoundError:
        if is_free(store):
            remedy = "Run `batcache build --csv ...` first, or name another cache"
            raise StoreError(store, "no cache here", remedy) from None
        finding = "not empty, and no batcache store: it has no zarr.json"
        raise StoreError(store, finding, "Pass another --cache, or restore zarr.json from a copy") from None
    except (NotADirectoryError, IsADirectoryError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _foreign(store, error) from None
    except OSError as error:
        raise StoreError.of_disk(place, "cannot be read", error) from None
    return *check_attributes(store, attributes), attributes


def check_attributes(store: Place, attributes: dict[str, Any]) -> tuple[FeatureConfig, Layout]:
    """The feature settings and the layout in a store's attributes.

    Raises:
        StoreError: the attributes are not a store's, have another format version or unknown settings, contradict
            each other, or are of another version of the front end. The error names ``store``.
    """
    try:
        if attributes["format"] != FORMAT:
            raise KeyError(FORMAT)
        version = attributes["format_version"]
        if type(version) is not int or not 0 < version < 10**6:
            raise TypeError("no format version")
    except (KeyError, TypeError) as error:
        raise _foreign(store, error) from None
    if version != FORMAT_VERSION:
        raise newer(store, version)
    try:
        features = _read_features(attributes["features"])
        layout = Layout(**_require_names(attributes["layout"], {f.name for f in fields(Layout)}))
        fingerprint, versions = attributes["fingerprint"], attributes["versions"]
        if not isinstance(fingerprint, str) or not fingerprint.isalnum():
            raise TypeError("no fingerprint")
        if not all(isinstance(text, str) for text in {**versions}.values()):
            raise TypeError("a version that is no text")
    except (KeyError, TypeError, ConfigError, RecursionError) as error:
        raise StoreError(
            store, f"settings that this batcache does not know ({brief(error)})", "Upgrade batcache"
        ) from None
    if features.find_version(fingerprint) is None:
        finding = f"computed by another front end (fingerprint {fingerprint[:12]}, here {features.fingerprint[:12]})"
        raise StoreError(store, finding, "Upgrade batcache, or build into a new --cache")
    if layout.n_mels != features.n_mels:
        finding = f"its layout is damaged: it has {layout.n_mels} mel bands, its settings {features.n_mels}"
        raise StoreError(store / "zarr.json", finding, "Restore it from a copy")
    if _is_damaged(attributes):
        remedy = "Restore it from a copy; or, if you changed it on purpose, delete its attribute digest"
        raise StoreError(store / "zarr.json", DAMAGED, remedy)
    return features, layout


def own_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a store's attributes that batcache has written: others may have added to them."""
    return {name: attributes[name] for name in (*PROMISED, DIGEST) if name in attributes}


def _is_damaged(attributes: Mapping[str, Any]) -> bool:
    """Whether a store's own attributes are not those that their digest is of. Those of earlier versions have none."""
    if not any(begins_with(name.encode(), DIGEST.encode()) for name in attributes if len(name) == len(DIGEST)):
        return False
    try:
        return bool(digest({name: attributes[name] for name in PROMISED}) != attributes.get(DIGEST))
    except (KeyError, ValueError, RecursionError):
        return True


def describe_front_end(features: FeatureConfig, fingerprint: str) -> str:
    """By which front end a store was computed, where it is not the one here; empty where it is.

    What is here may read the features, and must not mix them with its own.
    """
    if fingerprint == features.fingerprint:
        return ""
    there, here = features.find_version(fingerprint), features.find_version(features.fingerprint)
    return f"computed by front end {there}, this batcache computes by front end {here}"


@cache
def _adapter() -> TypeAdapter[FeatureConfig]:
    return TypeAdapter(FeatureConfig)


def _read_features(settings: object) -> FeatureConfig:
    """The settings that a file gives, each of its type and in its range. Raises TypeError, ConfigError."""
    try:
        return _adapter().validate_json(json.dumps(settings), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise TypeError(f"{' '.join(map(reprlib.repr, first['loc']))}: {first['msg']}") from None


def _require_names(given: object, names: set[str]) -> dict[str, Any]:
    """A mapping that has these names and no others. Raises TypeError."""
    if not isinstance(given, dict) or given.keys() != names:
        raise TypeError(f"the layout has not exactly {', '.join(sorted(names))}")
    return given


def _foreign(store: Place, error: Exception) -> StoreError:
    return StoreError(store, f"not a batcache store ({brief(error)})", "Pass another --cache")


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("batcache", "numpy", "soxr", "torch", "torchaudio", "nnAudio", "zarr")}
