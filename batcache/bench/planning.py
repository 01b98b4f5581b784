"""How long a build takes that has nothing to do, and how much memory: on a made-up store of any number of recordings.

The store is real but for its frames: commit records written by the store's own code, shards that are all hole (sparse
files of the right size), recordings that are empty files of which the records say so. A build reads the manifest and
the records, looks at every file, finds each unchanged and opens none.
"""

import hashlib
import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import numpy as np

from batcache.bench.rows import Mark, Row
from batcache.bench.subprocess_cost import run_apart
from batcache.config.settings import DataConfig
from batcache.manifest.manifest import read_manifest
from batcache.store.build.build import build
from batcache.store.build.report import BuildReport
from batcache.store.format.array import resize
from batcache.store.format.attributes import create_store
from batcache.store.format.commit import CachedRecording, Commit, commit_path
from batcache.store.format.layout import Layout
from batcache.store.format.shard import shard_path
from batcache.store.reader import Store

SECONDS = 5
_HOLE_BYTES = 1 << 20
SPECIES = 20
PER_NIGHT = 1000
"""Recordings of one site and night: one folder, one group, one split."""


@dataclass(frozen=True)
class PlanningResult:
    """What a build with nothing to do cost, and opening the store; each in a fresh process, its start included.

    ``kept`` and ``computed`` are what the build says of the recordings. ``peak_bytes`` and ``open_peak_bytes`` are the
    most memory that was resident, None where the system does not tell (Windows). ``bytes_on_disk`` is what was read:
    the manifest and all commit records.
    """

    recordings: int
    shards: int
    kept: int
    computed: int
    seconds: float
    peak_bytes: int | None
    open_seconds: float
    open_peak_bytes: int | None
    bytes_on_disk: int


def planning_rows(recordings: int, folder: Path) -> Iterator[Row]:
    """Yield what was measured in a folder; the marks are for a million recordings, or more."""
    section = f"a build with nothing to do, {recordings:,} recordings"
    if not _keeps_holes(folder):
        yield Row(section, "not measured", note="this disk has no sparse files: the made-up shards would fill it")
        return
    result = measure_planning(recordings, folder)
    million, note = recordings >= 1_000_000, f"{result.shards:,} shards"
    yield Row(
        section, "time", result.seconds, "s", better="less", mark=Mark("ours", "<", 60) if million else None, note=note
    )
    if result.peak_bytes:
        peak = Mark("ours", "<", 2.0) if million else None
        yield Row(section, "peak memory", result.peak_bytes / 1e9, "GB", better="less", mark=peak)
    yield Row(section, "opening the store", result.open_seconds, "s", better="less")


def _keeps_holes(folder: Path) -> bool:
    """Whether a file that is all hole takes no room; NTFS fills it, and counts no blocks."""
    with TemporaryFile(dir=folder) as file:
        file.truncate(_HOLE_BYTES)
        blocks = getattr(os.fstat(file.fileno()), "st_blocks", _HOLE_BYTES)
    return bool(512 * blocks < _HOLE_BYTES)


def measure_planning(recordings: int, folder: Path) -> PlanningResult:
    """Make up a store in a temporary folder under ``folder``, plan it, open it, remove it.

    The disk needs an inode for every recording, about 0.5 KB for each, and to know sparse files.
    """
    with TemporaryDirectory(prefix="planning-", dir=folder) as made:
        home = Path(made)
        csv, cache = make_up(recordings, home)
        built, opened = run_apart(_build, csv, cache), run_apart(_open, cache)
        records = [place.stat().st_size for place in (cache / "commits").iterdir()]
        return PlanningResult(
            recordings=recordings,
            shards=len(records),
            kept=built.result.kept,
            computed=built.result.computed,
            seconds=built.seconds,
            peak_bytes=built.peak_bytes,
            open_seconds=opened.seconds,
            open_peak_bytes=opened.peak_bytes,
            bytes_on_disk=csv.stat().st_size + sum(records),
        )


def make_up(recordings: int, home: Path) -> tuple[Path, Path]:
    """Write recordings, a manifest of them and a store that holds them all. Returns the manifest and the store."""
    config = DataConfig()
    layout = Layout(config.frames_per_instance, config.n_mels)
    cache, csv = home / "features.zarr", home / "clips.csv"
    create_store(cache, config.features, layout)
    frames = round(SECONDS * config.frames_per_second)
    instances = layout.instances(frames)
    per_shard = layout.instances_per_shard // instances
    random = np.random.default_rng(0)
    with csv.open("w", encoding="utf-8") as file:
        file.write(",".join(["filename", "split", "group", *(f"Species {k + 1}" for k in range(SPECIES))]) + "\n")
        for shard, first in enumerate(range(0, recordings, per_shard)):
            numbers = range(first, min(first + per_shard, recordings))
            start = shard * layout.instances_per_shard
            rows = tuple(_record(home, n, start + k * instances, instances, frames) for k, n in enumerate(numbers))
            _commit(cache, shard, rows, config.fingerprint, layout, random)
            file.writelines(_row_of_csv(row.path, number, random) for row, number in zip(rows, numbers, strict=True))
    resize(cache, rows[-1].first_instance + instances)
    return csv, cache


def _record(home: Path, number: int, first_instance: int, instances: int, frames: int) -> CachedRecording:
    """Make an empty file, and the row that a recording of 5 s at 384 kHz would have in its place."""
    path = f"site-{number // PER_NIGHT:05}/20240601_{number % PER_NIGHT:06}T.wav"
    place = home / path
    if not number % PER_NIGHT:
        place.parent.mkdir()
    place.touch()
    return CachedRecording(
        path=path,
        size=0,
        mtime_ns=place.stat().st_mtime_ns,
        content=hashlib.sha256(path.encode()).hexdigest(),
        header_rate=384_000,
        channels=1,
        time_expansion=1.0,
        expansion_source="full-spectrum rate",
        true_rate=384_000,
        nyquist_hz=192_000.0,
        duration_s=float(SECONDS),
        first_instance=first_instance,
        instances=instances,
        frames=frames,
        dead_bands=0,
        energy_below=round(number % 997 / 1994, 4),
        energy_above=round(number % 991 / 9910, 4),
    )


def _commit(
    cache: Path,
    shard: int,
    rows: tuple[CachedRecording, ...],
    fingerprint: str,
    layout: Layout,
    random: np.random.Generator,
) -> None:
    """Commit a shard of nothing but holes. Not flushed: a build that is measured needs no power cut to be survived."""
    crcs = array("I", random.integers(0, 2**32, sum(row.instances for row in rows)).tolist())
    size = layout.shard_bytes([len(crcs)])
    place = shard_path(cache, shard)
    place.parent.mkdir(parents=True)
    with place.open("wb") as file:
        file.truncate(size)
    commit_path(cache, shard).write_bytes(Commit(shard, 0, fingerprint, size, False, crcs, rows).to_json())


def _row_of_csv(path: str, number: int, random: np.random.Generator) -> str:
    """One to three species that are there; the others are not."""
    labels = ["0"] * SPECIES
    for k in random.integers(0, SPECIES, 1 + number % 3):
        labels[k] = "1"
    night = number // PER_NIGHT
    split = ("train", "train", "train", "train", "val", "test")[night % 6]
    return ",".join([path, split, f"night {night}", *labels]) + "\n"


def _build(csv: Path, cache: Path) -> BuildReport:
    return build(read_manifest([csv]), cache, DataConfig())


def _open(cache: Path) -> None:
    Store(cache)
