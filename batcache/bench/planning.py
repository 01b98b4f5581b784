"""How long builds and trainings of many recordings take to start, and how much memory: on a made-up store of any size.

The store is real but for its frames, which are all 0: commit records written by the store's own code, shards that are
holes with an index of chunks behind them (sparse files of the right size), recordings that are empty files of which the
records say so. A build reads the manifest and the records, looks at every file, finds each unchanged and opens none; a
training verifies and learns from frames of 0.
"""

import hashlib
import os
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import google_crc32c
import numpy as np

from batcache.bench.rows import Mark, Row
from batcache.bench.subprocess_cost import run_apart
from batcache.config.settings import DataConfig
from batcache.manifest.manifest import read_manifest
from batcache.progress import Progress
from batcache.store.build.build import build
from batcache.store.build.report import BuildReport
from batcache.store.format.array import resize
from batcache.store.format.attributes import create_store
from batcache.store.format.commit import CachedRecording, Commit, commit_path
from batcache.store.format.layout import Layout
from batcache.store.format.shard import shard_index, shard_path
from batcache.store.reader import Store

SECONDS = 5
_HOLE_BYTES = 1 << 20
SPECIES = 20
PER_NIGHT = 1000
"""Recordings of one site and night: one folder, one group, one split."""
_SPLITS = ("train", "train", "train", "train", "val", "test")
"""Of nights, in turn."""
_TO_VALIDATE = _SPLITS.index("val")


@dataclass(frozen=True)
class PlanningResult:
    """What a build with nothing to do cost, opening the store, and a training until its first batch is learnt; each in
    a fresh process, its start included.

    ``kept`` and ``computed`` are what the build says of the recordings. Peaks are the most memory that was resident,
    None where the system does not tell (Windows); those of the training too where the recordings are too few for one to
    be validated. ``bytes_on_disk`` is what was read: the manifest and all commit records.
    """

    recordings: int
    shards: int
    kept: int
    computed: int
    seconds: float
    peak_bytes: int | None
    open_seconds: float
    open_peak_bytes: int | None
    train_seconds: float | None
    train_peak_bytes: int | None
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
    if result.train_seconds is None:
        return
    section = f"a training's start, {recordings:,} recordings"
    mark = Mark("ours", "<", 30) if million else None
    note = "until its first batch is learnt, by the small model from chance"
    yield Row(section, "time", result.train_seconds, "s", better="less", mark=mark, note=note)
    if result.train_peak_bytes:
        peak = Mark("ours", "<", 3.0) if million else None
        yield Row(section, "peak memory", result.train_peak_bytes / 1e9, "GB", better="less", mark=peak)


def _keeps_holes(folder: Path) -> bool:
    """Whether a file that is all hole takes no room; NTFS fills it, and counts no blocks."""
    with TemporaryFile(dir=folder) as file:
        file.truncate(_HOLE_BYTES)
        blocks = getattr(os.fstat(file.fileno()), "st_blocks", _HOLE_BYTES)
    return bool(512 * blocks < _HOLE_BYTES)


def measure_planning(recordings: int, folder: Path) -> PlanningResult:
    """Make up a store in a temporary folder under ``folder``; plan it, open it, begin to train on it; remove it.

    The disk needs an inode for every recording, about 0.5 KB for each, and to know sparse files.
    """
    with TemporaryDirectory(prefix="planning-", dir=folder) as made:
        home = Path(made)
        csv, cache = make_up(recordings, home)
        built, opened = run_apart(_build, csv, cache), run_apart(_open, cache)
        begun = run_apart(begin_training, csv, cache, home / "runs") if recordings > _TO_VALIDATE * PER_NIGHT else None
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
            train_seconds=begun.seconds if begun else None,
            train_peak_bytes=begun.peak_bytes if begun else None,
            bytes_on_disk=csv.stat().st_size + sum(records),
        )


