"""Predictions and metrics are what was promised, of the run that was asked for."""

import csv
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from batcache.errors import RunError
from batcache.evaluation.evaluate import choose_clips, evaluate
from batcache.evaluation.judge import judge as judge_predictions
from batcache.evaluation.judged import read_judged
from batcache.evaluation.metrics import compute_metrics
from batcache.inference.predictions import Predictions, read_predictions, write_predictions
from batcache.progress import Progress
from batcache.store.format.last_build import portable
from batcache.training.clips.bags import read_bag
from batcache.training.runs import BEST, newest_run, read_run, write_run
from tests.evaluation.judging import chosen, judge, read_metrics
from tests.evaluation.predicted import predicted
from tests.small_world import CPU, SPECIES, SmallWorld

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
    assert {name for name, (kind, _, _) in found.items() if kind == "U"} == {"filenames", "species", "groups"}
    assert {name: rest for name, rest in found.items() if rest[0] != "U"} == {
        "start_s": ("f", 8, 1),
        "duration_s": ("f", 8, 1),
        "scores": ("f", 4, 2),
        "labels": ("i", 1, 2),
        "evidence": ("f", 4, 2),
        "evidence_start_s": ("f", 8, 1),
        "evidence_end_s": ("f", 8, 1),
        "offsets": ("i", 8, 1),
        "bats": ("f", 4, 1),
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
        metrics = judge_predictions(predictions, {})
        assert report.metrics == metrics
        alone = replace(metrics, intervals=None, any_species=None, levels={})
        assert alone == compute_metrics(predictions.scores, predictions.labels, SPECIES)
        assert document[split] == {
            "checkpoint": "best_model.pt",
            "epoch": report.epoch,
            "inputs": chosen(run, small, split=split).inputs,
            "cache": portable(small.store.path, run),
            "csvs": [portable(csv, run) for csv in small.manifest.csvs],
            "split_of": {},
            "data_dir": portable(small.manifest.data_dir, run),
            "notes": list(chosen(run, small, split=split).notes),
            **json.loads(json.dumps(metrics.to_plain())),
            "calibration": report.calibration.to_plain(),
            "groups": [],
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


def test_the_evidence_of_an_evaluation_lies_on_the_disk_and_nothing_of_it_is_left(run: Path, small: SmallWorld) -> None:
    before = {path.name for path in (run / "logs").iterdir()}
    report = judge(chosen(run, small))
    assert isinstance(report.predictions.evidence, np.memmap), "a million recordings have 800 MB of it"
    made = {path.name for path in (run / "logs").iterdir()} - before
    assert made <= {"test_predictions.npz", "test_predictions.csv", "metrics.lock"}


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
    np.testing.assert_allclose(np.array([row[3:] for row in rows], float), made.scores, rtol=1e-7)


def test_the_table_rounds_no_score_across_a_threshold_and_no_cell_of_it_is_a_formula(tmp_path: Path) -> None:
    made = replace(predicted([np.array([[0.49996]])], [[1]]), filenames=np.array(["=a.wav"]), species=np.array(["@b"]))
    write_predictions(tmp_path / "p.npz", made)
    header, row = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()
    assert header.endswith(",'@b") and row == "'=a.wav,0,,0.49996"


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
