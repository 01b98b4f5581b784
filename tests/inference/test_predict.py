"""Recordings judged: the numbers of ``build`` and ``eval``, whatever else is in the folder."""

import csv
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from batcache.cli.tables import describe
from batcache.errors import PredictError, RunError, StoreError
from batcache.evaluation.evaluate import choose_clips, evaluate
from batcache.inference import torch_model
from batcache.inference.model_file import ModelFile, open_model
from batcache.inference.predict import PredictReport, predict
from batcache.inference.predictions import read_predictions
from batcache.inference.recordings import framed
from batcache.inference.recordings import judge as judging
from batcache.inference.recordings.choose import choose_recordings
from batcache.inference.verdicts import HEARD, LEARNT, VALIDATED
from batcache.manifest.find_recordings import find_recordings
from batcache.model.checkpoint import save_checkpoint
from batcache.store.open import open_store
from tests.conftest import noise
from tests.inference.conftest import CPU, Judge, files_of
from tests.small_world import RATE, SmallWorld

FROZEN = Path(__file__).parents[1] / "frozen" / "front_end_2"
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}
"""Float32, where another batch may choose another kernel."""
HALF = {"rtol": 1e-3, "atol": 1e-3}
"""Evidence is kept as float16."""


def scores_of(report: PredictReport) -> dict[str, np.ndarray]:
    return dict(zip(report.predictions.filenames.tolist(), report.predictions.scores, strict=True))


