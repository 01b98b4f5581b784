"""What recorder and annotators wrote into a file beside its samples: GUANO, WAMD and AudioMoth's comment.

GUANO (https://guano-md.org) is text, ``Key: value`` a line, in a WAV's chunk ``guan``. WAMD (Wildlife Acoustics) is a
list of fields in the chunk ``wamd``, each a uint16 id, a uint32 length and so many bytes, little-endian. A FLAC made
with --keep-foreign-metadata carries both chunks in APPLICATION blocks of the id ``riff``. For AudioMoth's comment see
``files.info_list``.

Nothing here raises over what is broken: what can be read is read, and ``Metadata.unread`` says what could not. Of what
a length claims, no more is read than there is, and never more than a bound.
"""

import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import reduce
from pathlib import Path
from typing import Any, BinaryIO

from guano import GuanoFile

from batcache.errors import AudioError, list_some
from batcache.features.audio import AudioHeader
from batcache.features.files.fields import decode_text, read_place, read_positive, read_text, read_time, take_field
from batcache.features.files.info_list import read_audiomoth

_LONGEST_GUANO = 1 << 20  # bytes; some carry a picture in base64
_LONGEST_FIELD = 1 << 12
_LONGEST_LIST = 1 << 16
_MOST_PARTS = 2000  # lines of a GUANO, fields of a WAMD, chunks of a file
_NUMBERS = ("guano_expansion", "guano_rate", "guano_length_s", "wamd_expansion")
_SITES = ("NABat|Site Name", "WA|Song Meter|Prefix")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file says of itself beside the samples; None where it does not.

    ``recorded_at`` is ISO 8601, with an offset where the file has one. ``recorder`` is make and model, ``site`` what
    the recorder was told to call its place. The species are as written, comma-separated. ``guano_rate`` in Hz and
    ``guano_length_s`` are the recording's, by GUANO's definition in true time. ``gain_setting`` is the recorder's,
    ``battery_v`` in volts, ``temperature_c`` in degrees. ``unread`` says what could not be read.
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
    gain_setting: str | None = None
    battery_v: float | None = None
    temperature_c: float | None = None


def read_metadata(path: Path, header: AudioHeader) -> Metadata:
    """Read a file's GUANO, WAMD and LIST; where several speak, the first of these counts.

    Raises:
        AudioError: the file cannot be opened or read at all.
    """
    if not header.tags:
        return Metadata(unread=header.unread)
    readers = {b"guan": _read_guano, b"wamd": _read_wamd, b"LIST": _read_list}
    found: dict[bytes, Metadata] = {}
    try:
        with path.open("rb") as file:
            for chunk in header.tags[:_MOST_PARTS]:
                said = readers[chunk.name](file, chunk.start, chunk.there)
                found[chunk.name] = _join(found[chunk.name], said) if chunk.name in found else said
    except OSError as error:
        raise AudioError(path, f"cannot be read ({error.strerror})", "Check the disk and the permissions") from None
    said = reduce(_join, [found[name] for name in readers if name in found])
    return replace(said, unread="; ".join(filter(None, (header.unread, said.unread))))


def _join(first: Metadata, second: Metadata) -> Metadata:
    """What ``first`` says, and what only ``second`` does. A place is taken whole, numbers that differ are named."""
    said = {f.name: getattr(first, f.name) for f in fields(Metadata)}
    if first.latitude is not None:
        second = replace(second, latitude=None, longitude=None)
    missing = {name: getattr(second, name) for name, value in said.items() if value is None}
    differ = [name for name in _NUMBERS if said[name] is not None and getattr(second, name) not in (None, said[name])]
    twice = [f"a second {name.replace('_', ' ')} of {getattr(second, name):g}" for name in differ]
    return Metadata(**{**said, **missing, "unread": "; ".join(filter(None, (first.unread, second.unread, *twice)))})


def _read_guano(file: BinaryIO, start: int, length: int) -> Metadata:
    file.seek(start)
    raw = file.read(min(length, _LONGEST_GUANO))
    text = decode_text(raw)
    said: dict[str, Any] = {}
    twice: set[str] = set()
    unread = ["the GUANO's end: it is too long"] if length > len(raw) else []
    lines = text.split("\n")
    for number, line in enumerate(lines[:_MOST_PARTS], 1):
        if line.strip(" \t\r\f\v\0"):
            try:  # a line at a time, since one that is broken would take the others with it
                for key, value in GuanoFile.from_string(line).items():
                    if said.setdefault(key, value) != value:
                        twice.add(key)
            except Exception:  # foreign code meets arbitrary bytes: it has raised ValueError, IndexError, OverflowError
                unread.append(f"GUANO line {number}")
    if len(lines) > _MOST_PARTS:
        unread.append(f"GUANO from line {_MOST_PARTS + 1} on")

    def take(key: str, read: Callable[[Any], Any]) -> Any:
        if key in twice:  # with two values: nobody knows which is right
            unread.append(f"GUANO {key}, which is given twice")
            return None
        return take_field(said, key, read, f"GUANO {key}", unread)

    place = take("Loc Position", read_place) or (None, None)
    make, model = take("Make", read_text), take("Model", read_text)
    return Metadata(
        recorded_at=take("Timestamp", read_time),
        latitude=place[0],
        longitude=place[1],
        recorder=model if make and model and model.startswith(make) else " ".join(filter(None, (make, model))) or None,
        site=next(filter(None, (take(key, read_text) for key in _SITES)), None),
        species_auto=take("Species Auto ID", read_text),
        species_manual=take("Species Manual ID", read_text),
        guano_expansion=take("TE", read_positive),
        guano_rate=take("Samplerate", read_positive),
        guano_length_s=take("Length", read_positive),
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
        return take_field(said, key, read, f"WAMD {key}", unread)

    position = take("place", _wamd_place) or (None, None)
    return Metadata(
        recorded_at=take("time", read_time),
        latitude=position[0],
        longitude=position[1],
        recorder=take("model", read_text),
        site=take("site", read_text),
        species_auto=take("auto id", read_text),
        species_manual=take("manual id", read_text),
        wamd_expansion=take("time expansion", lambda raw: read_positive(struct.unpack("<H", raw)[0])),
        unread=list_some(unread) if unread else "",
    )


def _read_list(file: BinaryIO, start: int, length: int) -> Metadata:
    file.seek(start)
    said = read_audiomoth(file.read(min(length, _LONGEST_LIST)))
    return Metadata() if said is None else Metadata(**asdict(said))


def _wamd_place(raw: bytes) -> tuple[float, float] | None:
    """``WGS84,51.5,N,0.1,W,80``, or as phones write it ``WGS84,51.5,-0.1,80``."""
    text = read_text(raw)
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")][1:]
    if parts[1] in ("N", "S"):
        sign = {"N": 1, "S": -1, "E": 1, "W": -1}
        if parts[3] not in ("E", "W"):
            raise ValueError(text)
        return read_place((sign[parts[1]] * float(parts[0]), sign[parts[3]] * float(parts[2])))
    return read_place((float(parts[0]), float(parts[1])))
