"""Labels and splits come from the CSV, and no clip is judged that the run was trained on."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from batcache.errors import ManifestError, RunError, StoreError
from batcache.evaluation import evaluate as evaluate_module
from batcache.evaluation.evaluate import choose_clips
from batcache.evaluation.judged import read_judged
from batcache.evaluation.outcomes import FOLDS, file_outcome
from batcache.inference.predictions import read_predictions
from batcache.manifest.manifest import read_manifest
from batcache.model.checkpoint import load_checkpoint, save_checkpoint
from batcache.store.build.build import build
from batcache.store.reader import Store
from batcache.training.runs import BEST
from tests.evaluation.judging import chosen, judge
from tests.small_world import RATE, SmallWorld

# Labels and splits come from the CSV


def test_a_changed_label_changes_the_metrics_without_a_rebuild(run: Path, small: SmallWorld) -> None:
    before = judge(chosen(run, small))
    flipped = [row.replace("night7/0.wav,1,0,0", "night7/0.wav,0,1,0") for row in small.rows()]
    after = judge(chosen(run, small, small.read(flipped)))
    one, other = read_predictions(before.predictions_file), read_predictions(after.predictions_file)
    assert (one.labels[3].tolist(), other.labels[3].tolist()) == ([1, 0, 0], [0, 1, 0])
    np.testing.assert_array_equal(one.scores, other.scores)
    assert after.metrics != before.metrics
    assert after.metrics.per_species[0].support == before.metrics.per_species[0].support - 1


def test_what_was_judged_is_done_until_labels_clips_or_model_change(run: Path, small: SmallWorld) -> None:
    assert not chosen(run, small).is_done()
    judge(chosen(run, small))
    assert chosen(run, small).is_done()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate_module, "EVALUATION_VERSION", evaluate_module.EVALUATION_VERSION + 1)
        assert not chosen(run, small).is_done(), "what other code has judged is not up to date"
    assert not chosen(run, small, split="val").is_done()
    same = small.read(small.rows()[::-1])
    assert chosen(run, small, same, edited=True).is_done()
    flipped = small.read([row.replace("night7/0.wav,1", "night7/0.wav,0") for row in small.rows()])
    assert not chosen(run, small, flipped, edited=True).is_done()
    fewer = small.read(small.rows()[:-2])
    assert not chosen(run, small, fewer, edited=True).is_done()
    best = load_checkpoint(run / BEST)
    save_checkpoint(run / BEST, replace(best, epoch=best.epoch + 1))
    assert not chosen(run, small).is_done()


def test_a_split_that_was_not_judged_names_the_nearest_that_was(run: Path, small: SmallWorld) -> None:
    judge(chosen(run, small))
    with pytest.raises(RunError, match=r"tset .* \(there is: test\)\. Did you mean test\? Run `batcache eval` first"):
        read_judged(run, "tset")
    with pytest.raises(RunError, match=r"val .* \(there is: test\)\. Run `batcache eval` first"):
        read_judged(run, "val")


def test_a_damaged_metrics_file_is_said(run: Path, small: SmallWorld) -> None:
    (run / "metrics.json").write_text("{")
    with pytest.raises(RunError, match=r"metrics\.json: cannot be read .* Delete it"):
        chosen(run, small).is_done()


def test_the_order_of_species_in_the_csv_changes_nothing(run: Path, small: SmallWorld) -> None:
    before = judge(chosen(run, small))
    rows = []
    for row in small.rows():
        name, low, high, sweep, split, night = row.split(",")
        rows.append(f"{name},{sweep},{low},{high},{split},{night}")
    after = judge(chosen(run, small, small.read(rows, "filename,Sweep,Low,High,split,group")))
    assert after.metrics == before.metrics


@pytest.mark.parametrize(
    ("header", "finding"),
    [
        ("filename,Low,High,Fall,split,group", "only in the CSV Fall; only in the model Sweep"),
        ("filename,Low,High,meta_sweep,split,group", "only in the CSV none; only in the model Sweep"),
    ],
)
def test_other_species_are_refused(run: Path, small: SmallWorld, header: str, finding: str) -> None:
    with pytest.raises(RunError, match=f"species differ: {finding}"):
        chosen(run, small, small.read(small.rows(), header))


def test_a_store_of_other_features_is_refused_with_both_sides(run: Path, small: SmallWorld) -> None:
    best = load_checkpoint(run / BEST)
    other = replace(best.features, fmin=12_000.0)
    save_checkpoint(run / BEST, replace(best, features=other, fingerprint=other.fingerprint))
    with pytest.raises(StoreError, match=r"fmin 10000\.0, trained on 12000\.0. Pass another cache, or a model"):
        chosen(run, small)


def test_a_store_cut_otherwise_gives_the_same_scores(
    run: Path, small: SmallWorld, tmp_path: Path, write_wav: Any
) -> None:
    """The instances of a store are not the model's: it cuts its own."""
    samples = 0.1 * np.sin(2 * np.pi * 45_000 * np.arange(RATE) / RATE)
    write_wav("a.wav", samples, RATE)
    (tmp_path / "a.csv").write_text("filename,Low,High,Sweep\na.wav,1,0,0\n")
    manifest = read_manifest([tmp_path / "a.csv"])
    scores = []
    for instance_s in (0.5, 0.3):
        cache = tmp_path / f"{instance_s}.zarr"
        build(manifest, cache, replace(small.config.data, instance_s=instance_s), "cpu", workers=1)
        judging = choose_clips(run / BEST, Store(cache), manifest, "test", as_trained=False)
        scores.append(judge(judging).predictions.scores)
    np.testing.assert_array_equal(*scores)


