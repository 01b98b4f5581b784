"""The store's format, version 1: what lies where, and how each part is written and read.

    features.zarr/
      zarr.json                 group attributes: format, version, settings, fingerprint, layout, versions
      instances/zarr.json       float16 [instances, frames_per_instance, n_mels], fill value NaN
      instances/c/<shard>/0/0   up to 640 chunks of one instance (bytes + crc32c), then Zarr's shard index
      commits/<shard>.json      what the shard holds: the index of the store, and the sign that it is complete
      last_build.json           CSVs and data dir of the last build, and what it rejected; never labels

Any Zarr v3 reader opens ``instances``. A shard counts once its commit record is there. Slots that no recording uses
have no chunk and take no space.

A commit record is JSON on two lines. The first holds its digest, which is the SHA-256 of the second, so that a store of
many thousand shards opens at the speed of a checksum: ``tail -n +2 0.json | sha256sum`` gives it too.
"""

import errno
import hashlib
import json
import os
import re
import reprlib
import struct
import textwrap
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from itertools import starmap
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, BinaryIO, Generic, Self, TypeVar
from uuid import uuid4

import google_crc32c
import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from batcache.config import FeatureConfig, to_plain
from batcache.disk import PARTIAL, sync, write_file
from batcache.errors import ConfigError, StoreError
from batcache.s3 import Place, S3Path

FORMAT = "batcache"
FORMAT_VERSION = 1
NO_CHUNK = 2**64 - 1
"""Offset and size that Zarr's shard index gives to a chunk that is not there."""

Somewhere = TypeVar("Somewhere", bound=Place)
_MOST_CHUNK_BYTES, _MOST_CHUNKS = 1 << 30, 1 << 20


