"""The rows of a manifest, and how they are written so that a spreadsheet and ``read_manifest`` read them as meant."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from batcache.catalogue.gather import Event
from batcache.errors import ManifestError
from batcache.manifest.cells import UNKNOWN
from batcache.manifest.manifest import read_manifest
from batcache.storage.disk import write_file
from batcache.storage.spreadsheet import to_csv

_BEFORE = ("filename", "group", "time_expansion")
_BEHIND = ("recorded_at", "latitude", "longitude", "site", "recorder", "sample_rate", "duration", "meta_night",
           "meta_expansion_source", "notes")  # fmt: skip
_CELLS = {1: "1", 0: "0", UNKNOWN: ""}


@dataclass(frozen=True)
class ManifestRow:
    """A recording. ``filename`` starts from the data dir; the rate in Hz and duration in seconds are true ones."""

    filename: str
    labels: tuple[int, ...]
    group: str = ""
    time_expansion: float | None = None
    expansion_source: str = ""
    time: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None
    site: str = ""
    recorder: str = ""
    rate: int | None = None
    duration_s: float | None = None
    night: date | None = None
    notes: str = ""


def write_manifest(out: Path, data_dir: Path, species: Sequence[str], rows: Sequence[ManifestRow]) -> None:
    """Write a manifest, and read it back: every recording with its labels, group and factor is there.

    Raises:
        ManifestError: what is read differs from what was meant.
        OSError: the disk refuses.
    """
    lines: list[Sequence[str]] = [[*_BEFORE, *species, *_BEHIND]]
    lines += (_cells(row) for row in rows)
    write_file(out, to_csv(lines))
    read = read_manifest([out], data_dir, allow_outside=True, split_of={out: ""})
    meant = [(row.filename, row.labels, " ".join(row.group.split()) or None, row.time_expansion) for row in rows]
    got = [(clip.filename, clip.labels, clip.group, clip.time_expansion) for clip in read.clips]
    if got != meant:
        raise ManifestError(out, "does not read as it was meant", "Rename files and folders with unusual characters")


def write_events(out: Path, events: Iterable[Event], filename_of: dict[str, str]) -> None:
    """Write a table of calls: ``filename, species, start_s, end_s``, true seconds to a tenth of a millisecond."""
    lines: list[Sequence[str]] = [("filename", "species", "start_s", "end_s")]
    lines += (
        (_as_path(filename_of[event.recording]), event.species, f"{event.start_s:.4f}", f"{event.end_s:.4f}")
        for event in events
    )
    write_file(out, to_csv(lines))


def _cells(row: ManifestRow) -> list[str]:
    return [
        _as_path(row.filename),
        " ".join(row.group.split()),
        _number(row.time_expansion),
        *(_CELLS[label] for label in row.labels),
        "" if row.time is None else row.time.isoformat(),
        _number(row.latitude),
        _number(row.longitude),
        row.site,
        row.recorder,
        _number(row.rate),
        "" if row.duration_s is None else f"{row.duration_s:.4f}",
        "" if row.night is None else str(row.night),
        row.expansion_source,
        row.notes,
    ]


def _as_path(name: str) -> str:
    """A path that ``read_manifest`` takes for itself also where it begins with a space."""
    return f"./{name}" if name != name.lstrip() else name


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
