"""A rendered folder, and a function that renders rows."""

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batcache.manifest.manifest import read_manifest
from batcache.progress import Progress
from batcache.synth import create as library
from batcache.synth.create import SynthReport, create
from tests.synth.rendered import HEADER, ROWS, Make, read_events, rendered_by, write_rows


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows as several processes rendered them. Not to be changed."""
    out = tmp_path_factory.mktemp("synth") / "not" / "there" / "before"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "_ROWS_A_TASK", 1)
        told: list[Progress] = []
        report = create(read_manifest([write_rows(out.parents[2])]), out, on_progress=told.append)
    assert told == [Progress("synth", i, 4) for i in (1, 2, 3, 4)]
    assert report == SynthReport(out, 4, 4, 0, sum(map(len, read_events(out).values())))
    return out


@pytest.fixture
def here(original: Path, tmp_path: Path) -> Path:
    """A copy of the rendered folder, times and all."""
    return Path(shutil.copytree(original, tmp_path / "here"))


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Render rows into ``tmp_path / "here"``, or another folder, in this process: no other need start."""
    monkeypatch.setattr(library, "process_pool", ThreadPoolExecutor)

    def make(rows: Sequence[str] = ROWS, out: str = "here", header: str = HEADER, force: bool = False) -> SynthReport:
        return rendered_by(write_rows(tmp_path / "csv", rows, header), tmp_path / out, force=force)

    return make
