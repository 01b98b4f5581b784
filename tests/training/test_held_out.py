"""A model carries what it said of the clips that it did not learn from."""

import shutil
from pathlib import Path

import numpy as np

from batcache.evaluation.evaluate import choose_clips, evaluate
from batcache.inference.calibration.platt import sigmoid
from batcache.model.checkpoint import load_checkpoint
from batcache.training.loop import resume
from batcache.training.runs import BEST, LAST
from tests.small_world import CPU, SmallWorld, drawing, train_fully, tweak


def test_the_best_model_carries_its_own_scores_of_its_validation_clips(
    small: SmallWorld, trained: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    held_out = load_checkpoint(run / BEST).held_out
    assert held_out is not None and held_out.source == "validation"
    says = evaluate(choose_clips(run / BEST, small.store, small.manifest, "val", as_trained=True), CPU).predictions
    np.testing.assert_allclose(sigmoid(held_out.logits), says.scores, atol=1e-5)
    np.testing.assert_array_equal(held_out.labels, says.labels)
    assert (held_out.labels == -1).any(), "clips of unknown labels are there as such"
    _, groups = np.unique(says.groups, return_inverse=True)
    assert len(set(zip(groups.tolist(), held_out.groups.tolist(), strict=True))) == 2 == len(set(groups.tolist()))


def test_species_that_were_not_taught_have_no_held_out_scores(small: SmallWorld, tmp_path: Path) -> None:
    rows = [row.split(",") for row in small.rows()]
    never = [[*r[:3], "0" if r[4] == "train" else r[3], *r[4:]] for r in rows]
    manifest = small.read([",".join(row) for row in never])
    run, _ = train_fully(tweak(small.config, training={"epochs": 1}), small.store, manifest, tmp_path)
    held_out = load_checkpoint(run / BEST).held_out
    assert held_out is not None
    assert np.isnan(held_out.logits).all(0).tolist() == [False, False, True]
    assert (held_out.labels[:, 2] == 1).any(), "what is known of it stays"


def test_a_recording_without_a_group_is_one_of_its_own(small: SmallWorld, tmp_path: Path) -> None:
    rows = [row.rpartition(",")[0] for row in small.rows()]
    manifest = small.read(rows, "filename,Low,High,Sweep,split")
    run, _ = train_fully(tweak(small.config, training={"epochs": 1}), small.store, manifest, tmp_path)
    held_out = load_checkpoint(run / BEST).held_out
    assert held_out is not None and held_out.groups.tolist() == list(range(6))


def test_heads_that_had_no_validation_clips_carry_nothing(small: SmallWorld, trained: Path, tmp_path: Path) -> None:
    rows = [row.replace(",val,", ",train,") for row in small.rows()]
    model = {**vars(drawing(0.2).model), "init": trained, "conv_layers": None, "heads": 1, "head_size": 4}
    config = tweak(small.config, model=model, training={"epochs": 1})
    run, _ = train_fully(config, small.store, small.read(rows), tmp_path)
    assert load_checkpoint(run / BEST).held_out is None


def test_a_run_that_goes_on_carries_the_scores_of_its_new_best_epoch(
    small: SmallWorld, trained: Path, tmp_path: Path
) -> None:
    whole, _ = train_fully(tweak(small.config, training={"epochs": 3}), small.store, small.manifest, tmp_path / "whole")
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    resume(run, small.store, small.manifest, CPU, epochs=3)
    for name in (BEST, LAST):
        resumed, undisturbed = (load_checkpoint(each / name).held_out for each in (run, whole))
        assert resumed is not None and undisturbed is not None
        assert np.array_equal(resumed.logits, undisturbed.logits, equal_nan=True)