@dataclass(frozen=True)
class Layout:
    """How frames are cut into chunks and shards. Not in the fingerprint: it changes no number.

    Raises:
        ConfigError: sizes that are no positive integers, or that no memory could hold.
    """

    frames_per_instance: int
    n_mels: int
    instances_per_shard: int = 640

    def __post_init__(self) -> None:
        sizes = tuple(vars(self).values())
        whole = all(type(size) is int and size > 0 for size in sizes)
        if not whole or self.chunk_bytes > _MOST_CHUNK_BYTES or self.instances_per_shard > _MOST_CHUNKS:
            finding = f"instances of {reprlib.repr(sizes[0])} frames of {reprlib.repr(sizes[1])} bands"
            finding += f", {reprlib.repr(sizes[2])} a shard"
            raise ConfigError("data.instance_s, data.n_mels", finding, "An instance may take 1 GB")

    @property
    def chunk_bytes(self) -> int:
        return self.frames_per_instance * self.n_mels * 2

    def shard_bytes(self, instances: Sequence[int], shards: int = 1) -> int:
        """Size of shards that hold recordings of so many instances."""
        return sum(instances) * (self.chunk_bytes + 4) + shards * (16 * self.instances_per_shard + 4)

    def instances(self, frames: int) -> int:
        """Number of instances that hold so many frames."""
        return max(1, -(-frames // self.frames_per_instance))


class CachedRecording(msgspec.Struct, frozen=True, gc=False):
    """A row of the index: one file whose frames are in the store. Files of equal content share their instances.

    A struct, since a million of them are made whenever a large store is opened.

    ``path`` is POSIX and relative to the data root. ``ground`` says why ``time_expansion`` was believed, ``doubt`` is
    empty, or why it may be wrong. Frames from ``dead_bands`` upper bands are 0. The shares of energy are of the
    resampled signal. ``failure`` is empty, or why the samples could not be turned into frames (its instances are NaN).
    From ``recorded_at`` on: what the file says of itself, as in ``features.metadata.Metadata``.
    """

    path: str
    size: int
    mtime_ns: int
    content: str
    header_rate: int
    channels: int
    time_expansion: float
    ground: str
    true_rate: int
    nyquist_hz: float
    duration_s: float
    first_instance: int
    instances: int
    frames: int
    dead_bands: int
    energy_below: float
    energy_above: float
    failure: str = ""
    doubt: str = ""
    recorded_at: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    recorder: str | None = None
    species_auto: str | None = None
    species_manual: str | None = None
    unread: str = ""

    @property
    def key(self) -> tuple[str, int]:
        """What decides the frames, given the settings: the samples and their true rate."""
        return self.content, self.true_rate


@dataclass(frozen=True)
class Commit:
    """The record of one shard. ``crc32c`` has one entry for each chunk in use, from the first slot on.

    ``generation`` counts how often the rows were revised (files renamed, tagged, removed). ``continues`` marks a shard
    whose recording ends in a later one; the row stands in the record of the last shard that it reaches.
    """

    shard: int
    generation: int
    fingerprint: str
    shard_bytes: int
    continues: bool
    crc32c: "array[int]"
    recordings: tuple[CachedRecording, ...]

    def to_json(self) -> bytes:
        document = {
            "format_version": FORMAT_VERSION,
            **{f.name: getattr(self, f.name) for f in fields(self)},
            "crc32c": self.crc32c.tolist(),
            "recordings": {
                name: [getattr(row, name) for row in self.recordings] for name in CachedRecording.__struct_fields__
            },
        }
        body = json.dumps(document, separators=(",", ":"), allow_nan=False).encode().removeprefix(b"{")
        return _head(body) + body

    @classmethod
    def from_json(cls, path: Place, text: bytes) -> Self:
        """Read a record.

        Raises:
            StoreError: not a record, of another version, or not what its digest says.
        """
        if not is_intact(text):
            raise StoreError(
                path, "damaged commit record (its digest does not match)", say_how_to_mend(path, path.name)
            )
        try:
            document = msgspec.json.decode(text, type=_Document[_Columns])  # type: ignore[valid-type]
            lists = msgspec.structs.asdict(document.recordings)
            columns = (_share(_column(lists, field)) for field in msgspec.structs.fields(CachedRecording))
            rows = tuple(starmap(CachedRecording, zip(*columns, strict=True)))
        except (ValueError, RecursionError) as error:
            _check_version(path, text)
            raise StoreError(
                path, f"a commit record of other content ({_brief(error)})", say_how_to_mend(path, path.name)
            ) from None
        if document.format_version != FORMAT_VERSION:
            raise _newer(path, document.format_version)
        named = {f.name: getattr(document, f.name) for f in fields(cls)}
        return cls(**named | {"crc32c": array("I", document.crc32c), "recordings": rows})


_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


def _columns_of(row: type[CachedRecording]) -> type[msgspec.Struct]:
    """A list for each field. One that has a default may lack: there was none when the record was written."""
    columns: list[Any] = []
    for field in msgspec.structs.fields(row):
        kind: Any = list[_Int64 if field.type is int else field.type]  # type: ignore[misc]
        columns.append((field.name, kind) if field.required else (field.name, kind | None, None))
    return msgspec.defstruct("Columns", columns)


def _column(lists: Mapping[str, Any], field: msgspec.structs.FieldInfo) -> list[Any]:
    return [field.default] * len(lists["path"]) if lists[field.name] is None else lists[field.name]


_Columns = _columns_of(CachedRecording)
_C = TypeVar("_C")


class _Document(msgspec.Struct, Generic[_C], forbid_unknown_fields=True):
    """A commit record as JSON. The digest says that someone wrote it so, the types that it is one."""

    digest: str
    format_version: Annotated[int, msgspec.Meta(gt=0, lt=10**6)]
    shard: int
    generation: int
    fingerprint: str
    shard_bytes: int
    continues: bool
    crc32c: list[Annotated[int, msgspec.Meta(ge=0, lt=2**32)]]
    recordings: _C


class _Versioned(msgspec.Struct):
    format_version: Annotated[int, msgspec.Meta(gt=0, lt=10**6)]


def _check_version(path: Place, text: bytes) -> None:
    """Refuse a record of another format version, whatever else is in it."""
    with suppress(ValueError, RecursionError):
        version = msgspec.json.decode(text, type=_Versioned).format_version
        if version != FORMAT_VERSION:
            raise _newer(path, version)


_HEAD_BYTES = len('{"digest":"",\n') + 64


def is_intact(record: bytes) -> bool:
    """Whether a commit record is what its digest says."""
    return record[:_HEAD_BYTES] == _head(memoryview(record)[_HEAD_BYTES:])


def _head(body: "bytes | memoryview") -> bytes:
    """The first line of a commit record."""
    return b'{"digest":"%s",\n' % hashlib.sha256(body).hexdigest().encode()


def _share(column: list[Any]) -> Iterable[Any]:
    """The same values, equal ones as one object: most columns of a million rows hold few different ones."""
    seen: dict[Any, Any] = {}
    return map(seen.setdefault, column, column)


def say_how_to_mend(place: Place, record: str = "") -> str:
    """The remedy for damage, which leaves alone what is sound. ``record`` is that of the shard, where it is one's."""
    if not isinstance(place, S3Path):
        return "Run `batcache verify --repair`"
    remedy = "Copy the store to a disk, run `batcache verify --repair` there and copy it back"
    return (
        f"{remedy}; or, with all recordings of the shard at hand, delete commits/{record} and build"
        if record
        else remedy
    )


def shard_path(store: Somewhere, shard: int) -> Somewhere:
    return store / "instances" / "c" / str(shard) / "0" / "0"  # type: ignore[return-value]  # it is of one kind


def shard_sizes(store: Place) -> Callable[[int], int | None]:
    """A function that says a shard's size in bytes, None where it is not there. On S3 it was asked for all at once."""
    if isinstance(store, S3Path):
        sizes = (store / "instances" / "c").sizes()
        return lambda shard: sizes.get(f"{shard}/0/0")

    def stat(shard: int) -> int | None:
        try:
            return shard_path(store, shard).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    return stat


def commit_path(store: Somewhere, shard: int) -> Somewhere:
    return store / "commits" / f"{shard}.json"  # type: ignore[return-value]


def write_commit(store: Place, commit: Commit) -> None:
    write_file(commit_path(store, commit.shard), commit.to_json())


class ShardWriter:
    """Writes one shard, an instance at a time, in Zarr's ``sharding_indexed`` format."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self._file, self._layout = file, layout
        self._crcs = array("I")

    @property
    def room(self) -> int:
        return self._layout.instances_per_shard - len(self._crcs)

    def append(self, instance: NDArray[np.float16]) -> None:
        """Add one chunk. Shape: ``[frames_per_instance, n_mels]``."""
        payload = np.ascontiguousarray(instance, "<f2").reshape(-1).view(np.uint8)
        self.append_bytes(payload, google_crc32c.value(payload))

    def append_bytes(self, payload: NDArray[np.uint8], crc: int) -> None:
        """Add one chunk as it is stored, under this checksum."""
        assert len(payload) == self._layout.chunk_bytes and self.room
        self._file.write(payload.data)
        self._file.write(struct.pack("<I", crc))
        self._crcs.append(crc)

    def finish(self) -> "tuple[int, array[int]]":
        """Write the index. Returns the shard's size in bytes and the crc32c of each chunk."""
        index = shard_index(len(self._crcs), self._layout)
        self._file.write(index)
        return shard_size(len(self._crcs), self._layout), self._crcs


def shard_size(chunks: int, layout: Layout) -> int:
    """Bytes of a shard of so many chunks: each with its checksum, then the index with its own."""
    return chunks * (layout.chunk_bytes + 4) + layout.instances_per_shard * 16 + 4


def shard_index(used: int, layout: Layout) -> bytes:
    """The end of a shard that has so many chunks: where each lies, one behind the other, and a checksum of that."""
    stored = layout.chunk_bytes + 4
    entries = np.full((layout.instances_per_shard, 2), NO_CHUNK, "<u8")
    entries[:used, 0] = np.arange(used, dtype="<u8") * stored
    entries[:used, 1] = stored
    index = entries.tobytes()
    return index + struct.pack("<I", google_crc32c.value(index))


def read_chunk(cache: Place, instance: int, layout: Layout) -> NDArray[np.uint8]:
    """A chunk as it is stored, its checksum last, unverified; empty where there is none. Shorter at a file's end.

    Raises:
        StoreError: the disk or the object store refuses: there may well be one.
    """
    shard, slot = divmod(instance, layout.instances_per_shard)
    stored = layout.chunk_bytes + 4
    place = shard_path(cache, shard)
    try:
        if isinstance(place, S3Path):
            return np.frombuffer(place.read_range(slot * stored, stored), np.uint8)
        with place.open("rb") as file:
            file.seek(slot * stored)
            return np.frombuffer(file.read(stored), np.uint8)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return np.empty(0, np.uint8)
    except OSError as error:
        raise StoreError(place, f"cannot be read ({error.strerror})", "See to the disk and try again") from None


def parse_shard_index(shard: memoryview, layout: Layout) -> NDArray[np.uint64]:
    """Return offset and size of each chunk, ``[instances_per_shard, 2]``.

    Raises:
        ValueError: the index is damaged.
    """
    size = layout.instances_per_shard * 16
    index, crc = bytes(shard[-size - 4 : -4]), bytes(shard[-4:])
    if len(index) != size or struct.pack("<I", google_crc32c.value(index)) != crc:
        raise ValueError("its index does not match its checksum")
    return np.frombuffer(index, "<u8").reshape(-1, 2)


def is_free(path: Place) -> bool:
    """Whether a store may be made here: nothing is there, or an empty folder, or one in which a store was being made.

    That one holds at most what comes before ``zarr.json``, see ``create_store``: on S3 the array's metadata, with
    shards, perhaps, that do not count.
    """
    if isinstance(path, S3Path):
        return {there.name for there in path.glob("*")} <= {"instances"}
    if not path.exists():
        return True
    return path.is_dir() and all(_is_begun(path, there) for there in path.iterdir())


def _is_begun(store: Path, place: Path) -> bool:
    """Whether this is something that ``create_store`` leaves in a folder where it is stopped, and nothing else."""
    if place.name in ("instances", "commits") and place.is_dir():
        return {there.name for there in place.iterdir()} <= ({"zarr.json"} if place.name == "instances" else set())
    return bool(re.fullmatch(f"[0-9a-f]{{32}}{PARTIAL}", place.name))


def create_store(
    path: Place, features: FeatureConfig, layout: Layout, versions: Mapping[str, str] | None = None
) -> None:
    """Create an empty store, in one step: it is made beside its place and renamed.

    On S3, and in an empty folder, which may be a mount point that nothing can take the place of, ``zarr.json`` comes
    last. ``versions`` are those of the packages that compute its numbers, by default the ones here.

    Raises:
        OSError: the disk refuses.
    """
    if isinstance(path, S3Path) or path.exists():
        with TemporaryDirectory() as folder:
            made = Path(folder) / path.name
            create_store(made, features, layout, versions)
            for name in ("instances/zarr.json", "zarr.json"):
                _add(path, name, (made / name).read_bytes())
        return

    import shutil

    import zarr

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid4().hex}{PARTIAL}")  # two may create one store at once
    attributes = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "features": to_plain(features),
        "fingerprint": features.fingerprint,
        "layout": asdict(layout),
        "versions": dict(versions or _versions()),
    }
    try:
        group = zarr.create_group(partial, attributes=attributes)
        group.create_array("instances", **_array_options(layout))
        (partial / "commits").mkdir()
        for place in (partial, *partial.rglob("*")):
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
    if isinstance(store, S3Path):
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
        if (store / "zarr.json").exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(store))
        partial.replace(store / name)
    finally:
        partial.unlink(missing_ok=True)
    sync((store / name).parent)


