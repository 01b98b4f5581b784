"""``batcache run`` ends with new recordings."""

import csv
from pathlib import Path

import pytest

from batcache.inference.verdicts import LEARNT
from tests.cli.conftest import CONFIG, run_of
from tests.command import batcache

COMMAND = ("run", "small.yaml", "--csv", "train.csv", "--device", "cpu")


@pytest.mark.slow
def test_a_pipeline_judges_new_recordings_once_that_its_model_has_never_heard(fresh: Path) -> None:
    (fresh / "small.yaml").write_text(CONFIG + "predict: {recordings: unheard, clips: 5}\n")
    first, again = (batcache(*COMMAND, cwd=fresh) for _ in range(2))
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert "judged now: 5" in first.stdout and "judged now" not in again.stdout
    table = run_of(fresh) / "predictions" / "predictions.csv"
    assert f"new recordings   runs/{run_of(fresh).name}/predictions/predictions.csv" in again.stdout
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 and not any(LEARNT in row["notes"] for row in rows)
    assert {row["night"] for row in rows} and "" not in {row["night"] for row in rows}


def test_simulated_recordings_need_a_folder_before_anything_is_built(fresh: Path) -> None:
    (fresh / "small.yaml").write_text(CONFIG + "predict: {clips: 5}\n")
    refused = batcache(*COMMAND, cwd=fresh)
    assert refused.returncode == 1 and "predict.recordings: not given" in refused.stderr, refused.stderr
    assert not (fresh / "features.zarr").exists()
