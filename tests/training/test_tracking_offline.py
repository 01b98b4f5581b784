"""Real wandb, offline: what lies in its files after a training that was stopped, resumed and judged."""

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path

import numpy as np
import pytest
import wandb
from PIL import Image

from batcache.evaluation.evaluate import EvalReport, choose_clips, evaluate
from batcache.training.loop import resume
from batcache.training.runs import BEST
from tests.documents import read_lines
from tests.small_world import CPU, SmallWorld, tweak
from tests.training.same_run import stop_after
from tests.training.wandb_records import read_rows, read_run

pytestmark = pytest.mark.slow
OWN = {"_step", "_runtime", "_timestamp"}


@pytest.fixture(scope="module")
def tracked(small: SmallWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EvalReport, list[Path]]]:
    """The judgement of a run of two epochs that was stopped after one, and wandb's files: one for each process."""
    config = tweak(small.config, wandb={"enabled": True, "tags": ("t",)})
    run = stop_after(config, small, small.manifest, tmp_path_factory.mktemp("runs"), 1)
    wandb.teardown()
    resume(run, small.store, small.manifest, CPU)
    wandb.teardown()
    report = evaluate(choose_clips(run / BEST, small.store, small.manifest, "test", as_trained=True), CPU)
    wandb.teardown()
    files = (run / "logs" / "wandb").glob("offline-run-*/*.wandb")
    yield report, sorted(files, key=lambda path: path.stat().st_mtime_ns)


def test_training_resuming_and_judging_are_one_run_of_wandb(tracked: tuple[EvalReport, list[Path]]) -> None:
    report, files = tracked
    run = report.checkpoint.parent.parent
    assert len(files) == 3
    for path in files:
        name, config = read_run(path)
        assert name == run.name and path.name == f"run-{run.name}.wandb"
        assert config["wandb"]["tags"] == ["t"] and config["training"]["epochs"] == 2
    steps = [step for path in files for step in read_rows(path)]
    assert steps == [1, 2, 3, 4, 5], "an epoch, an epoch, and numbers, table and pictures of the judgement"


def test_each_epoch_has_its_metrics_rates_and_gradient_norm(tracked: tuple[EvalReport, list[Path]]) -> None:
    report, files = tracked
    lines = read_lines(report.checkpoint.parent.parent / "logs" / "metrics.jsonl")
    recorded = [row for path in files[:2] for row in read_rows(path).values()]
    for line, row in zip(lines, recorded, strict=True):
        rates = {f"learning_rates.{name}": rate for name, rate in line.pop("learning_rates").items()}
        assert rates == {"learning_rates.model": 0.01}
        assert {name: value for name, value in row.items() if name not in OWN} == pytest.approx(line | rates)
        assert isfinite(row["grad_norm"]) and row["grad_norm"] > 0


def test_a_judgement_has_its_numbers_a_table_of_species_and_three_pictures(
    tracked: tuple[EvalReport, list[Path]],
) -> None:
    report, files = tracked
    numbers, table, pictures = read_rows(files[2]).values()
    assert numbers["epoch"] == report.epoch and numbers["test/macro_f1"] == pytest.approx(report.metrics.macro.f1)
    folder = files[2].parent / "files"
    written = json.loads((folder / table["test/species.path"]).read_text())
    expected = [list(vars(row).values()) for row in report.metrics.per_species]
    assert written["columns"] == list(vars(report.metrics.per_species[0]))
    assert written["data"] == expected
    assert len(pictures["test/clips.filenames"]) == 3
    for name, caption in zip(pictures["test/clips.filenames"], pictures["test/clips.captions"], strict=True):
        assert np.asarray(Image.open(folder / name)).std() > 0
        remark, _, clip = caption.partition(": ")
        assert remark in ("good", "bad", "doubtful") and clip in report.predictions.filenames
