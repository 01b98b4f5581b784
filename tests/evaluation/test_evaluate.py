import csv
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from batcache.errors import ManifestError, RunError, StoreError
from batcache.evaluation import evaluate as evaluate_module
from batcache.evaluation.evaluate import EvalReport, Evaluation, choose_clips, evaluate, read_judged
from batcache.evaluation.metrics import compute_metrics
from batcache.inference.predictions import Predictions, read_predictions, write_predictions
from batcache.manifest.manifest import Manifest, read_manifest
from batcache.model.checkpoint import load_checkpoint, save_checkpoint
from batcache.progress import Progress
from batcache.store.build.build import build
from batcache.store.format.last_build import portable
from batcache.store.reader import Store
from batcache.training.bags import read_bag
from batcache.training.runs import BEST, newest_run, read_run, write_run
from tests.small_world import CPU, RATE, SPECIES, SmallWorld


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, to write into."""
    return Path(shutil.copytree(trained, tmp_path / "runs" / trained.name))


def judge(judging: Evaluation) -> EvalReport:
    return evaluate(judging, CPU)


def chosen(
    run: Path, small: SmallWorld, manifest: Manifest | None = None, split: str = "test", *, edited: bool = False
) -> Evaluation:
    """As ``batcache eval`` chooses: the run's clips and splits (its CSV perhaps edited), or another CSV's."""
    as_trained = manifest is None or edited
    return choose_clips(run / BEST, small.store, manifest or small.manifest, split, as_trained=as_trained)


def read_metrics(run: Path) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return dict(json.loads((run / "metrics.json").read_text(), parse_constant=refuse))


# What is written


def test_predictions_have_the_fields_shapes_and_types_that_were_promised(run: Path, small: SmallWorld) -> None:
    report = judge(chosen(run, small))
    assert report.predictions_file == run / "logs" / "test_predictions.npz"
    with np.load(report.predictions_file, allow_pickle=False) as arrays:
        found = {name: (array.dtype.kind, array.dtype.itemsize, array.ndim) for name, array in arrays.items()}
        counts = np.diff(arrays["offsets"])
        assert arrays["filenames"].tolist() == [f"night{n}/{i}.wav" for n in (6, 7) for i in range(3)]
        assert arrays["species"].tolist() == list(SPECIES)
        assert arrays["scores"].shape == arrays["labels"].shape == (6, 3)
        assert arrays["offsets"][0] == 0
        assert arrays["offsets"][-1] == len(arrays["evidence"]) == len(arrays["evidence_start_s"])
    assert {name: kind for name, (kind, _, _) in found.items() if kind == "U"} == {"filenames": "U", "species": "U"}
    assert {name: rest for name, rest in found.items() if rest[0] != "U"} == {
        "start_s": ("f", 8, 1),
        "duration_s": ("f", 8, 1),
        "scores": ("f", 4, 2),
        "labels": ("i", 1, 2),
        "evidence": ("f", 4, 2),
        "evidence_start_s": ("f", 8, 1),
        "evidence_end_s": ("f", 8, 1),
        "offsets": ("i", 8, 1),
    }
    assert counts.tolist() == [bag.instances(250) for bag in chosen(run, small).bags]


def test_scores_are_the_models_probabilities_and_labels_the_csvs(run: Path, small: SmallWorld) -> None:
    judging = chosen(run, small)
    predictions = judge(judging).predictions
    model = judging.checkpoint.restore(CPU)
    for r, bag in enumerate(judging.bags):
        features = read_bag(small.store, bag, 250).float().unsqueeze(0)
        with torch.inference_mode():
            output = model(features, torch.ones(features.shape[:2], dtype=torch.bool))
        np.testing.assert_allclose(predictions.scores[r], output.bag_logits[0].sigmoid(), rtol=1e-4)
        assert predictions.labels[r].tolist() == list(bag.clip.labels)
        part = predictions.evidence[predictions.offsets[r] : predictions.offsets[r + 1]]
        np.testing.assert_allclose(part, output.evidence[0], rtol=1e-4, atol=1e-6)
    assert -1 in predictions.labels
    assert ((predictions.evidence >= 0) & (predictions.evidence <= 1)).all()


def test_evidence_lies_within_its_clip_in_true_seconds_one_instance_after_the_other(
    run: Path, small: SmallWorld
) -> None:
    rows = ["late.wav,1,0,0,,", "late.wav,1,0,0,0.2,", "late.wav,1,0,0,0.2,0.7", "late.wav,1,0,0,1.25,9"]
    manifest = small.read(rows, "filename,Low,High,Sweep,start_s,duration_s")
    predictions = judge(chosen(run, small, manifest)).predictions
    assert predictions.start_s.tolist() == [0, 0.2, 0.2, 1.25]
    np.testing.assert_array_equal(predictions.duration_s, [np.nan, np.nan, 0.7, 9])
    spans = [
        [(s, e) for s, e in zip(predictions.evidence_start_s[a:b], predictions.evidence_end_s[a:b], strict=True)]
        for a, b in zip(predictions.offsets, predictions.offsets[1:], strict=False)
    ]
    expected = [
        [(0, 0.5), (0.5, 1.0), (1.0, 1.5)],
        [(0.2, 0.7), (0.7, 1.2), (1.2, 1.5)],
        [(0.2, 0.7), (0.7, 0.9)],
        [(1.25, 1.5)],
    ]
    for found, wanted in zip(spans, expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_no_evidence_ends_after_its_clip(run: Path, small: SmallWorld) -> None:
    judging = chosen(run, small)
    predictions = judge(judging).predictions
    for r, bag in enumerate(judging.bags):
        part = slice(predictions.offsets[r], predictions.offsets[r + 1])
        assert predictions.evidence_start_s[part][0] == 0
        assert (predictions.evidence_start_s[part] < predictions.evidence_end_s[part]).all()
        assert predictions.evidence_end_s[part][-1] == pytest.approx(bag.row.duration_s)


def test_metrics_are_those_of_the_predictions_keyed_by_split(run: Path, small: SmallWorld) -> None:
    reports = {split: judge(chosen(run, small, split=split)) for split in ("test", "val")}
    document = read_metrics(run)
    assert list(document) == ["test", "val"]
    for split, report in reports.items():
        predictions = read_predictions(run / "logs" / f"{split}_predictions.npz")
        metrics = compute_metrics(predictions.scores, predictions.labels, SPECIES)
        assert report.metrics == metrics
        assert document[split] == {
            "checkpoint": "best_model.pt",
            "epoch": report.epoch,
            "inputs": chosen(run, small, split=split).inputs,
            "cache": portable(small.store.path, run),
            "csvs": [portable(csv, run) for csv in small.manifest.csvs],
            "split_of": {},
            "data_dir": portable(small.manifest.data_dir, run),
            **json.loads(json.dumps(metrics.to_plain())),
        }


def test_metrics_that_are_not_defined_are_null_never_nan(run: Path, small: SmallWorld) -> None:
    manifest = small.read(["late.wav,1,,0"], "filename,Low,High,Sweep")
    report = judge(chosen(run, small, manifest))
    assert report.metrics.macro_roc_auc is None
    assert "NaN" not in (run / "metrics.json").read_text()
    (outcome,) = read_metrics(run).values()
    assert outcome["macro_roc_auc"] is None


def test_judging_the_same_again_gives_the_same_files(run: Path, small: SmallWorld) -> None:
    first = judge(chosen(run, small))
    before = read_predictions(first.predictions_file), read_metrics(run)
    judge(chosen(run, small))
    again = read_predictions(first.predictions_file)
    for name, array in vars(before[0]).items():
        np.testing.assert_array_equal(array, getattr(again, name))
    assert read_metrics(run) == before[1]


def test_progress_counts_every_clip(run: Path, small: SmallWorld) -> None:
    told: list[Progress] = []
    evaluate(chosen(run, small), CPU, on_progress=told.append)
    assert told == [Progress("eval", i, 6) for i in range(1, 7)]


def test_written_predictions_are_read_as_they_were(tmp_path: Path) -> None:
    predictions = Predictions(
        filenames=np.array(["a.wav", "ü/b.wav"]),
        start_s=np.array([0.0, 1.5]),
        duration_s=np.array([0.5, np.nan]),
        species=np.array(["Pipistrellus pygmæus"]),
        scores=np.array([[0.25], [1.0]], np.float32),
        labels=np.array([[-1], [1]], np.int8),
        evidence=np.zeros((3, 1), np.float32),
        evidence_start_s=np.array([0, 1.5, 2.0]),
        evidence_end_s=np.array([0.5, 2.0, 2.5]),
        offsets=np.array([0, 1, 3]),
    )
    write_predictions(tmp_path / "p.npz", predictions)
    found = read_predictions(tmp_path / "p.npz")
    for name, array in vars(predictions).items():
        np.testing.assert_array_equal(getattr(found, name), array)
        assert getattr(found, name).dtype == array.dtype


def test_the_table_beside_the_predictions_holds_every_clips_scores(run: Path, small: SmallWorld) -> None:
    report = judge(chosen(run, small))
    made = report.predictions
    with report.predictions_file.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["filename", "start_s", "duration_s", *made.species]
    assert [row[0] for row in rows] == made.filenames.tolist()
    assert [float(row[1]) for row in rows] == made.start_s.tolist()
    np.testing.assert_allclose(np.array([row[3:] for row in rows], float), made.scores, rtol=0, atol=5.1e-5)


def test_predictions_written_without_durations_are_read_as_of_clips_that_go_on_to_the_end(
    run: Path, small: SmallWorld
) -> None:
    written = judge(chosen(run, small)).predictions_file
    with np.load(written) as arrays:
        kept = {name: array for name, array in arrays.items() if name != "duration_s"}
    np.savez_compressed(written, **kept)
    assert np.isnan(read_predictions(written).duration_s).tolist() == [True] * 6


@pytest.mark.parametrize("damage", ["missing", "torn", "overwritten", "foreign", "pickle"])
def test_what_is_no_predictions_file_is_a_run_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "p.npz"
    if damage == "torn":
        np.savez(path, scores=np.zeros(9))
        path.write_bytes(path.read_bytes()[:60])
    elif damage == "overwritten":
        np.savez_compressed(path, scores=np.arange(999.0))
        content = bytearray(path.read_bytes())
        content[100:900] = bytes(800)
        path.write_bytes(content)
    elif damage == "foreign":
        np.savez(path, other=np.zeros(9))
    elif damage == "pickle":
        np.savez(path, scores=np.array([{}], object))
    with pytest.raises(RunError, match="not readable as predictions"):
        read_predictions(path)


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
    assert not chosen(run, small, split="val").is_done()
    same = small.read(small.rows()[::-1])
    assert chosen(run, small, same, edited=True).is_done()
    flipped = small.read([row.replace("night7/0.wav,1", "night7/0.wav,0") for row in small.rows()])
    assert not chosen(run, small, flipped, edited=True).is_done()
    fewer = small.read(small.rows()[:-2])
    assert not chosen(run, small, fewer, edited=True).is_done()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate_module, "EVALUATION_VERSION", evaluate_module.EVALUATION_VERSION + 1)
        assert not chosen(run, small).is_done(), "what other code has judged is not up to date"
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
    features = replace(best.features, fmin=12_000.0)
    save_checkpoint(run / BEST, replace(best, features=features, fingerprint=features.fingerprint))
    with pytest.raises(StoreError, match=r"fmin 10000\.0, trained on 12000\.0. Pass another --cache"):
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
    nothing = replace(small.manifest, clips=tuple(replace(clip, split=None) for clip in small.manifest.clips))
    judging = choose_clips(run / BEST, small.store, nothing, "val", as_trained=True)
    assert [bag.clip.group for bag in judging.bags] == ["night 4"] * 3 + ["night 5"] * 3


def test_a_csv_without_splits_is_judged_whole_and_this_is_said(run: Path, small: SmallWorld) -> None:
    manifest = small.read(["late.wav,1,0,0", "night6/0.wav,1,0,0"], "filename,Low,High,Sweep")
    judging = chosen(run, small, manifest)
    assert len(judging.bags) == 2
    assert judge(judging).notes == ("the CSV names no split: every clip is judged",)


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
    said = "6 of 6 clips, or others of the same groups, validated while this model was trained: scores on them are too"
    assert len(judging.bags) == 6 and any(note.startswith(said) for note in judging.notes)
    assert not any("validated" in note for note in chosen(run, small).notes)


def test_clips_that_validated_are_told_apart_in_another_csv_by_content_and_by_group(
    run: Path, small: SmallWorld
) -> None:
    rows = ["night4/0.wav,1,0,0,test,elsewhere", "late.wav,1,0,0,test,night 5", "night6/0.wav,1,0,0,test,night 6"]
    (note,) = judge(chosen(run, small, small.read(rows))).notes
    assert note.startswith("2 of 3 clips, or others of the same groups, validated while this model was trained")


# Which run


def test_the_newest_run_is_the_latest_start_with_a_best_model(run: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    starts = {"b": "2026-01-02T00:00:00+00:00", "a": "2026-01-02T00:00:00.5+00:00", "z": "2025-12-31T23:00:00+00:00"}
    for name, started in {**starts, "unfinished": "2027-01-01T00:00:00+00:00"}.items():
        shutil.copytree(run, runs / name)
        write_run(runs / name, {**read_run(run), "started": started})
    (runs / "unfinished" / BEST).unlink()
    shutil.rmtree(run)
    os.utime(runs / "z")  # neither names nor times of files decide
    assert newest_run(runs) == runs / "a"


def test_no_run_with_a_best_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run with a best model here\. Run `batcache train` first"):
        newest_run(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}", b'{"format_version": 2}'])
def test_a_folder_without_a_runs_record_is_refused(run: Path, content: bytes | None) -> None:
    (run / "run.json").unlink()
    if content is not None:
        (run / "run.json").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.json: (not a run's record|format version 2, this batcache reads 1)"):
        read_run(run)


@pytest.mark.parametrize("name", ["run.json", "split.csv", "metrics.json", "logs/test_predictions.npz", f"{BEST}"])
def test_a_file_of_a_run_that_the_disk_does_not_give_is_named_once_in_plain_words(
    run: Path, small: SmallWorld, name: str
) -> None:
    judge(chosen(run, small))
    (run / name).unlink()
    (run / name).mkdir()
    with pytest.raises(RunError) as caught:
        choose_clips(run / BEST, small.store, small.manifest, "test", as_trained=True).is_done()
        read_judged(run, "test")
    said = str(caught.value)
    assert said.startswith(f"{run / name}: ") and said.count(str(run)) == 1 and "Errno" not in said, said
