"""Rows that a person reviewed calibrate a model without training; what does not fit is one line."""

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import BatcacheError, ManifestError, PredictError, RunError
from batcache.inference.calibration.of_model import calibrate_model
from batcache.inference.calibration.platt import fit_platt, logits_of
from batcache.inference.calibration.profile import profile_path, read_profile
from batcache.inference.calibration.recalibrate import Recalibrated, recalibrate
from batcache.inference.calibration.thresholds import PROMISED
from batcache.inference.model_file import ModelFile, open_model
from batcache.inference.predict import PredictReport
from batcache.inference.predictions import read_predictions, write_arrays
from batcache.model.provenance import HeldOut
from batcache.storage.sealed import open_json, seal_json
from tests.inference.calibration.models import carrying, held_out
from tests.inference.conftest import Judge

LABELS = [1, 0] * 13


@pytest.fixture
def own(model: ModelFile, tmp_path: Path) -> ModelFile:
    """A model that can promise nothing, and does not tell what it has learnt from."""
    (tmp_path / "model").mkdir()
    return carrying(model, tmp_path / "model" / "own.pt", held_out(clips=24), trained_on=None)


@pytest.fixture
def judged_by_own(own: ModelFile, sounds: Path, judged: Judge) -> PredictReport:
    return judged(sounds, model=own)


@pytest.fixture
def review(own: ModelFile, judged_by_own: PredictReport, tmp_path: Path) -> Callable[..., Recalibrated]:
    """Calibrate by a table with these columns, a row a recording that was judged."""

    def call(header: str = "path,Low", labels: Sequence[object] = LABELS, names: Sequence[str] = ()) -> Recalibrated:
        paths = names or judged_by_own.predictions.filenames.tolist()
        rows = [f"{path},{label}" for path, label in zip(paths, labels, strict=False)]
        (tmp_path / "reviewed.csv").write_text("\n".join([header, *rows]) + "\n")
        return recalibrate(own, tmp_path / "reviewed.csv", judged_by_own.folder)

    return call


def test_species_that_were_reviewed_go_by_the_reviewed_rows_and_the_others_by_the_model(
    own: ModelFile, judged_by_own: PredictReport, review: Callable[..., Recalibrated]
) -> None:
    before, after = calibrate_model(own), review().calibration
    assert after.sources == ("reviewed", "folds", "folds")
    assert (after.thresholds[0].clips, after.thresholds[0].positives) == (25, 12)  # one is a copy
    assert after.thresholds[1:] == before.thresholds[1:] and after.platts[1:] == before.platts[1:]
    kept = [name != "night0/0.wav" for name in judged_by_own.predictions.filenames]
    logits = logits_of(judged_by_own.predictions.scores[kept, 0]).astype(np.float32)
    expected = fit_platt(logits, np.array(LABELS)[kept], after.platts[0].slope if after.platts[0] else 1.0)
    assert (after.platts[0] is None) == (expected is None)
    assert any("recalibrated on 25 reviewed rows (reviewed.csv): Low" in note for note in after.notes)


def test_predict_takes_the_profile_where_it_lies_beside_the_model(
    own: ModelFile, sounds: Path, judged: Judge, review: Callable[..., Recalibrated]
) -> None:
    written = review()
    again = judged(sounds, model=own)
    assert again.judged == 0 and again.calibration == written.calibration
    assert written.profile == own.path.parent / "own.pt.calibration.json"
    assert again.calibration.sources[0] == "reviewed"
    written.profile.unlink()
    assert judged(sounds, model=own).calibration.sources[0] == "folds"


def test_nights_of_recordings_are_groups_unless_the_table_names_others(
    own: ModelFile, review: Callable[..., Recalibrated]
) -> None:
    review("path,group,Low", [f"night {i // 4},{label}" for i, label in enumerate(LABELS)])
    profile = read_profile(profile_path(own.path), own.digest, own.checkpoint.species)
    assert len(np.unique(profile.held_out.groups)) == 7 and profile.reviewed == "reviewed.csv"
    review()
    profile = read_profile(profile_path(own.path), own.digest, own.checkpoint.species)
    assert len(np.unique(profile.held_out.groups)) == 25


def write_corrected(report: PredictReport, path: Path) -> None:
    with report.table_file.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    corrected = [row | {"Low": str(i % 2), "High": "", "Sweep": ""} for i, row in enumerate(rows)]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=";")
        table.writeheader()
        table.writerows(row for row in corrected if row["verdict"] != "rejected")


def test_a_corrected_table_of_predictions_is_read(own: ModelFile, judged_by_own: PredictReport, tmp_path: Path) -> None:
    write_corrected(judged_by_own, tmp_path / "reviewed.csv")
    report = recalibrate(own, tmp_path / "reviewed.csv", judged_by_own.folder)
    assert report.rows == 25 and report.calibration.sources == ("reviewed", "folds", "folds")
    (note,) = report.notes
    assert note == "left out, as copies of other rows' recordings: night0/0.wav"


def test_recordings_that_the_model_has_learnt_from_do_not_calibrate_it(
    model: ModelFile, sounds: Path, judged: Judge, tmp_path: Path
) -> None:
    telling = carrying(model, tmp_path / "telling.pt", held_out(clips=24))
    report = judged(sounds, model=telling)
    write_corrected(report, tmp_path / "reviewed.csv")
    made = recalibrate(telling, tmp_path / "reviewed.csv", report.folder)
    assert made.rows == 13 and made.calibration.thresholds[0].clips == 13
    assert "left out, as the model has learnt from them: 13 of 26 rows: copy.wav, night0/0.wav" in made.notes[0]


