"""A short form of the whole line on real recordings: the shortest ones, with the model of pipelines/real.yaml."""

import csv
import json
from pathlib import Path

import pytest

from tests.command import batcache

PIPELINE = Path(__file__).parents[1] / "pipelines" / "real.yaml"


@pytest.fixture(scope="module")
def short(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest of the 30 smallest recordings, which stay where they are."""
    folder = tmp_path_factory.mktemp("real")
    with (real / "manifest.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    rows.sort(key=lambda row: (real / row[0]).stat().st_size)
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows[:30]])
    built = batcache("build", "--csv", "train.csv", "--data-dir", str(real), "--config", str(PIPELINE), cwd=folder)
    assert built.returncode == 0, built.stderr
    assert "30 to compute" in built.stdout and not (folder / "features.zarr.rejected.csv").exists()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["max", "attention", "linear_softmax"])
def test_the_line_runs_on_real_recordings(short: Path, pooling: str) -> None:
    trained = batcache("train", "--pooling", pooling, "--config", str(PIPELINE), "--epochs", "1", cwd=short)
    assert trained.returncode == 0, trained.stderr
    judged = batcache("eval", "--split", "test", cwd=short)
    assert judged.returncode == 0, judged.stderr
    (run,) = (short / "runs").glob(f"*-{pooling}")
    outcome = json.loads((run / "metrics.json").read_text())["test"]
    assert outcome["clips"] > 0 and len(outcome["per_species"]) == 20
    assert f"judging runs/{run.name}/checkpoints/best_model.pt" in judged.stdout


@pytest.mark.slow
def test_a_second_build_computes_nothing(short: Path, real: Path) -> None:
    again = batcache("build", "--csv", "train.csv", "--data-dir", str(real), "--config", str(PIPELINE), cwd=short)
    assert again.returncode == 0 and "recordings: 30 up to date" in again.stdout, again.stderr
