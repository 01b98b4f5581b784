"""A built project, which tests change and build again."""

import csv
from pathlib import Path

import pytest

from tests.store.project import Project, copy

LENGTHS = {"a.wav": 0.25, "night 1/b.wav": 0.08, "long.wav": 0.93, "c.wav": 0.2, "d.wav": 0.05}
NAMES = list(LENGTHS)
LAST_BUILD = ["a.wav", "night 1", "long.wav", "c.wav", "d.wav", "clips.csv"]


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("built"))
    for name, seconds in LENGTHS.items():
        project.record(name, seconds)
    project.list(*LENGTHS)
    project.build()
    return project.root


@pytest.fixture
def project(built_once: Path, tmp_path: Path) -> Project:
    """A built project: two shards of short recordings around three of a long one."""
    return Project(copy(built_once, tmp_path / "project"))


def rejects(project: Project) -> dict[str, str]:
    place = project.root / "features.zarr.rejected.csv"
    if not place.exists():
        return {}
    with place.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["filename"]: row["reason"] for row in rows}
