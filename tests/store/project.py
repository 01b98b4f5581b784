"""A small project as a user has it: recordings, a CSV, a cache. Its store has few instances a shard."""

import os
import shutil
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import soundfile
from numpy.typing import NDArray

from batcache.config.settings import DataConfig
from batcache.manifest.manifest import read_manifest
from batcache.progress import Progress
from batcache.store.build.build import build
from batcache.store.build.plan import Plan
from batcache.store.build.report import BuildReport
from batcache.store.format.layout import Layout
from batcache.store.reader import Store

RATE = 384_000
SMALL = DataConfig(n_mels=16, instance_s=0.1)
"""Instances of 100 frames of 16 bands: chunks of 3,200 bytes."""

PER_SHARD = 4


def few_a_shard(instances: int = PER_SHARD) -> "mock._patch[partial[Layout]]":
    """Make new stores with few instances a shard, so that little audio fills several."""
    return mock.patch("batcache.store.build.target.Layout", partial(Layout, instances_per_shard=instances))


def noise(seconds: float, seed: int, rate: int = RATE) -> NDArray[np.float64]:
    """Noise and a tone of 45 kHz (less at low rates)."""
    time_s = np.arange(round(seconds * rate)) / rate
    tone = 0.1 * np.sin(2 * np.pi * min(45_000, rate / 5) * time_s)
    return tone + 0.02 * np.random.default_rng(seed).standard_normal(len(time_s))


@dataclass(frozen=True)
class Built:
    """What one build yielded."""

    plan: Plan
    report: BuildReport

    @property
    def computed(self) -> set[str]:
        """The recordings that were computed, whether they failed or not."""
        return {placed.file.path for task in self.plan.tasks for placed in task.recordings}


class Project:
    def __init__(self, root: Path, cache: str = "features.zarr", config: DataConfig = SMALL) -> None:
        self.root, self.cache, self.csv, self.config = root, root / cache, root / "clips.csv", config
        self.root.mkdir(parents=True, exist_ok=True)

    def record(
        self, name: str, seconds: float = 0.2, *, seed: int | None = None, rate: int = RATE, samples: object = None
    ) -> Path:
        """Write a recording; ``samples``, where given, as 32-bit float. Without a seed its name decides its noise."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = zlib.crc32(name.encode()) if seed is None else seed
        audio = noise(seconds, seed, rate) if samples is None else np.asarray(samples)
        soundfile.write(path, audio, rate, subtype="PCM_16" if samples is None else "FLOAT")
        set_time(path, seed)
        return path

    def list(self, *names: str, **columns: Mapping[str, object]) -> None:
        """Write the CSV. Each of ``columns`` maps names to cells."""
        header = ",".join(["filename", "Myotis", *columns])
        rows = (",".join([name, "1", *(str(cells.get(name, "")) for cells in columns.values())]) for name in names)
        self.csv.write_text("\n".join([header, *rows, ""]), encoding="utf-8")

    def fill(self, lengths: Mapping[str, float]) -> "Project":
        """Build recordings of so many seconds, one that fails, and a copy of ``a.wav``."""
        for name, seconds in lengths.items():
            self.record(name, seconds)
        self.record("nan.wav", samples=[0.1] * 20_000 + [np.nan] * 1000)
        shutil.copy2(self.root / "a.wav", self.root / "copy of a.wav")
        self.list(*lengths, "nan.wav", "copy of a.wav")
        self.build()
        return self

    def build(self, workers: int = 1, per_shard: int = PER_SHARD) -> Built:
        with few_a_shard(per_shard):
            manifest = read_manifest([self.csv])
            told: list[Progress] = []
            report = build(manifest, self.cache, self.config, device="cpu", workers=workers, on_progress=told.append)
        (plan,) = [event.result for event in told if isinstance(event.result, Plan)]
        return Built(plan, report)

    def store(self) -> Store:
        return Store(self.cache)

    def frames(self, name: str) -> NDArray[np.float16]:
        store = self.store()
        row = store.find(name)
        assert row is not None, f"{name} is not in the store"
        return store.read_frames(row)


def read_all(store: Store) -> dict[str, NDArray[np.float16]]:
    """The frames of every recording of a store."""
    return {row.path: store.read_frames(row) for row in store.index.recordings if not row.failure}


def set_time(path: Path, seconds: int) -> None:
    """Give a file a modification time of so many seconds past some day."""
    os.utime(path, (1_600_000_000, 1_600_000_000 + seconds % 1_000_000))


def let_an_hour_pass(folder: Path) -> None:
    """For what is half made in it."""
    for place in folder.glob("*.partial"):
        set_time(place, 0)


def flip(place: Path, at: int, bits: int = 0x01) -> None:
    content = bytearray(place.read_bytes())
    content[at] ^= bits
    place.write_bytes(content)


def add_guano(path: Path, text: str = "GUANO|Version: 1.0\nSpecies Manual ID: Myomyo\n") -> None:
    """Tag a WAV as other programs do: a chunk behind the samples."""
    content = text.encode()
    content += b"\n" * (len(content) % 2)
    wav = path.read_bytes() + struct.pack("<4sI", b"guan", len(content)) + content
    path.write_bytes(wav[:4] + struct.pack("<I", len(wav) - 8) + wav[8:])


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, except the build log, which tells the time; empty folders too."""
    return {
        place.relative_to(folder).as_posix(): place.read_bytes() if place.is_file() else b"<folder>"
        for place in folder.rglob("*")
        if place.suffix != ".log"
    }


def shards(cache: Path) -> dict[str, bytes]:
    return snapshot(cache / "instances" / "c")


def assert_equal_trees(one: Mapping[str, bytes], other: Mapping[str, bytes], said: str = "") -> None:
    """Compare snapshots; a failure names files, not bytes."""
    differ = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    assert not differ, f"{said}: differ in {differ}"


def copy(source: Path, target: Path, names: Iterable[str] | None = None) -> Path:
    """Copy a folder, or some of what is in it, with modification times."""
    for place in source.iterdir() if names is None else [source / name for name in names]:
        if place.is_dir():
            shutil.copytree(place, target / place.name)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(place, target / place.name)
    return target
