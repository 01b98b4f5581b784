"""What AudioMoth recorders say of a recording, in a WAV's ``LIST`` chunk of the type ``INFO``.

That is sentences in the field ``ICMT`` (comment), of a form that has changed little with the firmware, and the device
in ``IART`` (artist):

    Recorded at 22:10:00 12/04/2024 (UTC+1) by AudioMoth 0123456789ABCDEF at medium gain while battery was 4.1V and
    temperature was 11.2C.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

_MOST_FIELDS = 200
_DEVICE = re.compile(r"AudioMoth(?: [0-9A-Fa-f]{16})?")
_TIME = re.compile(
    r"Recorded at (\d\d:\d\d:\d\d)(\.\d{1,6})? (\d\d/\d\d/\d{4})(?: \((?:UTC|GMT)(?:([+-])(\d{1,2})(?::(\d\d))?)?\))?"
)
_GAIN = re.compile(r"\b(?:at|with) (?:gain setting (\d)|((?:low|medium|high)(?:-(?:low|medium|high))?) gain)")
_BATTERY = re.compile(r"\bbattery(?: state| voltage| level)? was (?:(?:greater|less) than )?(\d+(?:\.\d+)?) ?V")
_TEMPERATURE = re.compile(r"\btemperature was (-?\d+(?:\.\d+)?) ?C")


@dataclass(frozen=True, slots=True)
class AudioMothComment:
    """What a recorder says; None where it does not. ``recorded_at`` is ISO 8601, ``battery_v`` volts."""

    recorder: str | None = None
    recorded_at: str | None = None
    gain_setting: str | None = None
    battery_v: float | None = None
    temperature_c: float | None = None


def read_audiomoth(content: bytes) -> AudioMothComment | None:
    """Read the content of a ``LIST`` chunk; None where no AudioMoth wrote it."""
    if content[:4] != b"INFO":
        return None
    said = {name: value.split(b"\0")[0].decode("latin-1").strip() for name, value in _read_fields(content[4:])}
    comment, artist = said.get(b"ICMT", ""), said.get(b"IART", "")
    device = _DEVICE.match(artist) or _DEVICE.search(comment)
    if device is None:
        return None
    gain, battery, temperature = (kind.search(comment) for kind in (_GAIN, _BATTERY, _TEMPERATURE))
    return AudioMothComment(
        recorder=device[0],
        recorded_at=_read_time(comment),
        gain_setting=(gain[1] or gain[2]) if gain else None,
        battery_v=float(battery[1]) if battery else None,
        temperature_c=float(temperature[1]) if temperature else None,
    )


def _read_fields(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and value of each field. Behind one of odd size the pad byte may lack, as behind chunks."""
    place = 0
    for _ in range(_MOST_FIELDS):
        if place + 8 > len(content):
            return
        name, size = struct.unpack("<4sI", content[place : place + 8])
        yield name, content[place + 8 : place + 8 + size]
        place += 8 + size
        if size & 1 and content[place : place + 1] == b"\0":
            place += 1


def _read_time(comment: str) -> str | None:
    found = _TIME.search(comment)
    if found is None:
        return None
    time, fraction, date, sign, hours, minutes = found.groups()
    try:
        moment = datetime.strptime(f"{date} {time}", "%d/%m/%Y %H:%M:%S")
    except ValueError:
        return None
    if fraction:
        moment = moment.replace(microsecond=int(fraction[1:].ljust(6, "0")))
    if "(" in found[0]:
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
        if abs(offset) >= timedelta(hours=24):
            return None
        moment = moment.replace(tzinfo=timezone(offset))
    return moment.isoformat()
