"""Commit records: what each shard holds, written last, and believed where the digest holds.

A record is JSON on two lines. The first holds its digest, which is the SHA-256 of the second, so that a store of many
thousand shards opens at the speed of a checksum: ``tail -n +2 0.json | sha256sum`` gives it too.
"""

import json
import re
from array import array
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from itertools import repeat, starmap
from typing import Annotated, Any, Generic, Self, TypeVar

import msgspec

from batcache.errors import StoreError, brief, list_some, shorten
from batcache.storage.disk import write_file
from batcache.storage.place import Place
from batcache.storage.sealed import head_of_json
from batcache.store.format.layout import FORMAT_VERSION, newer, say_how_to_mend
from batcache.store.format.records import note_committed

Somewhere = TypeVar("Somewhere", bound=Place)


_ON_DISK = {"expansion_source": "ground", "expansion_warning": "doubt"}
"""What fields are called in records and exported files, where that is not their name: format 1 keeps its words."""


class CachedRecording(msgspec.Struct, frozen=True, gc=False, rename=_ON_DISK):
    """A row of the index: one file whose frames are in the store. Files of equal content share their instances.

    A struct, since a million of them are made whenever a large store is opened.

    ``path`` is POSIX and relative to the data root. ``expansion_source`` says who knew the
    ``time_expansion``; ``expansion_warning`` is empty, or why it may be wrong. Frames from ``dead_bands`` upper bands
    are 0. The shares of energy are of its spectra up to half the target rate. ``overscale`` is the peak of float
    samples where it lies beyond full scale (1), else 0. ``failure`` is empty, or why the samples could not be turned
    into frames (its instances are NaN).
    ``channel`` counts from 1: the one of ``channels`` that was taken; ``channel_warning`` is empty, or why another may
    be the one to take. ``header_warning`` says what of the file's header was not believed. ``constant`` is 1 where the
    samples hold nothing but one value. ``file_content`` is what ``content`` would be for the first channel, where it is
    another's. The others, from ``recorded_at`` on: what the file says of itself, as in ``features.metadata.Metadata``.
    """

    path: str
    size: int
    mtime_ns: int
    content: str
    header_rate: int
    channels: int
    time_expansion: float
    expansion_source: str
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
    expansion_warning: str = ""
    recorded_at: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    recorder: str | None = None
    species_auto: str | None = None
    species_manual: str | None = None
    unread: str = ""
    overscale: float = 0.0
    channel: int = 1
    channel_warning: str = ""
    header_warning: str = ""
    constant: int = 0
    gain_setting: str | None = None
    battery_v: float | None = None
    temperature_c: float | None = None
    file_content: str = ""

    @property
    def recording(self) -> str:
        """A hash that all channels of a recording share."""
        return self.file_content or self.content

    @property
    def key(self) -> tuple[str, int]:
        """What decides the frames, given the settings: the samples, by a hash that knows the channel, and the rate."""
        return self.content, self.true_rate


_WHERE_USED = ("file_content",)


def columns_in_use(rows: Iterable[CachedRecording]) -> list[msgspec.structs.FieldInfo]:
    """The columns that are written: some only where a row has something there, so that other records stay the same."""
    columns = msgspec.structs.fields(CachedRecording)
    return [one for one in columns if one.name not in _WHERE_USED or any(getattr(row, one.name) for row in rows)]


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
        """The record as it is stored: the line with the digest, then the line that the digest is of."""
        document = {
            "format_version": FORMAT_VERSION,
            **{f.name: getattr(self, f.name) for f in fields(self)},
            "crc32c": self.crc32c.tolist(),
            "recordings": {
                field.encode_name: [getattr(row, field.name) for row in self.recordings]
                for field in columns_in_use(self.recordings)
            },
        }
        body = json.dumps(document, separators=(",", ":"), allow_nan=False).encode().removeprefix(b"{")
        return _head(body) + body

    @classmethod
    def from_json(cls, path: Place, text: bytes) -> Self:
        """Parse the content ``text`` of the record at ``path``.

        Raises:
            StoreError: it is no record, has another format version or columns of a newer one, or does not match its
                digest. Names ``path``.
        """
        if not is_intact(text):
            names = [shorten(name) for name in read_texts(text, "path")]
            held = list_some(names) if names else "it names none"
            finding = f"damaged commit record (its digest does not match) of shard {path.stem}; recordings: {held}"
            raise StoreError(path, finding, say_how_to_mend(path, path.name))
        try:
            document = _DECODER.decode(text)
            lists = msgspec.structs.asdict(document.recordings)
            count = _length_of(lists)
            columns = (_values(lists[name], default, count) for name, default in _DEFAULTS)
            rows = tuple(starmap(CachedRecording, zip(*columns, strict=False)))
        except (ValueError, RecursionError) as error:
            _check_version(path, text)
            if unknown := unknown_keys(text):
                finding = f"a commit record with columns that this batcache does not know: {list_some(unknown)}"
                raise StoreError(path, finding, "Upgrade batcache") from None
            raise StoreError(
                path, f"a commit record of other content ({brief(error)})", say_how_to_mend(path, path.name)
            ) from None
        if document.format_version != FORMAT_VERSION:
            raise newer(path, document.format_version)
        named = {f.name: getattr(document, f.name) for f in fields(cls)}
        return cls(**named | {"crc32c": array("I", document.crc32c), "recordings": rows})


