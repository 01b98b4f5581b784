"""What was rendered into a folder, so that nothing is rendered twice: also by a call that was killed.

``events.csv`` lists the calls, ``synth.json`` the stamp of each file. Both are written when all is rendered; until then
``synth.partial`` has a line of JSON for each file that is done: its name, stamp and calls.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batcache.config.features import digest
from batcache.errors import SynthError
from batcache.storage.disk import write_file
from batcache.storage.listing import is_there
from batcache.storage.spreadsheet import as_written, to_csv
from batcache.synth.render import RATE_HZ

SIMULATOR_VERSION = 1
"""Raised whenever code changes what is rendered."""

EVENT_COLUMNS = (
    "filename", "species", "start_s", "end_s", "fmin_khz", "fmax_khz", "peak_khz", "level_db", "snr_db", "phase", "bat",
)  # fmt: skip

Row = tuple[str, tuple[str, ...], str, int]
"""Filename, species, group, rate in Hz: all that a clip's samples depend on."""

Events = dict[str, list[list[str]]]
"""The rows of ``events.csv`` by filename, without it."""

Stamp = list[str | int]
"""What a file was rendered from, its size and time."""


@dataclass
class Ledger:
    """The stamps and calls of the files of a folder that were rendered."""

    out: Path
    stamps: dict[str, Stamp | None]
    events: Events

    def holds(self, row: Row) -> bool:
        """Whether a row's file was rendered, and not touched since."""
        stamp = _stamp(self.out, row)
        return stamp is not None and self.stamps.get(row[0]) == stamp

    def add(self, rows: Sequence[Row], events: Mapping[str, list[list[str]]]) -> None:
        """Note files that were just rendered."""
        self.stamps |= {row[0]: _stamp(self.out, row) for row in rows}
        self.events |= events
        with _partial(self.out).open("a", encoding="utf-8") as file:
            for name, *_ in rows:  # what a kill tore is then a line of its own
                file.write("\n" + json.dumps([name, self.stamps[name], self.events[name]]))

    def close(self) -> None:
        """Write what was added since the ledger was last closed."""
        if is_there(_partial(self.out)):
            write_file(self.out / "events.csv", _table(self.events))
            write_file(self.out / "synth.json", json.dumps(self.stamps, indent=0).encode())
            _partial(self.out).unlink()


def read_ledger(out: Path, *, force: bool) -> Ledger:
    """Read what is known of a folder, which need not be there.

    Raises:
        SynthError: there is an ``events.csv`` that is not the simulator's, and ``force`` is not given.
    """
    ledger = Ledger(out, *_read_closed(out, force=force))
    try:
        lines = _partial(out).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ledger
    for line in lines:
        try:
            name, stamp, events = json.loads(line)
        except ValueError:  # torn by a kill
            continue
        ledger.stamps[name], ledger.events[name] = stamp, events
    return ledger


def _read_closed(out: Path, *, force: bool) -> tuple[dict[str, Stamp | None], Events]:
    place, note = out / "events.csv", out / "synth.json"
    events: Events = {}
    try:
        with place.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        if tuple(header) != EVENT_COLUMNS:
            raise ValueError(header)
        for filename, *event in ([as_written(cell) for cell in row] for row in rows):
            events.setdefault(filename, []).append(event)
    except (OSError, ValueError, csv.Error):
        if is_there(place) and not force:
            raise SynthError(place, "another file is there", "Pass another --out, or --force to overwrite") from None
        return {}, {}
    try:
        return dict(json.loads(note.read_bytes())), events
    except (OSError, ValueError, TypeError):  # a kill came between the two files: all is rendered and compared again
        return {}, events


def _partial(out: Path) -> Path:
    return out / "synth.partial"


def _stamp(out: Path, row: Row) -> Stamp | None:
    """None where there is no file."""
    try:
        stat = (out / row[0]).stat()
    except OSError:
        return None
    decides = row[:3] if row[3] == RATE_HZ else row  # the rate came later, and what was rendered before stays current
    return [digest([SIMULATOR_VERSION, decides]), stat.st_size, stat.st_mtime_ns]


def _table(events: Events) -> bytes:
    rows = ([filename, *event] for filename in sorted(events) for event in events[filename])
    return to_csv([EVENT_COLUMNS, *rows])
