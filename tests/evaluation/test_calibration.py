"""Evaluation says how far scores are from probabilities, before and after the model's own calibration."""

import html
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batcache.evaluation.calibration import CROSSED, OWN, calibrate_predictions, is_fitted_on, judge_calibration
from batcache.evaluation.evaluate import choose_clips, evaluate
from batcache.evaluation.report.curves import LEFT, SIDE, TOP, draw_reliability
from batcache.evaluation.report.write import report
from batcache.inference.calibration.platt import sigmoid
from batcache.inference.predictions import Predictions
from batcache.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from batcache.model.provenance import HeldOut
from batcache.training.runs import BEST
from tests.evaluation.judging import chosen, judge, read_metrics
from tests.evaluation.predicted import predicted
from tests.inference.calibration.simulated import draw
from tests.small_world import CPU, SmallWorld


def too_sure(clips: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of three species, two and a half times what they should be, and labels. Shape: ``[R, 3]`` each"""
    rng = np.random.default_rng(seed)
    columns = [draw(rng, clips, -0.5, 0.4) for _ in range(3)]
    return np.stack([x for x, _ in columns], 1), np.stack([y for _, y in columns], 1)


def predictions_of(logits: np.ndarray, labels: np.ndarray) -> Predictions:
    return predicted(list(sigmoid(logits)[:, None]), labels.tolist())


def carrying(checkpoint: Checkpoint, source: str, clips: int = 500) -> Checkpoint:
    logits, labels = too_sure(clips, 1)
    return replace(checkpoint, held_out=HeldOut(source, logits.astype(np.float32), labels, np.arange(clips)))


@pytest.fixture(scope="module")
def checkpoint(trained: Path) -> Checkpoint:
    return load_checkpoint(trained / BEST)


@pytest.mark.parametrize(("crossed", "how"), [(False, OWN), (True, CROSSED)])
def test_probabilities_of_clips_that_were_not_calibrated_on_come_true(
    checkpoint: Checkpoint, crossed: bool, how: str
) -> None:
    calibrated = judge_calibration(predictions_of(*too_sure(800, 2)), carrying(checkpoint, "folds"), crossed=crossed)
    assert calibrated.how == how and calibrated.probabilities is not None
    before, after = calibrated.scores, calibrated.probabilities
    assert before.cells == after.cells == 2400
    assert before.calibration_error is not None and after.calibration_error is not None
    assert before.calibration_error > 0.1 and after.calibration_error < 0.03
    assert before.log_loss is not None and after.log_loss is not None and after.log_loss < before.log_loss


@pytest.mark.parametrize(
    ("source", "split", "how"), [("validation", "val", CROSSED), ("validation", "test", OWN), ("folds", "test", OWN)]
)
def test_clips_that_a_model_was_calibrated_on_are_judged_by_other_groups_whatever_they_are_filed_under(
    small: SmallWorld, run: Path, source: str, split: str, how: str
) -> None:
    last = run / BEST.parent / "last.pt"
    save_checkpoint(last, carrying(load_checkpoint(run / BEST), source))
    judging = choose_clips(last, small.store, small.manifest, split, as_trained=True)
    fitted = is_fitted_on(run, judging.checkpoint, judging.bags)
    assert judging.name == f"{split}-last" and fitted == (how == CROSSED)
    labels = [list(bag.clip.labels) for bag in judging.bags]
    evidence = list(np.random.default_rng(3).random((len(labels), 1, 3)))
    assert calibrate_predictions(predicted(evidence, labels), judging.checkpoint, crossed=fitted)[1] == how
    assert evaluate(judging, CPU, in_full=False).calibration.how in (how, "")


def test_a_model_that_carries_nothing_has_scores_alone(checkpoint: Checkpoint) -> None:
    calibrated = judge_calibration(predictions_of(*too_sure(50, 4)), replace(checkpoint, held_out=None), crossed=False)
    assert calibrated.probabilities is None and calibrated.how == "" and calibrated.scores.cells == 150


def test_both_are_measured_on_the_same_cells(checkpoint: Checkpoint) -> None:
    held_out = carrying(checkpoint, "folds").held_out
    assert held_out is not None
    labels = held_out.labels.copy()
    labels[:, 1] = 0  # of this species nothing can be calibrated
    carried = replace(checkpoint, held_out=replace(held_out, labels=labels))
    calibrated = judge_calibration(predictions_of(*too_sure(100, 5)), carried, crossed=False)
    assert calibrated.probabilities is not None and calibrated.scores.cells == calibrated.probabilities.cells == 200


def test_eval_files_it_and_the_report_draws_both_curves(small: SmallWorld, trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / trained.name))
    save_checkpoint(run / BEST, carrying(load_checkpoint(run / BEST), "folds"))
    judged = judge(chosen(run, small))
    filed = read_metrics(run)["test"]["calibration"]
    assert filed == judged.calibration.to_plain() and filed["how"] == OWN
    assert filed["probabilities"]["cells"] == filed["scores"]["cells"] == (judged.predictions.labels >= 0).sum()
    assert judged.page is not None
    page = html.unescape(judged.page.read_text(encoding="utf-8"))
    assert page.count('class="dot calibrated"') > 0 and f"Rings: probabilities, {OWN}" in page


def other_epoch(best: Path) -> None:
    checkpoint = load_checkpoint(best)
    save_checkpoint(best, replace(checkpoint, epoch=checkpoint.epoch + 1))


@pytest.mark.parametrize("loses", [Path.unlink, other_epoch])
def test_a_report_leaves_rings_out_where_the_checkpoint_that_was_judged_is_gone(
    small: SmallWorld, run: Path, loses: Callable[[Path], None]
) -> None:
    save_checkpoint(run / BEST, carrying(load_checkpoint(run / BEST), "folds"))
    judge(chosen(run, small))
    place = small.folder / "features.zarr"
    assert 'class="dot calibrated"' in report(run, place).read_text(encoding="utf-8")
    loses(run / BEST)
    assert 'class="dot calibrated"' not in report(run, place).read_text(encoding="utf-8")


def test_rings_lie_where_probabilities_and_shares_are() -> None:
    evidence = [np.array([[p]]) for p in (0.25, 0.25, 0.25, 0.25)]
    (dot,) = draw_reliability(predicted(evidence, [[1], [0], [0], [0]]), "probabilities").dots
    assert (dot.x, dot.y) == (LEFT + SIDE * 0.25, TOP + SIDE * 0.75)
    assert dot.text.startswith("probabilities 0.2 to 0.3: 4 cells")