_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


def _columns_of(row: type[CachedRecording]) -> type[msgspec.Struct]:
    """A list for each field. One that has a default may lack: there was none when the record was written."""
    columns: list[Any] = []
    for field in msgspec.structs.fields(row):
        kind: Any = list[_Int64 if field.type is int else field.type]  # type: ignore[misc]
        columns.append((field.encode_name, kind) if field.required else (field.encode_name, kind | None, None))
    return msgspec.defstruct("Columns", columns, forbid_unknown_fields=True)


_Columns = _columns_of(CachedRecording)
_DEFAULTS = [(field.encode_name, field.default) for field in msgspec.structs.fields(CachedRecording)]
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


_DECODER = msgspec.json.Decoder(_Document[_Columns])  # type: ignore[valid-type]


class _Versioned(msgspec.Struct):
    format_version: Annotated[int, msgspec.Meta(gt=0, lt=10**6)]


def _check_version(path: Place, text: bytes) -> None:
    """Refuse a record of another format version, whatever else is in it."""
    with suppress(ValueError, RecursionError):
        version = msgspec.json.decode(text, type=_Versioned).format_version
        if version != FORMAT_VERSION:
            raise newer(path, version)


def unknown_keys(text: bytes) -> list[str]:
    """What a record has that this batcache does not know: someone newer wrote it, and left out it would be lost."""
    known = {field.encode_name for kind in (_Document, _Columns) for field in msgspec.structs.fields(kind)}
    with suppress(ValueError, KeyError, RecursionError):
        document = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        columns = msgspec.json.decode(document["recordings"], type=dict[str, msgspec.Raw])
        return [key for key in (*document, *columns) if key not in known]
    return []


def read_texts(record: bytes, column: str) -> list[str]:
    """The texts of a column, as far as they can be read. The record may be damaged anywhere."""
    text = record.decode(errors="replace")
    found = re.search(rf'"{column}":\[((?:"(?:[^"\\]|\\.)*",?)*)', text)
    return [_unescape(one) for one in re.findall(r'"(?:[^"\\]|\\.)*"', found[1])] if found else []


def _unescape(text: str) -> str:
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        return text


_HEAD_BYTES = len('{"digest":"",\n') + 64


def is_intact(record: bytes) -> bool:
    """Whether a commit record is what its digest says."""
    return record[:_HEAD_BYTES] == _head(memoryview(record)[_HEAD_BYTES:])


def _head(body: "bytes | memoryview") -> bytes:
    """The first line of a commit record."""
    return head_of_json(body) + b"\n"


def _length_of(columns: Mapping[str, list[Any] | None]) -> int:
    """How many rows the columns of a record make. Raises ValueError where they are of several lengths."""
    lengths = {len(column) for column in columns.values() if column is not None}
    if len(lengths) != 1:
        raise ValueError(f"columns of {', '.join(map(str, sorted(lengths)))} rows")
    return lengths.pop()


def _values(column: list[Any] | None, default: Any, count: int) -> Iterable[Any]:
    """The values of a column, ``default`` where it lacks. Equal ones are one object: most columns of a million rows
    hold few different ones, mostly one a shard."""
    if column is None:
        return repeat(default, count)
    if column and column.count(column[0]) == count:
        return repeat(column[0], count)
    seen: dict[Any, Any] = {}
    return map(seen.setdefault, column, column)


def commit_path(store: Somewhere, shard: int) -> Somewhere:
    """Where the record of a shard lies: ``commits/<shard>.json``."""
    return store / "commits" / f"{shard}.json"  # type: ignore[return-value]


def write_commit(store: Place, commit: Commit) -> None:
    """Write or replace the record of a shard. From then on the shard counts, so its own file comes first.

    Raises:
        OSError: the disk refuses.
        UnreachableError: the object store cannot be reached or refuses.
    """
    write_file(commit_path(store, commit.shard), commit.to_json())
    note_committed(store, has_records=True)
