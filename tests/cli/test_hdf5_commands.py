"""The command line on an exported file, as a user types it."""

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import run_of
from tests.command import batcache


@pytest.fixture(scope="module")
def built(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, exported, and without recordings. Not to be changed."""
    folder = Path(shutil.copytree(project, tmp_path_factory.mktemp("exported") / "project"))
    outcome = batcache("build", "--csv", "train.csv", cwd=folder)
    assert outcome.returncode == 0, outcome.stderr
    outcome = batcache("export", "features.zarr", "features.h5", cwd=folder)
    assert outcome.returncode == 0, outcome.stderr
    assert "exported: 12 recordings, 24 instances to features.h5" in outcome.stdout
    shutil.rmtree(folder / "wav")
    return folder


@pytest.mark.slow
def test_a_file_is_trained_on_judged_shown_and_described(built: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(built, tmp_path / "project"))
    shutil.rmtree(folder / "features.zarr")
    for command in (
        ["train", "--cache", "features.h5", "--csv", "train.csv", "--config", "small.yaml", "--epochs", "1"],
        ["eval", "--split", "test"],
        ["info", "features.h5"],
        ["show", "features.h5", "-o", "store.png"],
        ["show", "features.h5", "--clip", "wav/03.wav", "-o", "clip.png"],
    ):
        outcome = batcache(*command, cwd=folder)
        assert outcome.returncode == 0, f"{command}: {outcome.stderr}"
    outcome = batcache("show", f"runs/{run_of(folder).name}", "-o", "run.png", cwd=folder)
    assert outcome.returncode == 0, outcome.stderr
    assert all((folder / f"{name}.png").exists() for name in ("store", "clip", "run"))


def test_a_file_becomes_a_store_again(built: Path, tmp_path: Path) -> None:
    outcome = batcache("build", "--from", f"{built / 'features.h5'}", "--cache", "again.zarr", cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert "restored: 12 recordings, 24 instances in again.zarr" in outcome.stdout
    shard = Path("instances") / "c" / "0" / "0" / "0"
    assert (tmp_path / "again.zarr" / shard).read_bytes() == (built / "features.zarr" / shard).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["export", "features.zarr", "features.h5"], 1, "features.h5: is there already. Pass --force"),
        (["export", "features.h5", "other.h5"], 1, "features.h5: not a batcache store"),
        (["export", "none.zarr", "other.h5"], 1, "none.zarr: no cache here"),
        (["build", "--from", "features.h5", "--csv", "train.csv"], 2, "give only --cache"),
        (["build", "--from", "train.csv", "--cache", "new.zarr"], 1, "train.csv: no cache"),
        (["build", "--csv", "train.csv", "--cache", "features.h5"], 1, "features.h5"),
        (["train", "--cache", "features.h5"], 1, "--csv: no CSV is given"),
        (["train", "--cache", "train.csv", "--csv", "train.csv"], 1, "train.csv: no cache"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line(built: Path, arguments: list[str], code: int, said: str) -> None:
    before = {place.name: place.stat().st_mtime_ns for place in built.iterdir()}
    outcome = batcache(*arguments, cwd=built)
    assert outcome.returncode == code, outcome.stderr
    assert said in outcome.stderr
    assert code == 2 or len(outcome.stderr.strip().splitlines()) == 1
    assert {place.name: place.stat().st_mtime_ns for place in built.iterdir()} == before
