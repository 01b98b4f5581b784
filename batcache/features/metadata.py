"""What recorder and annotators wrote into a file beside its samples: GUANO and WAMD.

GUANO (https://guano-md.org) is text, ``Key: value`` a line, in a WAV's chunk ``guan``. WAMD (Wildlife Acoustics) is a
list of fields in the chunk ``wamd``, each a uint16 id, a uint32 length and so many bytes, little-endian. A FLAC made
with --keep-foreign-metadata carries both chunks in APPLICATION blocks of the id ``riff``.

Nothing here raises over what is broken: what can be read is read, and ``Metadata.unread`` says what could not. Of what
a length claims, no more is read than there is, and never more than a bound.
"""

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from guano import GuanoFile

from batcache.errors import AudioError, list_some
from batcache.features.audio import AudioHeader

_LONGEST_GUANO = 1 << 20  # bytes; some carry a picture in base64
_LONGEST_FIELD = 1 << 12
_MOST_PARTS = 2000  # lines of a GUANO, fields of a WAMD, chunks of a file
_LONGEST_TEXT = 200  # characters that go into the index
_SITES = ("NABat|Site Name", "WA|Song Meter|Prefix")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file says of itself beside the samples; None where it does not.

    ``recorded_at`` is ISO 8601, with an offset where the file has one. ``recorder`` is make and model, ``site`` what
    the recorder was told to call its place. The species are as written, comma-separated. ``guano_rate`` in Hz
    and ``guano_length_s`` are the recording's, by GUANO's definition in true time. ``unread`` says what could not be
    read.
    """

    recorded_at: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    recorder: str | None = None
    site: str | None = None
    species_auto: str | None = None
    species_manual: str | None = None
    guano_expansion: float | None = None
    guano_rate: float | None = None
    guano_length_s: float | None = None
    wamd_expansion: float | None = None
    unread: str = ""


def read_metadata(path: Path, header: AudioHeader) -> Metadata:
    """Read a file's GUANO and WAMD; where both speak, GUANO counts.

    Raises:
        AudioError: the file cannot be opened or read at all.
    """
    found = {b"guan": Metadata(), b"wamd": Metadata()}
    readers = {b"guan": _read_guano, b"wamd": _read_wamd}
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            is_flac = file.read(4) == b"fLaC"
            chunks = _flac_chunks(file, size) if is_flac else _wav_chunks(file, size, header)
            for name, start, length, claimed in chunks:
                said = readers[name](file, start, length)
                if claimed > length:
                    cut = f"{name.decode()} chunk claims {claimed:,} bytes, {length:,} are there"
                    said = replace(said, unread="; ".join(filter(None, (cut, said.unread))))
                found[name] = _join(found[name], said)
    except OSError as error:
        raise AudioError(path, f"cannot be read ({error.strerror})", "Check the disk and the permissions") from None
    return _join(found[b"guan"], found[b"wamd"])


def _join(first: Metadata, second: Metadata) -> Metadata:
    """What ``first`` says, and what only ``second`` does. A place is taken whole."""
    said = {f.name: getattr(first, f.name) for f in fields(Metadata)}
    if first.latitude is not None:
        second = replace(second, latitude=None, longitude=None)
    missing = {name: getattr(second, name) for name, value in said.items() if value is None}
    return Metadata(**{**said, **missing, "unread": "; ".join(filter(None, (first.unread, second.unread)))})


def _wav_chunks(file: BinaryIO, size: int, header: AudioHeader) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield (name, first byte, bytes there, bytes claimed) of each metadata chunk, before and behind the samples."""
    place = 12
    for _ in range(_MOST_PARTS):
        if place + 8 > size:
            return
        file.seek(place)
        name, claimed = struct.unpack("<4sI", file.read(8))
        start = place + 8
        if start == header.audio_start:
            claimed = header.audio_bytes  # which an RF64 says elsewhere
        if name in (b"guan", b"wamd"):
            yield name, start, min(claimed, size - start), claimed
        elif not (name.isascii() and name.decode().isprintable()):
            return
        place = start + claimed + (claimed & 1)


def _flac_chunks(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int, int]]:
    place = 4
    for _ in range(_MOST_PARTS):
        file.seek(place)
        head = file.read(16)
        if len(head) < 16:
            return
        kind, length = head[0] & 0x7F, int.from_bytes(head[1:4], "big")
        name, claimed = struct.unpack("<4sI", head[8:])
        if kind == 2 and head[4:8] == b"riff" and name in (b"guan", b"wamd"):
            yield name, place + 16, max(0, min(claimed, length - 12, size - place - 16)), claimed
        place += 4 + length
        if head[0] & 0x80:
            return


