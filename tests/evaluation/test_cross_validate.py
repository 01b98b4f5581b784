import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb

from batcache.config.settings import Config
from batcache.errors import ConfigError, ManifestError, RunError
from batcache.evaluation.calls import EVENTS
from batcache.evaluation.cross_validate import FoldsReport, cross_validate
from batcache.evaluation.folds import draw_folds, judge_folds
from batcache.evaluation.outcomes import FOLDS, read_outcomes
from batcache.inference.predictions import read_predictions
from batcache.model.checkpoint import load_checkpoint
from batcache.progress import Progress
from batcache.training.clips.embeddings import Embeddings
from batcache.training.clips.splits import read_splits
from batcache.training.events import RunStarted
from batcache.training.loop import resume
from batcache.training.runs import BEST, LAST, list_runs
from tests.small_world import CPU, SmallWorld, tweak
from tests.training.test_tracking import FakeRun


@pytest.fixture(scope="module")
def settings(small: SmallWorld, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return tweak(small.config, training={"run_dir": tmp_path_factory.mktemp("runs"), "epochs": 1})


@pytest.fixture(scope="module")
def report(small: SmallWorld, settings: Config) -> FoldsReport:
    return cross_validate(settings, small.store, small.manifest, CPU, 3)


def test_every_clip_but_those_of_split_test_is_judged_once(small: SmallWorld, report: FoldsReport) -> None:
    wanted = {clip.filename for clip in small.manifest.clips if clip.split != "test"} - {"broken.wav"}
    assert sorted(report.predictions.filenames) == sorted(wanted)


def test_no_clip_is_judged_by_a_model_that_has_heard_its_group(small: SmallWorld, report: FoldsReport) -> None:
    runs = list_runs(report.run / FOLDS)
    assert len(runs) == 3
    judged = []
    for run in runs:
        rows = read_splits(run / "split.csv").values()
        groups = {split: {row.group for row in rows if row.split == split} for split in ("train", "val", "test")}
        assert groups["test"] and not groups["test"] & (groups["train"] | groups["val"])
        judged += sorted(groups["test"])
    assert len(judged) == len(set(judged)), "each group in one fold"


def test_the_outcome_is_filed_with_the_model_of_all_clips(report: FoldsReport) -> None:
    outcome = read_outcomes(report.run)[FOLDS]
    assert outcome["folds"] == 3
    assert outcome["macro_average_precision"] == report.metrics.macro_average_precision
    kept = read_predictions(report.predictions_file)
    assert np.array_equal(kept.scores, report.predictions.scores, equal_nan=True)
    assert kept.offsets[-1] == len(kept.evidence)
    splits = {row.split for row in read_splits(report.run / "split.csv").values()}
    assert "test" not in splits


def test_calls_are_read_once_for_all_folds_and_intervals_drawn_of_all_of_them(
    small: SmallWorld, settings: Config, tmp_path: Path
) -> None:
    events = small.folder / EVENTS
    events.write_text(
        "filename,species,start_s,end_s\n" + "".join(f"{c.filename},Low,0,2\n" for c in small.manifest.clips)
    )
    try:
        drawn = draw_folds(small.manifest, small.store, 2, 0)
    finally:
        events.unlink()
    judged = judge_folds(tweak(settings, training={"run_dir": tmp_path}), small.store, drawn, CPU, Embeddings())
    assert all(fold.metrics.evidence is not None and fold.metrics.intervals is None for fold in judged.folds)
    assert judged.metrics.evidence is not None and judged.metrics.intervals is not None


def test_wandb_hears_of_one_run_and_of_what_all_folds_came_to(
    small: SmallWorld, settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: dict[str, FakeRun] = {}

    def init(**options: Any) -> FakeRun:
        return runs.setdefault(options["id"], FakeRun())

    monkeypatch.setattr(wandb, "init", init)
    config = tweak(settings, training={"run_dir": tmp_path}, wandb={"enabled": True})
    report = cross_validate(config, small.store, small.manifest, CPU, 2)
    assert list(runs) == [report.run.name] and not any("wandb" in note for note in report.notes)
    rows, saved = runs[report.run.name].logged, runs[report.run.name].saved
    (pooled,) = (row for row in rows if f"{FOLDS}/macro_ap" in row)
    assert pooled[f"{FOLDS}/macro_ap"] == report.metrics.macro_average_precision and pooled["epoch"] == 1
    assert sum(f"{FOLDS}/species" in row for row in rows) == 1 and len(rows) == 3, "an epoch, the numbers, the table"
    assert saved == [report.predictions_file, report.metrics_file]


def test_a_species_that_a_fold_was_not_taught_counts_as_unknown_there(
    small: SmallWorld, settings: Config, tmp_path: Path
) -> None:
    """Sweep in one night alone: the model of the fold that this night is in has not met it."""
    rows = [row.split(",") for row in small.rows()]
    once = [[*r[:3], r[3] if r[5] == "night 0" and r[3] == "1" else "0", *r[4:]] for r in rows]
    manifest = small.read([",".join(row) for row in once])
    report = cross_validate(tweak(settings, training={"run_dir": tmp_path}), small.store, manifest, CPU, 3)
    without = np.isnan(report.predictions.scores)
    assert without[:, 2].any() and not without[:, 2].all() and not without[:, :2].any()
    assert (report.predictions.labels[without] == -1).all()
    assert report.metrics.macro_average_precision is not None
    left_out, tests, not_annotated, not_taught = report.notes
    assert "broken.wav" in left_out and tests == "6 clips of split test left out of the folds"
    lost = {"Low": 0, "High": 0, "Sweep": 0}
    for note in (not_annotated, not_taught):
        for named in note.rpartition(": ")[2].split(", "):
            name, _, clips = named.rpartition(" ")
            lost[name] += int(clips)
    assert not_taught.endswith(f": Sweep {without[:, 2].sum()}") and lost["Low"] == 1
    assert {row.species: 18 - row.known for row in report.metrics.per_species} == lost


def test_one_fold_and_more_folds_than_groups_are_refused(small: SmallWorld, settings: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected at least 2"):
        cross_validate(settings, small.store, small.manifest, CPU, 1)
    with pytest.raises(ManifestError, match="only 6 groups"):
        cross_validate(settings, small.store, small.manifest, CPU, 7)


def test_clips_of_split_test_or_rejected_ones_alone_are_refused(
    small: SmallWorld, settings: Config, tmp_path: Path
) -> None:
    tests = [row for row in small.rows() if ",test," in row]
    for rows in (tests, [row for row in small.rows() if row.startswith("broken")]):
        with pytest.raises(ManifestError, match=r"\.csv: no clip to judge in folds: each is of split test"):
            cross_validate(settings, small.store, small.read(rows), CPU, 2)


def test_a_fold_without_which_nothing_can_be_taught_is_found_before_any_training(
    small: SmallWorld, settings: Config, tmp_path: Path
) -> None:
    """Low in one night alone, and the others nowhere: without the fold that this night is in, there is no species."""
    rows = [row.split(",") for row in small.rows()]
    once = [[r[0], r[1] if r[5] == "night 0" and r[1] == "1" else "0", "0", "0", *r[4:]] for r in rows]
    manifest = small.read([",".join(row) for row in once])
    with pytest.raises(ManifestError, match=r"without fold \d, no species has both labels"):
        cross_validate(tweak(settings, training={"run_dir": tmp_path}), small.store, manifest, CPU, 3)
    assert not list(tmp_path.iterdir())


def test_that_nobody_knows_what_the_first_model_has_learnt_from_is_told(
    small: SmallWorld, settings: Config, trained: Path, tmp_path: Path
) -> None:
    init, told = Path(shutil.copy(trained / BEST, tmp_path / "alone.pt")), list[Progress]()
    config = tweak(
        settings,
        model={"init": init, "conv_layers": None},
        training={"run_dir": tmp_path / "runs", "simulated_sounds": 0},
    )
    cross_validate(config, small.store, small.manifest, CPU, 2, on_progress=told.append)
    notes = [note for progress in told if isinstance(progress.result, RunStarted) for note in progress.result.notes]
    assert any(note.startswith(f"not every clip that {init} has learnt from is known") for note in notes)


def test_clips_that_the_first_model_has_learnt_from_are_not_judged_in_folds(
    small: SmallWorld, settings: Config, trained: Path, tmp_path: Path
) -> None:
    """The trunk of a model that started from chance has heard them too."""
    model = {"init": trained, "conv_layers": None}
    config = tweak(settings, model=model, training={"run_dir": tmp_path})
    with pytest.raises(RunError, match="has learnt from 12 of 18 clips to judge"):
        cross_validate(config, small.store, small.manifest, CPU, 3)
    assert not list(tmp_path.iterdir())


def test_the_model_of_all_clips_carries_the_scores_of_the_folds(small: SmallWorld, report: FoldsReport) -> None:
    held_out, last = load_checkpoint(report.run / BEST).held_out, load_checkpoint(report.run / LAST).held_out
    assert held_out is not None and held_out.source == FOLDS
    kept = report.predictions
    np.testing.assert_allclose(held_out.logits.sigmoid().numpy(), kept.scores, atol=1e-6)
    assert np.array_equal(held_out.labels.numpy(), kept.labels) and (kept.labels == -1).any()
    nights = {group: held_out.groups[kept.groups == group].unique().tolist() for group in set(kept.groups.tolist())}
    assert sorted(nights.values()) == [[i] for i in range(6)], "a number for each night"
    assert last is not None and last.source == "validation", "last.pt is as the training left it"


def test_a_model_of_all_clips_is_resumed_and_then_carries_scores_of_its_own(
    small: SmallWorld, settings: Config, tmp_path: Path
) -> None:
    config = tweak(settings, training={"run_dir": tmp_path})
    run = cross_validate(config, small.store, small.manifest, CPU, 2).run
    before = (run / BEST).read_bytes()
    resume(run, small.store, small.manifest, CPU, epochs=1)
    assert (run / BEST).read_bytes() == before, "nothing was left to train"
    resume(run, small.store, small.manifest, CPU, epochs=4)
    best = load_checkpoint(run / BEST)
    assert best.held_out is not None
    assert best.held_out.source == (FOLDS if best.epoch == 1 else "validation")


def test_species_and_clips_that_folds_do_not_score_are_held_out_without_score(
    small: SmallWorld, settings: Config, tmp_path: Path
) -> None:
    rows = [row.split(",") for row in small.rows()]
    once = [[*r[:3], r[3] if r[5] == "night 0" and r[3] == "1" else "0", *r[4:]] for r in rows]
    config = tweak(settings, training={"run_dir": tmp_path})
    report = cross_validate(config, small.store, small.read([",".join(row) for row in once]), CPU, 3)
    held_out = load_checkpoint(report.run / BEST).held_out
    assert held_out is not None
    np.testing.assert_array_equal(held_out.logits.isnan().numpy(), np.isnan(report.predictions.scores))
    assert (held_out.labels[held_out.logits.isnan()] == -1).all()
