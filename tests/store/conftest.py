"""One forking process for all tests of this room, the two builds that most of them kill, and a store without shards."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from batcache.store.format.attributes import create_store
from batcache.store.format.layout import Layout
from tests.store.cases import Case, undisturbed
from tests.store.faults import Commander, start_commander
from tests.store.project import SMALL, Project, add_guano, copy


@pytest.fixture(scope="session")
def commander() -> Iterator[Commander]:
    with start_commander() as started:
        yield started


@pytest.fixture(scope="session")
def first_build(commander: Commander, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A first build: short recordings, a long one of three shards, a copy, one that fails, two that are rejected."""
    project = Project(tmp_path_factory.mktemp("builds") / "before")
    lengths = {"a.wav": 0.25, "b.wav": 0.08, "long.wav": 0.93, "c.wav": 0.2, "d.wav": 0.15, "e.wav": 0.3}
    for name, seconds in lengths.items():
        project.record(name, seconds)
    project.record("nan.wav", samples=[0.1] * 20_000 + [np.nan] * 1000)
    (project.root / "copy of a.wav").write_bytes((project.root / "a.wav").read_bytes())
    (project.root / "text.wav").write_text("no recording")
    project.list("missing.wav", *lengths, "nan.wav", "copy of a.wav", "text.wav")
    return undisturbed(commander, project, None)


@pytest.fixture(scope="session")
def second_build(commander: Commander, first_build: Case) -> Case:
    """A second build: a tag, a new name, swapped names, other audio, another rate, repairs, and new recordings."""
    before = first_build.project.root
    names = [place.name for place in before.iterdir() if place.suffix in (".wav", ".csv")]
    project = Project(copy(before, before.with_name("after"), names))
    root = project.root
    add_guano(root / "c.wav")
    (root / "d.wav").rename(root / "renamed.wav")
    (root / "b.wav").rename(root / "x")
    (root / "e.wav").rename(root / "b.wav")
    (root / "x").rename(root / "e.wav")
    project.record("a.wav", 0.25, seed=5)
    project.record("nan.wav", 0.1)
    project.record("text.wav", 0.1)
    project.record("longer.wav", 0.6)
    project.record("new.wav", 0.2)
    wavs = ["new.wav", *(name for name in names if name not in ("d.wav", "clips.csv")), "renamed.wav", "longer.wav"]
    project.list("missing.wav", *sorted(wavs), time_expansion={"long.wav": 0.9})
    return undisturbed(commander, project, first_build.end)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    create_store(tmp_path / "f.zarr", SMALL.features, Layout(100, 16, 4))
    return tmp_path / "f.zarr"
