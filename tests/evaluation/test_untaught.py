"""A species whose training clips hold one label alone: named before the training, without scores after it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from batcache.cli.tables import describe
from batcache.evaluation.evaluate import choose_clips, evaluate
from batcache.evaluation.metrics import compute_metrics
from batcache.evaluation.pictures.draw import draw_page
from batcache.evaluation.pictures.panels import choose_telling, panels_of_run
from batcache.inference.predictions import Predictions, read_predictions
from batcache.model.checkpoint import load_checkpoint
from batcache.training.events import RunStarted
from batcache.training.runs import BEST
from tests.small_world import CPU, SmallWorld, train_fully


@pytest.fixture(scope="module")
def without_negatives(small: SmallWorld, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunStarted]:
    """A run whose training clips never say that Sweep is absent; those of val and test do."""
    rows = []
    for row in small.rows():
        name, low, high, sweep, split, night = row.split(",")
        rows.append(",".join([name, low, high, "" if split == "train" and sweep == "0" else sweep, split, night]))
    manifest = small.read(rows)
    run, (started, *_) = train_fully(small.config, small.store, manifest, tmp_path_factory.mktemp("runs"))
    assert isinstance(started, RunStarted)
    evaluate(choose_clips(run / BEST, small.store, manifest, "test", as_trained=True), CPU)
    return run, started


@pytest.fixture
def run(without_negatives: tuple[Path, RunStarted]) -> Path:
    return without_negatives[0]


@pytest.fixture
def predictions(run: Path) -> Predictions:
    return read_predictions(run / "logs" / "test_predictions.npz")


def test_it_is_named_before_the_training_starts(without_negatives: tuple[Path, RunStarted]) -> None:
    (note,) = (note for note in without_negatives[1].notes if "not taught" in note)
    assert note.endswith("Sweep (no training clip known to be without it)")
    low, _, sweep = without_negatives[1].species
    assert (low.is_taught, sweep.is_taught) == (True, False)
    assert sweep.present["train"] > 0 == sweep.absent["train"] and sweep.absent["test"] > 0


def test_the_checkpoint_knows_what_it_was_taught(run: Path, trained: Path) -> None:
    assert load_checkpoint(run / BEST).taught == ("Low", "High")
    assert load_checkpoint(run / BEST).is_taught == (True, True, False)
    assert load_checkpoint(trained / BEST).is_taught == (True, True, True)
    frozen = Path(__file__).parents[1] / "frozen" / "front_end_2" / "run"
    assert load_checkpoint(frozen / BEST).is_taught == (True, True), "a file that does not tell"


def test_its_scores_are_empty_in_every_file(run: Path, predictions: Predictions) -> None:
    assert np.isnan(predictions.scores).tolist() == [[False, False, True]] * 6
    assert np.isnan(predictions.evidence[:, 2]).all() and not np.isnan(predictions.evidence[:, :2]).any()
    with (run / "logs" / "test_predictions.csv").open() as file:
        cells = [row["Sweep"] for row in csv.DictReader(file)]
    assert cells == [""] * 6
    judged = json.loads((run / "metrics.json").read_text())["test"]
    sweep = judged["per_species"][2]
    assert sweep["known"] > sweep["support"] > 0, "its clips are counted"
    assert [sweep[name] for name in ("precision", "recall", "f1", "roc_auc", "average_precision")] == [None] * 5
    assert all("Sweep" in names for names in judged["left_out"].values())


def test_numbers_and_averages_are_those_of_the_others_alone(predictions: Predictions) -> None:
    scores, labels, species = predictions.scores, predictions.labels, predictions.species.tolist()
    whole, others = compute_metrics(scores, labels, species), compute_metrics(scores[:, :2], labels[:, :2], species[:2])
    assert whole.per_species[:2] == others.per_species
    for name in ("macro", "micro", "weighted", "macro_roc_auc", "macro_average_precision"):
        assert getattr(whole, name) == getattr(others, name)


def test_it_is_said_with_the_outcome_too(run: Path, small: SmallWorld) -> None:
    judging = choose_clips(run / BEST, small.store, small.manifest, "test", as_trained=True)
    assert any("without scores" in note and note.endswith(": Sweep") for note in judging.notes)


def test_clips_are_chosen_and_drawn_without_it(
    run: Path, small: SmallWorld, predictions: Predictions, tmp_path: Path
) -> None:
    assert len(choose_telling(predictions)) == 6
    bags = choose_clips(run / BEST, small.store, small.manifest, "test", as_trained=True).bags
    draw_page(tmp_path / "page.png", panels_of_run(small.store, bags, predictions, {}), small.store.features)
    assert (tmp_path / "page.png").stat().st_size > 1000


def test_what_averages_leave_out_is_told_in_a_sentence_with_the_reason(small: SmallWorld, run: Path) -> None:
    report = evaluate(choose_clips(run / BEST, small.store, small.manifest, "test", as_trained=True), CPU)
    said = [block for block in describe(report) if isinstance(block, str) and "leave" in block]
    everywhere = "macro, micro, weighted, macro ROC-AUC, macro AP"
    assert said == [f"{everywhere} leave out Sweep: it has too few labels here, or was not taught"]
