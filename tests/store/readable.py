"""A store to be read, and what every recording of it reads as."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import StoreError
from tests.store.project import Project, copy

LENGTHS = {"a.wav": 0.25, "b.wav": 0.08, "long.wav": 0.93, "c.wav": 0.2}
SHARDS_OF = {"a.wav": [0], "b.wav": [0], "long.wav": [1, 2, 3], "c.wav": [4]}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Shards: 0 of two recordings, 1 to 3 of a long one, 4 of one. Not to be changed."""
    project = Project(tmp_path_factory.mktemp("reader"))
    for name, seconds in LENGTHS.items():
        project.record(name, seconds)
    project.list(*LENGTHS)
    project.build()
    return project


@pytest.fixture(scope="module")
def truth(sound: Project) -> dict[str, np.ndarray]:
    return {name: sound.frames(name) for name in LENGTHS}


@pytest.fixture
def project(sound: Project, tmp_path: Path) -> Project:
    return Project(copy(sound.root, tmp_path / "project"))


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)
