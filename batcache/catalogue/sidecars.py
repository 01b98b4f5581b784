"""What recorders write beside a recording, Batlogger's XML, or before its samples, the head of a Pettersson D500X."""

from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from re import fullmatch, search
from xml.etree import ElementTree

from batcache.features.metadata import Metadata
from batcache.storage.listing import is_file

_LONGEST_XML = 1 << 20
_D500X, _D500X_TIME, _D500X_TEXT, _D500X_HEAD = 0xF0, slice(0xE0, 0xEF), slice(0x200, 0x400), 0x400


def read_sidecar(path: Path) -> Metadata:
    """What stands in a Batlogger's XML beside a recording, or in the head of a D500X; nothing where there is neither.

    Nothing here raises over what is broken: ``unread`` says what could not be read.
    """
    return _read_batlogger(path) or _read_d500x(path) or Metadata()


def add_missing(said: Metadata, more: Metadata) -> Metadata:
    """What ``said`` says, and what only ``more`` does."""
    place_known = said.latitude is not None
    gaps = {f.name: getattr(more, f.name) for f in fields(Metadata) if getattr(said, f.name) is None}
    if place_known:
        gaps = {name: value for name, value in gaps.items() if name not in ("latitude", "longitude")}
    return replace(said, **gaps, unread="; ".join(filter(None, (said.unread, more.unread))))


def _read_batlogger(path: Path) -> Metadata | None:
    beside = next((one for end in (".xml", ".XML") if is_file(one := path.with_suffix(end))), None)
    if beside is None:
        return None
    try:
        text = beside.read_bytes()[:_LONGEST_XML]
        if b"<!" in text.replace(b"<!--", b""):  # a document type may have entities that grow without end
            return Metadata(unread=f"{beside.name}: not a plain XML")
        root = ElementTree.fromstring(text)
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        return Metadata(unread=f"{beside.name}: {error}")
    if root.tag != "BatRecord":
        return None
    unread = []
    try:
        time: datetime | None = datetime.strptime(_text(root, "DateTime"), "%d.%m.%Y %H:%M:%S")
    except ValueError:
        time, unread = None, [f"{beside.name}: DateTime"]
    latitude, longitude = _read_place(root)
    return Metadata(
        recorded_at=None if time is None else _with_offset(time, _text(root, "GPS/GPSTimestamp")).isoformat(),
        latitude=latitude,
        longitude=longitude,
        recorder=" ".join(filter(None, ("Elekon Batlogger", root.get("Model")))),
        unread="; ".join(unread),
    )


def _text(root: ElementTree.Element, path: str) -> str:
    return (root.findtext(path) or "").strip()


def _read_place(root: ElementTree.Element) -> tuple[float | None, float | None]:
    """Latitude and longitude; none where the receiver says that it has no fix."""
    if _text(root, "GPS/Valid").lower() == "no":
        return None, None
    try:
        latitude, longitude = map(float, _text(root, "GPS/Position").split())
    except ValueError:
        return None, None
    there = abs(latitude) <= 90 and abs(longitude) <= 180 and (latitude, longitude) != (0, 0)
    return (latitude, longitude) if there else (None, None)


def _with_offset(time: datetime, clock: str) -> datetime:
    """The receiver's clock ends in the offset of the zone that is set, ``20:07:34+2h``."""
    found = fullmatch(r".*([+-]\d{1,2})h", clock)
    if not found or abs(int(found[1])) > 14:
        return time
    return time.replace(tzinfo=timezone(timedelta(hours=int(found[1]))))


def _read_d500x(path: Path) -> Metadata | None:
    try:
        with path.open("rb") as file:
            head = file.read(_D500X_HEAD)
    except OSError:
        return None
    if head[_D500X : _D500X + 5] != b"D500X":
        return None
    latitude, longitude = _read_degrees(head, "LAT", 90), _read_degrees(head, "LON", 180)
    if latitude is None or longitude is None:
        latitude = longitude = None
    time, unread = None, ""
    try:
        time = datetime.strptime(head[_D500X_TIME].decode("ascii").strip("\0 "), "%y%m%d %H:%M:%S").isoformat()
    except ValueError:
        unread = "the time in the D500X's head"
    return Metadata(
        recorded_at=time, latitude=latitude, longitude=longitude, recorder="Pettersson D500X", unread=unread
    )


def _read_degrees(head: bytes, name: str, most: int) -> float | None:
    """``LAT: 55 36 12 N``, degrees, minutes and seconds, on a line of the text in the head."""
    found = search(rf"{name}:\s*(\d+) (\d+(?:\.\d+)?) (\d+(?:\.\d+)?) ([NSEW])", head[_D500X_TEXT].decode("latin-1"))
    if not found:
        return None
    degrees = int(found[1]) + float(found[2]) / 60 + float(found[3]) / 3600
    return None if degrees > most else -degrees if found[4] in "SW" else degrees