def _array_options(layout: Layout) -> dict[str, Any]:
    """What makes the ``instances`` array of a new store, as zarr-python names it."""
    from zarr.codecs import Crc32cCodec

    chunk = (1, layout.frames_per_instance, layout.n_mels)
    return {
        "shape": (0, *chunk[1:]),
        "chunks": chunk,
        "shards": (layout.instances_per_shard, *chunk[1:]),
        "dtype": "float16",
        "compressors": Crc32cCodec(),
        "fill_value": float("nan"),
        "dimension_names": ("instance", "frame", "mel"),
    }


def array_metadata(layout: Layout, instances: int) -> dict[str, Any]:
    """What ``instances/zarr.json`` says of an array of so many instances."""
    import zarr

    metadata = zarr.create_array({}, **_array_options(layout)).metadata.to_dict()
    document: dict[str, Any] = json.loads(json.dumps(metadata))
    document["shape"][0] = instances
    return document


def read_array_metadata(store: Place) -> dict[str, Any]:
    """What the array's metadata say, as zarr-python understands them: left-out defaults filled in.

    Raises:
        StoreError: they are missing or damaged.
    """
    import zarr

    place = store / "instances" / "zarr.json"
    try:
        text = place.read_bytes()
        metadata = zarr.open_array({"zarr.json": zarr.core.buffer.cpu.Buffer.from_bytes(text)}, mode="r").metadata
        document: dict[str, Any] = json.loads(json.dumps(metadata.to_dict()))
        if not _is_part(json.loads(text), document):  # zarr passes over some keys that it does not know
            raise ValueError(text)
    except Exception as error:  # zarr raises what it will
        finding = f"damaged metadata of the array ({type(error).__name__})"
        raise StoreError(place, finding, say_how_to_mend(place)) from None
    return document