def test_a_folder_is_judged_as_eval_judges_a_store_of_its_recordings(
    small: SmallWorld, trained: Path, undisturbed: PredictReport, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    clips = choose_clips(run / "checkpoints/best_model.pt", small.store, small.manifest, "test", as_trained=True)
    eval_says = evaluate(clips, CPU).predictions
    says = undisturbed.predictions
    assert len(eval_says.filenames) == 6
    for i, name in enumerate(eval_says.filenames):
        (k,) = np.flatnonzero(says.filenames == name)
        np.testing.assert_allclose(says.scores[k], eval_says.scores[i], **ROUNDING)
        here, there = (slice(p.offsets[n], p.offsets[n + 1]) for p, n in ((says, k), (eval_says, i)))
        np.testing.assert_allclose(says.evidence[here], eval_says.evidence[there], **HALF)
        np.testing.assert_array_equal(says.evidence_start_s[here], eval_says.evidence_start_s[there])
        np.testing.assert_array_equal(says.evidence_end_s[here], eval_says.evidence_end_s[there])


def test_a_cache_is_judged_as_its_recordings_are(
    small: SmallWorld, model: ModelFile, undisturbed: PredictReport, tmp_path: Path
) -> None:
    report = predict(choose_recordings([small.store.path], model), model, tmp_path / "out", CPU, workers=1)
    assert list(report.rejected) == list(undisturbed.rejected) == ["broken.wav"]
    np.testing.assert_array_equal(report.predictions.filenames, undisturbed.predictions.filenames)
    np.testing.assert_array_equal(report.predictions.scores, undisturbed.predictions.scores)
    np.testing.assert_array_equal(report.predictions.evidence, undisturbed.predictions.evidence)


def test_kept_features_are_a_cache_to_train_from_and_judge_alike(
    small: SmallWorld, model: ModelFile, undisturbed: PredictReport, folder: Path, tmp_path: Path
) -> None:
    kept = choose_recordings([folder], model, tmp_path / "kept.zarr", "cpu")
    report = predict(kept, model, tmp_path / "out", CPU, workers=1)
    assert files_of(report) == files_of(undisturbed)
    store = open_store(tmp_path / "kept.zarr")
    assert store.fingerprint == model.checkpoint.fingerprint
    np.testing.assert_array_equal(store.frames("night0/0.wav"), small.store.frames("night0/0.wav"))


def test_a_long_recording_is_judged_in_pieces_as_it_is_whole(
    undisturbed: PredictReport, folder: Path, judged: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (framed, judging):
        monkeypatch.setattr(module, "LONGEST_HELD", 1)  # all are long
    monkeypatch.setitem(torch_model._INSTANCES_AT_ONCE, "cpu", 1)
    report = judged(folder)
    for name, scores in scores_of(undisturbed).items():
        np.testing.assert_allclose(scores_of(report)[name], scores, **ROUNDING)


@pytest.mark.parametrize("longest_held", [1, 60])
def test_a_bad_recording_is_a_row_with_its_reason_and_no_end(
    undisturbed: PredictReport, folder: Path, judged: Judge, monkeypatch: pytest.MonkeyPatch, longest_held: int
) -> None:
    for module in (framed, judging):
        monkeypatch.setattr(module, "LONGEST_HELD", longest_held)
    samples = noise(1.6, RATE)
    samples[-1000] = np.nan  # found out when nearly all is decoded
    soundfile.write(folder / "night3" / "nan.wav", samples, RATE, subtype="FLOAT")
    (folder / "zz.wav").write_bytes((folder / "night3" / "nan.wav").read_bytes())  # a copy that is met later
    (folder / "empty.flac").write_bytes(b"")
    report = judged(folder)
    table = report.table()
    bad = {
        name: notes
        for name, notes, v in zip(table["path"], table["notes"], table["verdict"], strict=True)
        if v == "rejected"
    }
    assert list(bad) == ["broken.wav", "empty.flac", "night3/nan.wav", "zz.wav"]
    assert "NaN" in bad["night3/nan.wav"] and "0 bytes" in bad["empty.flac"]
    assert bad == dict(report.rejected)
    assert scores_of(report).keys() == scores_of(undisturbed).keys()
    assert report.judged == undisturbed.judged == 25  # of 26 sound ones one is a copy


def test_a_model_file_alone_suffices(
    trained: Path, undisturbed: PredictReport, folder: Path, judged: Judge, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    alone = Path(shutil.copy(trained / "checkpoints/best_model.pt", tmp_path / "elsewhere"))
    assert files_of(judged(folder, model=open_model(alone))) == files_of(undisturbed)


def test_recordings_that_the_model_has_learnt_from_or_was_validated_on_are_noted(
    small: SmallWorld, trained: Path, undisturbed: PredictReport
) -> None:
    with (trained / "split.csv").open(encoding="utf-8", newline="") as file:
        split_of = {row["filename"]: row["split"] for row in csv.DictReader(file)}
    table = undisturbed.table()
    for note, split, told in ((LEARNT, "train", undisturbed.learnt), (VALIDATED, "val", undisturbed.validated)):
        names = {name for name, its in split_of.items() if its == split}
        noted = {str(p) for p, notes in zip(table["path"], table["notes"], strict=True) if note in notes}
        contents = [{row.content for name in some if (row := small.store.find(name))} for some in (noted, names)]
        assert told == len(noted) and names <= noted and contents[0] == contents[1]
    doubted = [notes for notes in table["notes"] if notes not in ("", *HEARD)]
    said = "\n".join(map(str, describe(undisturbed)))
    assert re.search(rf"(?<!\d){len(doubted) - len(undisturbed.rejected)} recordings? noted in the column notes", said)
    assert len(doubted) < undisturbed.learnt, "that the model has heard a recording before is no doubt about it"
    heard = f"the model has learnt from {undisturbed.learnt} recordings and was validated on {undisturbed.validated}"
    assert f"{heard} recordings of these: they tell little of its worth" in said


def test_the_table_is_a_data_frame_where_pandas_is(undisturbed: PredictReport) -> None:
    pandas = pytest.importorskip("pandas")
    frame = undisturbed.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and list(frame) == list(undisturbed.columns)


def test_without_pandas_there_is_the_table_alone(undisturbed: PredictReport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(PredictError, match="pandas is not installed"):
        undisturbed.to_pandas()


def test_species_that_were_not_taught_have_no_scores(
    model: ModelFile, folder: Path, judged: Judge, tmp_path: Path
) -> None:
    from dataclasses import replace

    save_checkpoint(tmp_path / "less.pt", replace(model.checkpoint, taught=("Low", "Sweep")))
    report = judged(folder, model=open_model(tmp_path / "less.pt"), threshold=0.0)
    table = report.table()
    assert np.isnan(table["High"]).all() and report.model.untaught == ("High",)
    assert not any("High" in found for found in table["species"])
    assert np.isfinite(table["Low"][table["verdict"] == "species"]).all()
    assert np.isnan(report.predictions.evidence[:, 1]).all()
    assert ",," in report.table_file.read_text().splitlines()[2]


def test_what_is_written_is_what_is_returned(undisturbed: PredictReport) -> None:
    there = read_predictions(undisturbed.instances_file)
    for name, value in vars(undisturbed.predictions).items():
        np.testing.assert_array_equal(getattr(there, name), value)
    assert there.evidence.dtype == np.float16


def test_a_threshold_decides_verdicts_and_no_score(undisturbed: PredictReport, folder: Path, judged: Judge) -> None:
    none, everything = judged(folder, threshold=1.0), judged(folder, threshold=0.0)
    assert (none.judged, everything.judged) == (25, 0)  # the second call judges nothing anew
    rejected = {"rejected": 1}
    assert none.verdicts == {"no species above threshold": 26} | rejected
    assert everything.verdicts == {"species": 26} | rejected
    assert everything.found == {"Low": 26, "High": 26, "Sweep": 26}
    np.testing.assert_array_equal(none.predictions.scores, undisturbed.predictions.scores)
    row = everything.table()
    best = np.argmax([row[name] for name in ("Low", "High", "Sweep")], axis=0)
    first = [found.split("; ")[0] for found, v in zip(row["species"], row["verdict"], strict=True) if v == "species"]
    assert first == [("Low", "High", "Sweep")[i] for i, v in zip(best, row["verdict"], strict=True) if v == "species"]


def test_a_model_of_an_earlier_front_end_judges_its_own_caches_only(folder: Path, tmp_path: Path) -> None:
    old = open_model(FROZEN / "run")
    with pytest.raises(RunError, match="trained on features of front end 2, this batcache computes those of"):
        predict(find_recordings([folder]), old, tmp_path / "out", CPU)
    with pytest.raises(RunError, match="front end 2"):
        choose_recordings([folder], old, tmp_path / "kept.zarr")
    report = predict(choose_recordings([FROZEN / "store.h5"], old), old, tmp_path / "out", CPU)
    assert len(report.predictions.filenames) > 3 and np.isfinite(report.predictions.scores).any()


def test_a_cache_of_other_features_is_refused(small: SmallWorld) -> None:
    with pytest.raises(StoreError, match="holds other features than the model knows"):
        choose_recordings([small.store.path], open_model(FROZEN / "run"))


def test_a_cache_is_judged_alone(small: SmallWorld, model: ModelFile, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PredictError, match="is a cache"):
        choose_recordings([folder, small.store.path], model)
    with pytest.raises(PredictError, match="is a cache"):
        choose_recordings([small.store.path], model, tmp_path / "kept.zarr")


def test_scores_that_are_not_finite_are_one_line(model: ModelFile, folder: Path, judged: Judge, tmp_path: Path) -> None:
    from dataclasses import replace

    weights = {
        name: torch.full_like(value, torch.nan) if value.is_floating_point() else value
        for name, value in model.checkpoint.weights.items()
    }
    save_checkpoint(tmp_path / "nan.pt", replace(model.checkpoint, weights=weights))
    with pytest.raises(RunError, match=r"nan\.pt: its weights are not finite"):
        open_model(tmp_path / "nan.pt")
    most = torch.finfo(torch.float32).max
    huge = {name: value.nan_to_num(most) if value.is_floating_point() else value for name, value in weights.items()}
    save_checkpoint(tmp_path / "huge.pt", replace(model.checkpoint, weights=huge))
    with pytest.raises(RunError, match="the model gives scores that are not finite"):
        judged(folder, model=open_model(tmp_path / "huge.pt"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_says_what_a_cpu_says(undisturbed: PredictReport, folder: Path, model: ModelFile, tmp_path: Path) -> None:
    report = predict(find_recordings([folder]), model, tmp_path / "out", torch.device("cuda"))
    np.testing.assert_array_equal(report.predictions.filenames, undisturbed.predictions.filenames)
    np.testing.assert_allclose(report.predictions.scores, undisturbed.predictions.scores, rtol=0.05, atol=0.01)
