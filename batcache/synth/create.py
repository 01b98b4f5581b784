"""A manifest rendered into a folder: a WAV for each row, and ``events.csv`` with every call that is in them."""

import csv
import io
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
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
    calls: int | None  # None: nothing had to be rendered, so nobody counted


Row = tuple[str, tuple[str, ...], str]
"""Filename, species, group: all that a clip's samples depend on."""


def write_plan(out: Path, clips: int, species: Sequence[str], seed: int, *, force: bool) -> Path:
    """Write a new manifest of so many clips, split by site-night; all species where none are named.

    Raises:
        ManifestError: a species that the simulator does not know.
        SynthError: another manifest is there, and ``force`` is not given.
    """
    _check_species("--species", species)
    content = manifest_csv(plan_manifest(clips, seed, species or None)).encode()
    place = out / "manifest.csv"
    if not place.exists() or place.read_bytes() != content:
        if place.exists() and not force:
            raise SynthError(place, "another manifest is there", "Pass another --out, or --force to overwrite")
        write_file(place, content)
    return place


def create(manifest: Manifest, out: Path, *, force: bool = False) -> Iterator[Rendered | SynthReport]:
    """Render every row of a manifest; yields progress, the report last.

    Files that are there with the same content are kept. Where nothing has changed since the last time, nothing is
    rendered. A label that is not 1 counts as absent.

    Raises:
        ManifestError: a species that the simulator does not know.
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
    note = out / "synth.json"
    if _is_current(note, out, rows):
        yield SynthReport(out, len(rows), 0, len(rows), None)
        return
    _check_room(out, rows)
    events: list[tuple[object, ...]] = []
    written = done = 0
    tasks = [rows[i : i + _ROWS_A_TASK] for i in range(0, len(rows), _ROWS_A_TASK)]
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        try:
            for found, fresh in pool.map(_render_rows, tasks, [out] * len(tasks), [force] * len(tasks)):
                events += found
                written += fresh
                done = min(done + _ROWS_A_TASK, len(rows))
                yield Rendered(done, len(rows))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    write_file(out / "events.csv", _table(events))
    write_file(note, json.dumps({"inputs": _inputs(rows), "files": _stats(out, rows)}).encode())
    yield SynthReport(out, len(rows), written, len(rows) - written, len(events))


def _render_rows(rows: Sequence[Row], out: Path, force: bool) -> tuple[list[tuple[object, ...]], int]:
    """Render some rows in this process. Returns their events and how many files were written."""
    events: list[tuple[object, ...]] = []
    written = 0
    for filename, species, group in rows:
        clip, place = render(filename, species, group), out / filename
        content = wav_bytes(clip, filename)
        if not place.exists() or place.read_bytes() != content:
            if place.exists() and not force:
                raise SynthError(place, "another file is there", "Pass another --out, or --force to overwrite")
            write_file(place, content)
            written += 1
        events += [(filename, *(getattr(event, name) for name in _EVENT_FIELDS)) for event in clip.events]
    return events, written


def _check_species(place: str, species: Iterable[str]) -> None:
    unknown = [name for name in species if name not in BY_NAME]
    if unknown:
        known = ", ".join(sorted(BY_NAME))
        raise ManifestError(place, f"the simulator does not know {list_some(unknown)}", f"It knows: {known}")


def _check_room(out: Path, rows: Sequence[Row]) -> None:
    missing = sum(not (out / filename).exists() for filename, _, _ in rows) * _FILE_BYTES
    there = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if missing > free:
        raise SynthError(out, f"needs {missing / 1e9:.1f} GB, {free / 1e9:.1f} GB are free", "Pass another --out")


def _inputs(rows: Sequence[Row]) -> str:
    return digest([SIMULATOR_VERSION, rows])


def _stats(out: Path, rows: Sequence[Row]) -> list[list[int]]:
    stats = ((out / filename).stat() for filename, _, _ in rows)
    return [[stat.st_size, stat.st_mtime_ns] for stat in stats]


def _is_current(note: Path, out: Path, rows: Sequence[Row]) -> bool:
    """Whether these rows were rendered here before, and no file was touched since."""
    try:
        last = json.loads(note.read_bytes())
        return bool(last == {"inputs": _inputs(rows), "files": _stats(out, rows)} and (out / "events.csv").exists())
    except (OSError, ValueError):
        return False


def _table(events: Iterable[tuple[object, ...]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([EVENT_COLUMNS, *events])
    return text.getvalue().encode()
