"""A store and its HDF5 file, and ways to change the file."""

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from batcache.errors import StoreError
from batcache.progress import Progress
from batcache.store.hdf5.export import export
from batcache.store.hdf5.reader import Head
from batcache.store.hdf5.restore import Restored, restore
from tests.store.project import Project

LENGTHS = {"a.wav": 0.25, "b.wav": 0.08, "long.wav": 0.93, "übung/c.wav": 0.2, "d.wav": 0.15}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Seven shards of four instances: short recordings, one of three shards, a copy, one that failed, two rejects."""
    project = Project(tmp_path_factory.mktemp("hdf5") / "project")
    for name, seconds in LENGTHS.items():
        project.record(name, seconds)
    project.record("nan.wav", samples=[0.1] * 20_000 + [np.nan] * 1000)
    (project.root / "copy of a.wav").write_bytes((project.root / "a.wav").read_bytes())
    (project.root / "text.wav").write_text("no recording")
    project.list("missing.wav", *LENGTHS, "nan.wav", "copy of a.wav", "text.wav")
    project.build()
    return project


@pytest.fixture(scope="module")
def exported(sound: Project) -> Path:
    """Not to be changed."""
    return export_to(sound.cache, sound.root / "features.h5")


@pytest.fixture
def file(exported: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copy(exported, tmp_path / "features.h5"))


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A store built twice: a shard that is not full is followed by another, one row was renamed, one has new audio."""
    project = Project(tmp_path_factory.mktemp("grown") / "project")
    for name in ("a.wav", "b.wav", "c.wav"):
        project.record(name)
    project.list("a.wav", "b.wav", "c.wav")
    project.build()
    (project.root / "a.wav").rename(project.root / "renamed.wav")
    project.record("d.wav", 0.3)
    project.list("renamed.wav", "b.wav", "c.wav", "d.wav")
    project.build()
    return project


def export_to(cache: Path, target: Path, *, force: bool = False) -> Path:
    steps: list[Progress] = []
    outcome = export(cache, target, force=force, on_progress=steps.append)
    assert [step.total for step in steps] == [outcome.instances] * len(steps) and steps[-1].done == outcome.instances
    return outcome.path


def restore_to(file: Path, cache: Path) -> Restored:
    return restore(file, cache)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(file: Path, change: Callable[[h5py.File], None]) -> None:
    """Change a file on purpose, and seal it again, as someone could who means harm."""
    head = Head.read(file)
    with h5py.File(file, "r+", locking=False) as opened:
        change(opened)
        opened.flush()
    with file.open("r+b") as raw:
        Head(file.stat().st_size, head.start, head.stored, head.count).write(raw, file)