def _read_guano(file: BinaryIO, start: int, length: int) -> Metadata:
    file.seek(start)
    raw = file.read(min(length, _LONGEST_GUANO))
    text = _decode(raw)
    said: dict[str, Any] = {}
    unread = ["the GUANO's end: it is too long"] if length > len(raw) else []
    lines = text.split("\n")
    for number, line in enumerate(lines[:_MOST_PARTS], 1):
        if line.strip(" \t\r\f\v\0"):
            try:  # a line at a time, since one that is broken would take the others with it
                said.update(GuanoFile.from_string(line).items())
            except Exception:  # foreign code meets arbitrary bytes: it has raised ValueError, IndexError, OverflowError
                unread.append(f"GUANO line {number}")
    if len(lines) > _MOST_PARTS:
        unread.append(f"GUANO from line {_MOST_PARTS + 1} on")

    def take(key: str, read: Callable[[Any], Any]) -> Any:
        return _take(said, key, read, f"GUANO {key}", unread)

    place = take("Loc Position", _place) or (None, None)
    make, model = take("Make", _text), take("Model", _text)
    return Metadata(
        recorded_at=take("Timestamp", _iso),
        latitude=place[0],
        longitude=place[1],
        recorder=model if make and model and model.startswith(make) else " ".join(filter(None, (make, model))) or None,
        site=next(filter(None, (take(key, _text) for key in _SITES)), None),
        species_auto=take("Species Auto ID", _text),
        species_manual=take("Species Manual ID", _text),
        guano_expansion=take("TE", _positive),
        guano_rate=take("Samplerate", _positive),
        guano_length_s=take("Length", _positive),
        unread=list_some(unread) if unread else "",
    )


_WAMD = {
    0x01: "model",
    0x04: "site",
    0x05: "time",
    0x06: "place",
    0x0B: "auto id",
    0x0C: "manual id",
    0x0F: "time expansion",
}


def _read_wamd(file: BinaryIO, start: int, length: int) -> Metadata:
    said: dict[str, bytes] = {}
    unread = []
    place, end = start, start + length
    for _ in range(_MOST_PARTS):
        if place + 6 > end:
            break
        file.seek(place)
        head = file.read(6)
        if len(head) < 6:
            break
        number, claimed = struct.unpack("<HI", head)
        there = min(claimed, end - place - 6)
        if name := _WAMD.get(number):
            if there < claimed or there > _LONGEST_FIELD:
                unread.append(f"WAMD {name}, of {claimed:,} bytes")
            else:
                said[name] = file.read(there)
        place += 6 + claimed

    def take(key: str, read: Callable[[Any], Any]) -> Any:
        return _take(said, key, read, f"WAMD {key}", unread)

    position = take("place", _wamd_place) or (None, None)
    return Metadata(
        recorded_at=take("time", _iso),
        latitude=position[0],
        longitude=position[1],
        recorder=take("model", _text),
        site=take("site", _text),
        species_auto=take("auto id", _text),
        species_manual=take("manual id", _text),
        wamd_expansion=take("time expansion", lambda raw: _positive(struct.unpack("<H", raw)[0])),
        unread=list_some(unread) if unread else "",
    )


def _take(said: dict[str, Any], key: str, read: Callable[[Any], Any], name: str, unread: list[str]) -> Any:
    """A value as ``read`` understands it; None where it is missing or, noted in ``unread``, not understood."""
    if key not in said:
        return None
    try:
        return read(said[key])
    except (ValueError, TypeError, OverflowError, IndexError, struct.error):
        unread.append(name)
        return None


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # as older programs write; every byte is a character


def _text(value: object) -> str | None:
    """Text in one line, of bounded length."""
    if isinstance(value, bytes):
        value = _decode(value)
    shown = "".join(c if c.isprintable() else " " for c in str(value)[: 4 * _LONGEST_TEXT])
    return " ".join(shown.split())[:_LONGEST_TEXT] or None


def _iso(value: object) -> str | None:
    if isinstance(value, datetime):
        return value.isoformat()
    text = _text(value)
    return datetime.fromisoformat(text).isoformat() if text else None


def _positive(value: object) -> float:
    number = float(str(value))
    if not (math.isfinite(number) and number > 0):
        raise ValueError(number)
    return number


def _place(value: object) -> tuple[float, float]:
    """Latitude and longitude in degrees (WGS 84)."""
    if not isinstance(value, tuple):
        raise TypeError(value)
    latitude, longitude = value
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise ValueError(value)
    return latitude, longitude


def _wamd_place(raw: bytes) -> tuple[float, float] | None:
    """``WGS84,51.5,N,0.1,W,80``, or as phones write it ``WGS84,51.5,-0.1,80``."""
    text = _text(raw)
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")][1:]
    if parts[1] in ("N", "S"):
        sign = {"N": 1, "S": -1, "E": 1, "W": -1}
        if parts[3] not in ("E", "W"):
            raise ValueError(text)
        return _place((sign[parts[1]] * float(parts[0]), sign[parts[3]] * float(parts[2])))
    return _place((float(parts[0]), float(parts[1])))
