"""A manifest rendered into a folder: a WAV for each row, and ``events.csv`` with every call that is in them."""

import csv
import io
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from batcache.config import digest
from batcache.disk import write_file
from batcache.errors import ManifestError, SynthError, list_some
from batcache.manifest import Manifest
from batcache.synth.plan import manifest_csv, plan_manifest
from batcache.synth.render import DURATION_S, RATE_HZ, render
from batcache.synth.repertoire import BY_NAME
from batcache.synth.write import wav_bytes

SIMULATOR_VERSION = 1
"""Raised whenever code changes what is rendered."""

EVENT_COLUMNS = (
    "filename", "species", "start_s", "end_s", "fmin_khz", "fmax_khz", "peak_khz", "level_db", "snr_db", "phase", "bat",
)  # fmt: skip
_EVENT_FIELDS = (
    "species", "start_s", "end_s", "low_khz", "high_khz", "peak_khz", "level_db", "snr_db", "phase", "bat",
)  # fmt: skip
_FILE_BYTES = int(RATE_HZ * DURATION_S) * 2 + 1024
_ROWS_A_TASK = 8
_MOST_WORKERS = 61  # Windows waits for no more


@dataclass(frozen=True)
class Rendered:
    """So many files of ``total`` are there."""

    done: int
    total: int


@dataclass(frozen=True)
class SynthReport:
    out: Path
    clips: int
    written: int
    kept: int
    calls: int


Row = tuple[str, tuple[str, ...], str]
"""Filename, species, group: all that a clip's samples depend on."""

Events = dict[str, list[list[str]]]
"""The rows of ``events.csv`` by filename, without it."""


def write_plan(out: Path, clips: int, species: Sequence[str], seed: int, *, force: bool) -> Path:
    """Write a new manifest of so many clips, split by site-night; all species where none are named.

    Raises:
        ManifestError: a species that the simulator does not know.
        SynthError: another manifest is there, and ``force`` is not given.
    """
    _check_species("--species", species)
    content = manifest_csv(plan_manifest(clips, seed, species or None), species).encode()
    place = out / "manifest.csv"
    if not place.exists() or place.read_bytes() != content:
        if place.exists() and not force:
            raise SynthError(place, "another manifest is there", "Pass another --out, or --force to overwrite")
        write_file(place, content)
    return place


def create(manifest: Manifest, out: Path, *, force: bool = False) -> Iterator[Rendered | SynthReport]:
    """Render every row of a manifest; yields progress, the report last.

    Rows whose files were rendered here before, and not touched since, are not rendered again; ``synth.json`` knows
    them. ``events.csv`` holds the calls of all the files that it knows. A label that is not 1 counts as absent.

    Raises:
        ManifestError: a species that the simulator does not know, or a row that is a part of a recording.
        SynthError: a file with other content is there and ``force`` is not given, or the disk has no room.
    """
    _check_species(", ".join(map(str, manifest.csvs)), manifest.species)
    rows: list[Row] = [
        (
            clip.filename,
            tuple(n for n, y in zip(manifest.species, clip.labels, strict=True) if y == 1),
            clip.group or "",
        )
        for clip in manifest.clips
    ]
    _check_whole(manifest)
    known, events = _read_known(out, force=force)
    todo = [row for row in rows if row[0] not in known or known[row[0]] != _stamp(out, row)]
    _check_room(out, todo)
    written = 0
    tasks = [todo[i : i + _ROWS_A_TASK] for i in range(0, len(todo), _ROWS_A_TASK)]
    if tasks:
        workers = min(os.cpu_count() or 1, len(tasks), _MOST_WORKERS)
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            try:
                for i, (found, fresh) in enumerate(pool.map(_render_rows, tasks, repeat(out), repeat(force)), 1):
                    events |= found
                    written += fresh
                    yield Rendered(len(rows) - len(todo) + min(i * _ROWS_A_TASK, len(todo)), len(rows))
            except BrokenProcessPool:
                raise SynthError(out, "a rendering process was killed", "Free some memory, run it again") from None
            finally:
                pool.shutdown(cancel_futures=True)
        write_file(out / "events.csv", _table(events))
        known |= {row[0]: _stamp(out, row) for row in rows}
        write_file(out / "synth.json", json.dumps(known, indent=0).encode())
    calls = sum(len(events.get(filename, ())) for filename, _, _ in rows)
    yield SynthReport(out, len(rows), written, len(rows) - written, calls)


def _render_rows(rows: Sequence[Row], out: Path, force: bool) -> tuple[Events, int]:
    """Render some rows in this process. Returns their events and how many files were written."""
    events: Events = {}
    written = 0
    for filename, species, group in rows:
        clip, place = render(filename, species, group), out / filename
        content = wav_bytes(clip, filename)
        if not place.exists() or place.read_bytes() != content:
            if place.exists() and not force:
                raise SynthError(place, "another file is there", "Pass another --out, or --force to overwrite")
            write_file(place, content)
            written += 1
        events[filename] = [[str(getattr(event, name)) for name in _EVENT_FIELDS] for event in clip.events]
    return events, written


def _check_species(place: str, species: Iterable[str]) -> None:
    unknown = [name for name in species if name not in BY_NAME]
    if unknown:
        known = ", ".join(sorted(BY_NAME))
        raise ManifestError(place, f"the simulator does not know {list_some(unknown)}", f"It knows: {known}")


def _check_whole(manifest: Manifest) -> None:
    """Refuse spans: two rows of one recording would be two contents of one file."""
    for clip in manifest.clips:
        if clip.start_s is not None or clip.duration_s is not None:
            finding = f"a span of {clip.filename}, expected a whole recording"
            raise ManifestError(clip.place, finding, "Remove start_s and duration_s: a simulated file is one clip")


def _check_room(out: Path, rows: Sequence[Row]) -> None:
    missing = sum(not (out / filename).exists() for filename, _, _ in rows) * _FILE_BYTES
    there = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if missing > free:
        raise SynthError(out, f"needs {missing / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free", "Pass another --out")


def _stamp(out: Path, row: Row) -> list[str | int] | None:
    """What a file was rendered from, its size and time; None where there is no file."""
    try:
        stat = (out / row[0]).stat()
    except OSError:
        return None
    return [digest([SIMULATOR_VERSION, row]), stat.st_size, stat.st_mtime_ns]


def _read_known(out: Path, *, force: bool) -> tuple[dict[str, list[str | int] | None], Events]:
    """The stamps and events of files rendered here before.

    Raises:
        SynthError: there is an ``events.csv`` that is not the simulator's, and ``force`` is not given.
    """
    place, note = out / "events.csv", out / "synth.json"
    events: Events = {}
    try:
        with place.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        if tuple(header) != EVENT_COLUMNS:
            raise ValueError(header)
        for filename, *event in rows:
            events.setdefault(filename, []).append(event)
    except (OSError, ValueError, csv.Error):
        if place.exists() and not force:
            raise SynthError(place, "another file is there", "Pass another --out, or --force to overwrite") from None
        return {}, {}
    try:
        return dict(json.loads(note.read_bytes())), events
    except (OSError, ValueError, TypeError):  # a kill came between the two files: all is rendered and compared again
        return {}, events


def _table(events: Events) -> bytes:
    text = io.StringIO()
    rows = ([filename, *event] for filename in sorted(events) for event in events[filename])
    csv.writer(text, lineterminator="\n").writerows([EVENT_COLUMNS, *rows])
    return text.getvalue().encode()