def _is_part(part: object, whole: object) -> bool:
    """Whether ``whole`` holds all that ``part`` does, and perhaps more keys."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _is_part(value, whole[key]) for key, value in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) == len(whole) and all(map(_is_part, part, whole))
    return part == whole


def resize(store: Place, instances: int) -> None:
    """Set the length of the ``instances`` array; nothing is written where it has that length.

    Raises:
        StoreError: the array's metadata are missing or damaged.
    """
    place = store / "instances" / "zarr.json"
    try:
        metadata = json.loads(place.read_bytes())
        length, metadata["shape"][0] = metadata["shape"][0], instances
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise StoreError(place, f"cannot be read ({_brief(error)})", say_how_to_mend(place)) from None
    if length != instances:
        write_file(place, json.dumps(metadata, indent=2).encode())


def read_attributes(store: Place) -> tuple[FeatureConfig, Layout, dict[str, Any]]:
    """Return a store's settings, layout and all its attributes.

    Raises:
        StoreError: not there, not a store, of another format version, or by another version of the front end.
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
        raise StoreError(place, f"cannot be read ({error.strerror})", "See to the disk, or its permissions") from None
    return *check_attributes(store, attributes), attributes


def check_attributes(store: Place, attributes: dict[str, Any]) -> tuple[FeatureConfig, Layout]:
    """Return the settings and layout that a store's attributes give. Raises as ``read_attributes``."""
    try:
        if attributes["format"] != FORMAT:
            raise KeyError(FORMAT)
        version = attributes["format_version"]
        if type(version) is not int or not 0 < version < 10**6:
            raise TypeError("no format version")
    except (KeyError, TypeError) as error:
        raise _foreign(store, error) from None
    if version != FORMAT_VERSION:
        raise _newer(store, version)
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
            store, f"settings that this batcache does not know ({_brief(error)})", "Upgrade batcache"
        ) from None
    if features.fingerprint != fingerprint:
        raise StoreError(
            store,
            f"computed by another front end (fingerprint {fingerprint[:12]}, here {features.fingerprint[:12]})",
            "Build into a new --cache",
        )
    if layout.n_mels != features.n_mels:
        finding = f"its layout is damaged: it has {layout.n_mels} mel bands, its settings {features.n_mels}"
        raise StoreError(store / "zarr.json", finding, "Restore it from a copy")
    return features, layout