def make_up(
    recordings: int, home: Path, config: DataConfig | None = None, seconds: float = SECONDS
) -> tuple[Path, Path]:
    """Write recordings of so many seconds, a manifest of them and a store that holds them all.

    Returns the manifest and the store.
    """
    config = config or DataConfig()
    layout = Layout(config.frames_per_instance, config.n_mels)
    cache, csv = home / "features.zarr", home / "clips.csv"
    create_store(cache, config.features, layout)
    frames = round(seconds * config.frames_per_second)
    instances = layout.instances(frames)
    per_shard = layout.instances_per_shard // instances
    random = np.random.default_rng(0)
    with csv.open("w", encoding="utf-8") as file:
        file.write(",".join(["filename", "split", "group", *(f"Species {k + 1}" for k in range(SPECIES))]) + "\n")
        for shard, first in enumerate(range(0, recordings, per_shard)):
            numbers = range(first, min(first + per_shard, recordings))
            start = shard * layout.instances_per_shard
            of = instances, frames, seconds
            rows = tuple(_record(home, n, start + k * instances, *of) for k, n in enumerate(numbers))
            _commit(cache, shard, rows, config.fingerprint, layout)
            file.writelines(_row_of_csv(row.path, number, random) for row, number in zip(rows, numbers, strict=True))
    resize(cache, rows[-1].first_instance + instances)
    return csv, cache


def _record(
    home: Path, number: int, first_instance: int, instances: int, frames: int, seconds: float
) -> CachedRecording:
    """Make an empty file, and the row that a recording of so many seconds at 384 kHz would have in its place."""
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
        duration_s=float(seconds),
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
) -> None:
    """Commit a shard of chunks of 0, as a hole. Not flushed: what is measured needs no power cut to be survived.

    The checksum behind each chunk is a hole too: right is that of the record, which our reader verifies. With others a
    shard would take megabytes.
    """
    crcs = array("I", [google_crc32c.value(bytes(layout.chunk_bytes))]) * sum(row.instances for row in rows)
    size, index = layout.shard_bytes([len(crcs)]), shard_index(len(crcs), layout)
    place = shard_path(cache, shard)
    place.parent.mkdir(parents=True)
    with place.open("wb") as file:
        file.seek(size - len(index))
        file.write(index)
    commit_path(cache, shard).write_bytes(Commit(shard, 0, fingerprint, size, False, crcs, rows).to_json())


def _row_of_csv(path: str, number: int, random: np.random.Generator) -> str:
    """One to three species that are there; the others are not."""
    labels = ["0"] * SPECIES
    for k in random.integers(0, SPECIES, 1 + number % 3):
        labels[k] = "1"
    night = number // PER_NIGHT
    split = _SPLITS[night % len(_SPLITS)]
    return ",".join([path, split, f"night {night}", *labels]) + "\n"


def _build(csv: Path, cache: Path) -> BuildReport:
    return build(read_manifest([csv]), cache, DataConfig())


def _open(cache: Path) -> None:
    Store(cache)


class _BegunError(Exception):
    """The first batch was learnt."""


def begin_training(csv: Path, cache: Path, runs: Path) -> int:
    """Train until the first batch is learnt; nothing is left of it. Returns the number of training clips."""
    from batcache.bench.training import SMALL
    from batcache.config.settings import Config, TrainingConfig
    from batcache.device import pick_device
    from batcache.storage.memory import keep_freed_memory
    from batcache.training.events import RunStarted
    from batcache.training.loop import train

    clips = 0

    def stop(told: Progress) -> None:
        nonlocal clips
        if isinstance(told.result, RunStarted):
            clips = told.result.train_clips
        if told.stage == "epoch 1":
            raise _BegunError

    keep_freed_memory()  # as the command line does
    config = Config(model=SMALL, training=TrainingConfig(run_dir=runs))
    store, manifest = Store(cache), read_manifest([csv])
    with suppress(_BegunError):
        train(config, store, manifest, pick_device("cpu"), on_progress=stop)
    return clips
