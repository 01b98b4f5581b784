"""A manifest rendered into a folder: a WAV for each row, and ``events.csv`` with every call that is in them."""

import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from batcache.children import is_ending, process_pool
from batcache.errors import ManifestError, SynthError, did_you_mean, list_some
from batcache.manifest.manifest import Manifest
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.storage.disk import write_file
from batcache.storage.listing import is_folder, is_there
from batcache.synth.ledger import Events, Row, read_ledger
from batcache.synth.plan import manifest_csv, plan_manifest
from batcache.synth.render import DURATION_S, draw_rate, render
from batcache.synth.repertoire import BY_NAME, find_species
from batcache.synth.species import Species
from batcache.synth.virtual import MOST, virtual_name
from batcache.synth.write import wav_bytes

_EVENT_FIELDS = (
    "species", "start_s", "end_s", "low_khz", "high_khz", "peak_khz", "level_db", "snr_db", "phase", "bat",
)  # fmt: skip
_ROWS_A_TASK = 8
FEWEST_CLIPS = 5
"""So many nights a manifest has at least, each with a clip: some in every split."""
_MOST_WORKERS = 61  # Windows waits for no more


@dataclass(frozen=True)
class SynthReport:
    """What a simulation left in the folder ``out``: clips, of them written now or there already, and their calls."""

    out: Path
    clips: int
    written: int
    kept: int
    calls: int


def write_plan(out: Path, clips: int, species: Sequence[str], seed: int, *, force: bool, virtual: int = 0) -> Path:
    """Write a new manifest of so many clips, split by site-night; all real species where none are named.

    So many ``virtual`` species fly with them, see ``synth.virtual``.

    Raises:
        ManifestError: a species that the simulator does not know.
        SynthError: another manifest is there, and ``force`` is not given.
    """
    if clips < FEWEST_CLIPS:
        raise ManifestError("clips", f"{clips}, expected at least {FEWEST_CLIPS}", "Simulate more")
    _check_species("--species", species)
    if virtual:
        species = [*(species or BY_NAME), *map(virtual_name, range(min(virtual, MOST)))]
    content = manifest_csv(plan_manifest(clips, seed, species or None), species).encode()
    place = out / "manifest.csv"
    if not is_there(place) or place.read_bytes() != content:
        if is_there(place) and not force:
            raise SynthError(place, "another manifest is there", "Pass another --out, or --force to overwrite")
        write_file(place, content)
    return place


def create(
    manifest: Manifest,
    out: Path,
    *,
    rates_hz: Sequence[int] = (),
    force: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> SynthReport:
    """Render every row of a manifest, at 384 kHz, or all of a night at one of ``rates_hz``.

    Rows whose files were rendered here before, also by a call that was stopped, and not touched since, are not rendered
    again. ``events.csv`` holds the calls of all files rendered here. A label that is not 1 counts as absent.

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
            draw_rate(clip.group or "", rates_hz),
        )
        for clip in manifest.clips
    ]
    _check_whole(manifest)
    ledger = read_ledger(out, force=force)
    todo = [row for row in rows if not ledger.holds(row)]
    _check_room(out, todo)
    written = 0
    tasks = [todo[i : i + _ROWS_A_TASK] for i in range(0, len(todo), _ROWS_A_TASK)]
    if tasks:
        workers = min(os.cpu_count() or 1, len(tasks), _MOST_WORKERS)
        with process_pool(workers) as pool:
            try:
                for i, (events, fresh) in enumerate(pool.map(_render_rows, tasks, repeat(out), repeat(force)), 1):
                    ledger.add(tasks[i - 1], events)
                    written += fresh
                    done = len(rows) - len(todo) + min(i * _ROWS_A_TASK, len(todo))
                    on_progress(Progress("synth", done, len(rows)))
            except BrokenProcessPool:
                raise SynthError(out, "a rendering process was killed", "Free some memory, run it again") from None
    ledger.close()
    calls = sum(len(ledger.events.get(filename, ())) for filename, *_ in rows)
    return SynthReport(out, len(rows), written, len(rows) - written, calls)


def _render_rows(rows: Sequence[Row], out: Path, force: bool) -> tuple[Events, int]:
    """Render some rows in this process. Returns their events and how many files were written."""
    events: Events = {}
    written = 0
    for filename, species, group, rate_hz in rows:
        if is_ending():
            break
        clip, place = render(filename, [*map(_find_voice, species)], group, rate_hz), out / filename
        content = wav_bytes(clip, filename)
        if not is_there(place) or place.read_bytes() != content:
            if is_there(place) and not force:
                raise SynthError(place, "another file is there", "Pass another --out, or --force to overwrite")
            write_file(place, content)
            written += 1
        events[filename] = [[str(getattr(event, name)) for name in _EVENT_FIELDS] for event in clip.events]
    return events, written


def _find_voice(name: str) -> Species:
    voice = find_species(name)
    assert voice is not None, f"the simulator does not know {name}"
    return voice


def _check_species(place: str, species: Iterable[str]) -> None:
    unknown = [name for name in species if find_species(name) is None]
    if unknown:
        known = ", ".join(sorted(BY_NAME))
        remedy = did_you_mean(unknown[0], BY_NAME, f"It knows: {known}")
        raise ManifestError(place, f"the simulator does not know {list_some(unknown)}", remedy)


def _check_whole(manifest: Manifest) -> None:
    """Refuse spans: two rows of one recording would be two contents of one file."""
    for clip in manifest.clips:
        if clip.start_s is not None or clip.duration_s is not None:
            finding = f"a span of {clip.filename}, expected a whole recording"
            raise ManifestError(clip.place, finding, "Remove start_s and duration_s: a simulated file is one clip")


def _check_room(out: Path, rows: Sequence[Row]) -> None:
    missing = sum(int(rate * DURATION_S) * 2 + 1024 for name, _, _, rate in rows if not is_there(out / name))
    there = next(folder for folder in (out, *out.absolute().parents) if is_folder(folder))
    free = shutil.disk_usage(there).free
    if missing > free:
        raise SynthError(out, f"needs {missing / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free", "Pass another --out")