@pytest.mark.parametrize(("wrong", "kept"), [(0, True), (1, True), (8, False)])
def test_a_promise_is_given_up_only_where_reviewed_rows_speak_against_it(
    model: ModelFile, sounds: Path, judged: Judge, tmp_path: Path, wrong: int, kept: bool
) -> None:
    """Of ten rows above the threshold one that is wrong says nothing against 0.9, eight do."""
    sure = carrying(model, tmp_path / "sure.pt", low_from(-20.0), trained_on=None)
    (promise, *_), report = calibrate_model(sure).thresholds, judged(sounds, model=sure)
    assert promise.basis == PROMISED and (report.predictions.scores[:, 0] > promise.value).all()
    names = [name for name in report.predictions.filenames.tolist() if name != "night0/0.wav"]
    labels = [0] * wrong + [1] * (10 - wrong)
    lines = [f"{name},{label}," for name, label in zip(names, labels, strict=False)]
    (tmp_path / "reviewed.csv").write_text(
        "\n".join(["path,Low,High", *(line + str(i % 2) for i, line in enumerate(lines))])
    )
    made = recalibrate(sure, tmp_path / "reviewed.csv", report.folder)
    assert (made.calibration.thresholds[0] == promise) == kept == (made.calibration.sources[0] == "folds")


def low_from(logit: float) -> HeldOut:
    """Six hundred clips that hold Low from this logit on, and do not below."""
    logits = np.repeat(np.linspace(logit - 300, logit + 300, 600, dtype=np.float32)[:, None], 3, 1)
    labels = np.repeat((logits[:, :1] > logit).astype(np.int8), 3, 1)
    return HeldOut("folds", logits, labels, np.arange(600))


@pytest.mark.parametrize(
    ("header", "labels", "names", "error", "said"),
    [
        ("path,Low", LABELS, ["gone.wav", "night0/0.wav"], PredictError, "1 of 2 paths not judged into it: gone.wav"),
        ("path,Myotis", LABELS, (), ManifestError, "no column is named as a species of the model: Low, High, Sweep"),
        ("name,Low", LABELS, (), ManifestError, "the first column is 'name', expected 'path'"),
        ("path,Low", [0.9877], (), ManifestError, r"line 2: label '0.9877' for 'Low', expected 0, 1 or empty"),
        ("path,Low", LABELS, ["night0/0.wav"] * 2, ManifestError, "line 3: night0/0.wav stands here twice"),
        ("path,Low", [1, 0, 1, 0], (), RunError, "3 rows: no species is present in 3 of them and absent in 3"),
        ("path,Low", [1] * 26, (), RunError, "no species is present in 3 of them and absent in 3"),
        ("path,Low", [""] * 26, (), RunError, "0 rows: no species is present"),
        ("path,Low,Low", ["1,1"], (), ManifestError, "two columns are named 'Low'"),
        ("path,Low", ["1,1"], (), ManifestError, "line 2: 3 cells, the header has 2"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line_and_writes_nothing(
    own: ModelFile,
    review: Callable[..., Recalibrated],
    header: str,
    labels: list[object],
    names: Sequence[str],
    error: type[BatcacheError],
    said: str,
) -> None:
    with pytest.raises(error, match=said) as raised:
        review(header, labels, names)
    assert "\n" not in str(raised.value)
    assert not profile_path(own.path).exists()


def test_scores_of_another_model_or_that_are_not_finite_are_refused(
    own: ModelFile, model: ModelFile, judged_by_own: PredictReport, tmp_path: Path
) -> None:
    (tmp_path / "reviewed.csv").write_text("path,Low\nnight0/0.wav,1\n")
    with pytest.raises(PredictError, match="holds the scores of another model than"):
        recalibrate(model, tmp_path / "reviewed.csv", judged_by_own.folder)
    says = read_predictions(judged_by_own.instances_file)
    says.scores[3, 1] = np.nan
    write_arrays(judged_by_own.instances_file, says)
    with pytest.raises(PredictError, match="scores that are not finite"):
        recalibrate(own, tmp_path / "reviewed.csv", judged_by_own.folder)
    with pytest.raises(PredictError, match="holds no finished predictions"):
        recalibrate(own, tmp_path / "reviewed.csv", tmp_path)


def test_a_profile_of_another_model_is_refused(
    own: ModelFile, model: ModelFile, sounds: Path, judged: Judge, review: Callable[..., Recalibrated], tmp_path: Path
) -> None:
    other = carrying(model, tmp_path / "other.pt", held_out(seed=1))
    shutil.copy(review().profile, profile_path(other.path))
    with pytest.raises(RunError, match=r"is the calibration of another model\. Run `batcache calibrate` again, or del"):
        judged(sounds, "other", model=other)


@pytest.mark.parametrize(
    "damage",
    [
        {"logits": [[1.0]]},
        {"labels": [[7, 0, 0]] * 26},
        {"groups": "x"},
        {"species": ["Low"]},
        {"reviewed": None, "labels": None},
        {"format_version": 99},
        {"format": "else"},
        None,
    ],
)
def test_a_damaged_profile_is_one_line(
    own: ModelFile, review: Callable[..., Recalibrated], damage: dict[str, object] | None
) -> None:
    place = review().profile
    whole = place.read_bytes()
    place.write_bytes(whole[:100] if damage is None else seal_json(json.dumps(open_json(whole) | damage).encode()))
    with pytest.raises(RunError, match=r"own\.pt\.calibration\.json: ") as raised:
        calibrate_model(open_model(own.path))
    assert "\n" not in str(raised.value)
