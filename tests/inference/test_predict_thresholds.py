"""New recordings are judged at the thresholds that the model carries, and translated where it can."""

import csv
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import ConfigError
from batcache.inference.calibration.of_model import calibrate_model
from batcache.inference.calibration.platt import logits_of
from batcache.inference.calibration.prevalence import shift
from batcache.inference.calibration.thresholds import BEST_F1, GIVEN, NOTHING, PROMISED
from batcache.inference.model_file import ModelFile
from tests.inference.calibration.models import carrying, held_out
from tests.inference.conftest import Judge


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_species_counts_from_its_own_threshold_on(
    model: ModelFile, folder: Path, judged: Judge, tmp_path: Path
) -> None:
    own = carrying(model, tmp_path / "own.pt", held_out())
    report = judged(folder, model=own)
    thresholds, scores = report.calibration.values, report.predictions.scores
    assert [at.basis for at in report.calibration.thresholds] == [PROMISED, PROMISED, NOTHING]
    assert len(set(thresholds)) == 3 and thresholds[2] == 0.5
    table = dict(zip(report.table()["path"].tolist(), report.table()["species"].tolist(), strict=True))
    for name, row in zip(report.predictions.filenames.tolist(), scores, strict=True):
        found = {s for s, score, at in zip(own.checkpoint.species, row, thresholds, strict=True) if score >= at}
        assert set(table[name].split("; ")) - {""} == found
    assert report.found == dict(zip(own.checkpoint.species, (scores >= thresholds).sum(0).tolist(), strict=True))


def test_the_tables_say_what_is_promised_and_how_likely_each_species_is(
    model: ModelFile, folder: Path, judged: Judge, tmp_path: Path
) -> None:
    own = carrying(model, tmp_path / "own.pt", held_out())
    report = judged(folder, model=own, precision=0.8)
    low, high, sweep = read(report.thresholds_file)
    assert (low["species"], low["basis"], low["promised precision"], low["clips"]) == ("Low", PROMISED, "0.8", "600")
    assert (sweep["basis"], sweep["threshold"], sweep["promised precision"]) == (NOTHING, "0.5", "")
    assert float(high["threshold"]) == pytest.approx(report.calibration.values[1], abs=1e-6)
    rows = [row for row in read(report.table_file) if row["verdict"] != "rejected"]
    assert {"probability Low", "probability High"} < set(rows[0]), "one clip that holds Sweep tells too"
    assert {row["threshold"] for row in rows} == {""} and {row["format_version"] for row in rows} == {"2"}
    platt = report.calibration.platts[0]
    assert platt is not None
    for row in rows:
        expected = platt.probabilities(logits_of(np.array([float(row["Low"])])))[0]
        assert float(row["probability Low"]) == pytest.approx(expected, abs=2e-4)


def test_a_threshold_that_is_given_holds_for_all_species(
    model: ModelFile, folder: Path, judged: Judge, tmp_path: Path
) -> None:
    own = carrying(model, tmp_path / "own.pt", held_out())
    report = judged(folder, model=own, threshold=0.3)
    assert report.calibration.values.tolist() == [0.3] * 3
    assert {row["basis"] for row in read(report.thresholds_file)} == {GIVEN}
    assert {row["threshold"] for row in read(report.table_file)} == {"0.3"}
    assert np.isfinite(report.probabilities[:, 0]).all(), "what is likely does not depend on it"


def test_a_model_that_carries_nothing_judges_at_0_5_and_promises_nothing(
    model: ModelFile, folder: Path, judged: Judge, tmp_path: Path
) -> None:
    bare = carrying(model, tmp_path / "bare.pt", None)
    report, at_half = judged(folder, model=bare), judged(folder, model=bare, threshold=0.5)
    assert report.calibration.values.tolist() == [0.5] * 3 and report.found == at_half.found
    assert {row["basis"] for row in read(at_half.thresholds_file)} == {GIVEN}
    assert {at.basis for at in report.calibration.thresholds} == {NOTHING}
    assert np.isnan(report.probabilities).all()
    assert not [name for name in report.columns if name.startswith("probability")]


def test_probabilities_are_corrected_for_how_common_species_are_here(
    model: ModelFile, folder: Path, judged: Judge, tmp_path: Path
) -> None:
    own = carrying(model, tmp_path / "own.pt", held_out())
    plain, fitted = judged(folder, model=own), judged(folder, model=own, fit_prevalence=True)
    assert not plain.prevalence and set(fitted.prevalence) == {"Low", "High", "Sweep"}
    then, now = fitted.prevalence["Low"]
    assert then == plain.calibration.prevalence[0]
    np.testing.assert_allclose(fitted.probabilities[:, 0], shift(plain.probabilities[:, 0], then, now))
    assert fitted.probabilities[:, 0].mean() == pytest.approx(now, abs=1e-6), "what expectation and maximisation end at"
    np.testing.assert_array_equal(fitted.predictions.scores, plain.predictions.scores)
    assert fitted.found == plain.found


def test_a_stricter_precision_raises_thresholds(model: ModelFile, tmp_path: Path) -> None:
    own = carrying(model, tmp_path / "own.pt", held_out(clips=3000))
    values = [calibrate_model(own, precision).values[0] for precision in (0.7, 0.8, 0.9)]
    assert values == sorted(values) and values[0] < values[-1]
    few = carrying(model, tmp_path / "few.pt", held_out(clips=60))
    assert calibrate_model(few, 0.99).thresholds[0].basis == BEST_F1


@pytest.mark.parametrize("precision", [0.0, 1.0, -1.0, float("nan")])
def test_a_precision_that_is_none_is_refused(model: ModelFile, precision: float) -> None:
    with pytest.raises(ConfigError, match="expected above 0 and below 1"):
        calibrate_model(model, precision)


def test_that_an_epoch_was_chosen_on_the_same_clips_is_told(model: ModelFile, tmp_path: Path) -> None:
    for source, told in (("validation", True), ("folds", False)):
        notes = calibrate_model(carrying(model, tmp_path / "own.pt", held_out(source))).notes
        assert any("slightly too good" in note for note in notes) is told