# What may be judged


def test_the_runs_own_splits_hold_where_the_run_drew_them(run: Path, small: SmallWorld) -> None:
    """The CSV says nothing of validation any more; the run's split.csv still does."""
    nothing = replace(small.manifest, clips=tuple(structs.replace(clip, split=None) for clip in small.manifest.clips))
    judging = choose_clips(run / BEST, small.store, nothing, "val", as_trained=True)
    assert [bag.clip.group for bag in judging.bags] == ["night 4"] * 3 + ["night 5"] * 3


def test_a_csv_without_splits_is_judged_whole_and_this_is_said(run: Path, small: SmallWorld) -> None:
    manifest = small.read(["late.wav,1,0,0", "night6/0.wav,1,0,0"], "filename,Low,High,Sweep")
    judging = chosen(run, small, manifest)
    assert len(judging.bags) == 2
    assert judge(judging).notes == ("the CSV names no split: every clip is judged",)


def test_a_run_without_logs_is_judged(run: Path, small: SmallWorld) -> None:
    """As one that was copied without them."""
    before = judge(chosen(run, small))
    shutil.rmtree(run / "logs")
    after = judge(chosen(run, small))
    assert after.metrics == before.metrics and read_predictions(after.predictions_file).filenames.size


def test_rejected_recordings_are_named(run: Path, small: SmallWorld) -> None:
    report = judge(chosen(run, small))
    (note,) = report.notes
    assert note.startswith("1 recording left out, rejected by build: broken.wav (not audio")


def test_an_empty_split_names_those_there_are(run: Path, small: SmallWorld) -> None:
    there = r"\(there are: test \(6\), train \(13\), val \(6\)\)"
    with pytest.raises(ManifestError, match=rf"no clip of split tset {there}\. Did you mean test\? Write tset in"):
        chosen(run, small, split="tset")
    with pytest.raises(ManifestError, match=rf"no clip of split summer {there}\. Write summer in"):
        chosen(run, small, split="summer")


def test_folds_are_no_split_and_what_judges_them_is_named(run: Path, small: SmallWorld) -> None:
    report = re.escape(f"`batcache report {run} --split folds` writes what they came to")
    said = f"folds are no split: `batcache train --folds 5` judges .*Train so; then {report}"
    with pytest.raises(RunError, match=said):
        chosen(run, small, split="folds")
    file_outcome(run, FOLDS, {"csvs": [], "split_of": {}, "data_dir": ""})
    with pytest.raises(RunError, match=rf"while it trains\. {report}\.$"):
        chosen(run, small, split="folds")
    named = small.read([row.replace(",test,", ",folds,") for row in small.rows()])
    assert len(chosen(run, small, named, split="folds").bags) == 6, "a split of that name is one"


def test_the_training_split_is_refused(run: Path, small: SmallWorld) -> None:
    with pytest.raises(RunError, match=r"trained on 12 of 12 clips, or on others of the same groups: night0/0\.wav"):
        chosen(run, small, split="train")


def test_a_copy_of_a_training_recording_under_another_name_is_refused(run: Path, small: SmallWorld) -> None:
    manifest = small.read(["copy.wav,1,0,0,test,elsewhere", "late.wav,1,0,0,test,"])
    with pytest.raises(RunError, match=r"trained on 1 of 2 clips, .*: copy\.wav"):
        chosen(run, small, manifest)


def test_another_clip_of_a_training_group_is_refused(run: Path, small: SmallWorld) -> None:
    manifest = small.read(["late.wav,1,0,0,test,night 2", "night6/0.wav,1,0,0,test,night 6"])
    with pytest.raises(RunError, match=r"1 of 2 clips, or on others of the same groups: late\.wav"):
        chosen(run, small, manifest)


def test_another_span_of_a_training_recording_is_refused(run: Path, small: SmallWorld) -> None:
    manifest = small.read(["night0/0.wav,1,0,0,0.1,0.2,elsewhere"], "filename,Low,High,Sweep,start_s,duration_s,group")
    with pytest.raises(RunError, match="1 of 1 clip,"):
        chosen(run, small, manifest)


def test_clips_that_validated_may_be_judged_and_this_is_said(run: Path, small: SmallWorld) -> None:
    judging = chosen(run, small, split="val")
    said = "6 of 6 clips, or others of the same groups, validated while this model, or one before it, was trained"
    assert len(judging.bags) == 6 and any(note.startswith(said) for note in judging.notes)
    assert not any("validated" in note for note in chosen(run, small).notes)


def test_clips_that_validated_are_told_apart_in_another_csv_by_content_and_by_group(
    run: Path, small: SmallWorld
) -> None:
    rows = ["night4/0.wav,1,0,0,test,elsewhere", "late.wav,1,0,0,test,night 5", "night6/0.wav,1,0,0,test,night 6"]
    (note,) = judge(chosen(run, small, small.read(rows))).notes
    assert note.startswith("2 of 3 clips, or others of the same groups, validated while this model, or one")