def _read_features(settings: object) -> FeatureConfig:
    """The settings that a file gives, each of its type and in its range. Raises TypeError, ConfigError."""
    try:
        return TypeAdapter(FeatureConfig).validate_json(json.dumps(settings), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise TypeError(f"{' '.join(map(reprlib.repr, first['loc']))}: {first['msg']}") from None


def _require_names(given: object, names: set[str]) -> dict[str, Any]:
    """A mapping that has these names and no others. Raises TypeError."""
    if not isinstance(given, dict) or given.keys() != names:
        raise TypeError(f"the layout has not exactly {', '.join(sorted(names))}")
    return given


def _newer(place: Place, version: int) -> StoreError:
    finding = f"format version {version}, this batcache reads {FORMAT_VERSION}"
    return StoreError(place, finding, "Upgrade batcache")


def _foreign(store: Place, error: Exception) -> StoreError:
    return StoreError(store, f"not a batcache store ({_brief(error)})", "Pass another --cache")


def _brief(error: Exception) -> str:
    """What an error says, on one line: it may repeat what a file holds."""
    return textwrap.shorten(str(error), 200, placeholder=" ...")


def array_length(commits: Sequence[tuple[int, int]], layout: Layout) -> int:
    """Length of the array that ends with the last instance in use, given (shard, chunks in use) of each shard."""
    return max((shard * layout.instances_per_shard + used for shard, used in commits), default=0)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("batcache", "numpy", "soxr", "torch", "torchaudio", "nnAudio", "zarr")}
