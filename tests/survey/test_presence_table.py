"""From a folder of predictions to ``presence.csv``."""

import csv
import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import batcache
from batcache.errors import BatcacheError, PredictError, RunError
from batcache.inference.model_file import ModelFile, open_model
from batcache.inference.predictions import read_predictions, write_arrays
from batcache.model.checkpoint import save_checkpoint
from batcache.progress import Progress
from batcache.survey.mixture import p_value
from batcache.survey.presence_table import PresenceReport, presence
from batcache.survey.site_nights import read_survey
from tests.command import batcache as command
from tests.survey.conftest import THRESHOLD


def rewrite(folder: Path, change: object, delimiter: str = ",") -> None:
    """Change the rows of ``predictions.csv`` as a person with a spreadsheet does."""
    table = folder / "predictions.csv"
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"), newline="")))
    rows = [changed for row in rows if (changed := change(row)) is not None]  # type: ignore[operator]
    with table.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def rows_of(report: PresenceReport) -> list[dict[str, str]]:
    with report.table_file.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_of_a_site_and_night_is_counted_once(predictions: Path, model: ModelFile) -> None:
    report = presence(predictions, model)
    assert (report.site_nights, report.unplaced, report.copies) == (2, 1, 1)
    survey = read_survey(predictions)
    assert [(one.site, one.night, len(one.rows)) for one in survey.nights] == [
        ("=MEADOW", "2024-04-12", 12),
        ("MILL", "2024-04-12", 12),
    ]
    said = read_predictions(predictions / "instances.npz")
    for row in rows_of(report):
        site = row["site"].removeprefix("'")
        (mine,) = np.nonzero([str(name).startswith(f"{site}/") and "0414" not in name for name in said.filenames])
        scores = said.scores[mine]
        column = said.species.tolist().index(row["species"])
        above = scores >= THRESHOLD
        assert int(row["files"]) == len(mine) == 12
        assert int(row["files_above_threshold"]) == above[:, column].sum()
        assert int(row["files_identified"]) == (above[:, column] & (scores.argmax(1) == column)).sum()
    total = {
        site: sum(int(row["files_identified"]) for row in rows_of(report) if site in row["site"])
        for site in ("MILL", "MEADOW")
    }
    unidentified = {
        site: int((said.scores[one.rows].max(1) < THRESHOLD).sum())
        for one in survey.nights
        for site in ("MILL", "MEADOW")
        if site in one.site
    }
    assert {site: total[site] + unidentified[site] for site in total} == {"MILL": 12, "MEADOW": 12}


def test_a_file_that_is_said_to_hold_no_bat_is_identified_as_no_species(predictions: Path, model: ModelFile) -> None:
    def files_identified() -> dict[str, int]:
        rows = rows_of(presence(predictions, model))
        return {site: sum(int(r["files_identified"]) for r in rows if site in r["site"]) for site in ("MILL", "MEADOW")}

    before, said = files_identified(), read_predictions(predictions / "instances.npz")
    bats = [0.1 if "MILL" in str(name) else 0.9 for name in said.filenames]
    write_arrays(predictions / "instances.npz", replace(said, bats=np.array(bats, np.float32)))
    assert before["MILL"] > 0 and files_identified() == before | {"MILL": 0}


def test_the_file_is_the_table_and_no_cell_of_it_a_formula(predictions: Path, model: ModelFile) -> None:
    report = presence(predictions, model)
    table, rows = report.table(), rows_of(report)
    assert list(table) == list(rows[0]) and len(rows) == len(table["site"]) > 0
    for i, row in enumerate(rows):
        assert row["species"] == table["species"][i] and row["site"] in {"MILL", "'=MEADOW"}
        assert float(row["likelihood_ratio"]) == pytest.approx(table["likelihood_ratio"][i], rel=0.005)
        assert float(row["p_value"]) == pytest.approx(p_value(table["likelihood_ratio"][i]), rel=0.005)
        assert 0 <= table["share_of_draws"][i] <= 1 and row["format_version"] == "1"
    again = report.table_file.read_bytes()
    told: list[Progress] = []
    assert presence(predictions, model, on_progress=told.append).table_file.read_bytes() == again
    assert told == [Progress("presence", i, report.site_nights) for i in range(1, report.site_nights + 1)]
    assert all(row[name] == f"{float(row[name]):.3g}" for row in rows for name in ("share", "share_of_draws"))


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_sites_and_nights_that_were_corrected_and_rows_deleted_are_taken_as_they_are(
    predictions: Path, model: ModelFile, delimiter: str
) -> None:
    def correct(row: dict[str, str]) -> dict[str, str] | None:
        if "0414" in row["path"]:
            return None
        return row | {"site": "Mühle", "night": "12.04.2024"}

    rewrite(predictions, correct, delimiter)
    report = presence(predictions, model)
    assert (report.site_nights, report.unplaced, report.copies) == (1, 0, 0)
    assert {(row["site"], row["night"], row["files"]) for row in rows_of(report)} == {("Mühle", "12.04.2024", "25")}


def test_a_site_is_given_to_recordings_that_have_none(predictions: Path, model: ModelFile) -> None:
    rewrite(predictions, lambda row: row | ({"night": "2024-04-12"} if row["path"] == "late.wav" else {}))
    assert presence(predictions, model).unplaced == 1
    assert [one.site for one in read_survey(predictions, "MILL").nights] == ["=MEADOW", "MILL"]
    assert [len(one.rows) for one in read_survey(predictions, "MILL").nights] == [12, 13]
    assert presence(predictions, model, site="MILL").unplaced == 0


def test_a_model_without_held_out_clips_says_how_to_get_them(
    predictions: Path, model: ModelFile, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "model.pt", replace(model.checkpoint, held_out=None))
    with pytest.raises(RunError, match=r"has no held-out clips.*Train with --folds 5, or with validation rows"):
        presence(predictions, open_model(tmp_path / "model.pt"))
    assert not (predictions / "presence.csv").exists()


def test_predictions_of_another_model_are_refused(predictions: Path, model: ModelFile, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model.pt", replace(model.checkpoint, epoch=7))
    with pytest.raises(PredictError, match=r"judged by model\.pt .*, not by model\.pt"):
        presence(predictions, open_model(tmp_path / "model.pt"))
    moved = Path(shutil.copy(model.path, tmp_path / "renamed.pt"))
    assert presence(predictions, open_model(moved)).site_nights == 2  # the same model under another name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row | {"path": "gone.wav"}, r"predictions.csv line 2: no scores of 'gone.wav'"),
        (lambda row: {k: v for k, v in row.items() if k != "night"}, "line 1: no column 'night'"),
        (lambda row: row | {"format_version": "9"}, "line 2: version 9 of its columns, this batcache reads"),
        (lambda row: row | {"model": row["path"]}, "its rows are of several models"),
        (lambda row: row if row["verdict"] == "rejected" else None, "no recording in it that was judged"),
    ],
)
def test_a_table_that_is_none_is_one_line(predictions: Path, model: ModelFile, change: object, said: str) -> None:
    rewrite(predictions, change)
    with pytest.raises(PredictError, match=said):
        presence(predictions, model)


def test_a_folder_without_predictions_is_one_line(model: ModelFile, predictions: Path, tmp_path: Path) -> None:
    table = predictions / "thresholds.csv"
    text = table.read_text()
    for damaged, said in (
        (text.replace("\nHigh,0.4", "\nHigh,much"), "line 3: threshold 'much', expected a number"),
        (text.replace("\nHigh", "\nLow"), "no threshold of High"),
        (text.replace("given", "given,given", 1), "line 2: 10 cells, the header has 9"),
    ):
        table.write_text(damaged)
        with pytest.raises(PredictError, match=said):
            presence(predictions, model)
    for name in ("thresholds.csv", "predictions.csv"):
        (predictions / name).unlink()
        with pytest.raises(BatcacheError, match=rf"{name}: cannot be read \(No such file"):
            presence(predictions, model)
        table.write_text(text)
    with pytest.raises(RunError, match=r"instances\.npz: not readable as predictions"):
        presence(tmp_path, model)


def test_python_gets_the_table(predictions: Path, model: ModelFile) -> None:
    table = batcache.presence(str(predictions), model.path, draws=0).table()
    assert np.isnan(table["share_of_draws"]).all() and set(table["model"]) == {model.name}
    assert ",," in (predictions / "presence.csv").read_text()


def test_the_command_says_what_was_found_and_what_to_know(predictions: Path, model: ModelFile) -> None:
    told = command("presence", "predictions", "--model", str(model.path), cwd=predictions.parent)
    assert told.returncode == 0, told.stderr
    assert "2 site-nights, and those with each species" in told.stdout
    assert "from 11 clips of its validation" in told.stdout and "no approved program (USFWS)" in told.stdout
    assert "1 recording without site or night, in no site-night: pass --site" in told.stderr
    assert "1 recording left out, as another holds the same audio" in told.stderr
    (predictions / "predictions.csv").unlink()
    refused = command("presence", "predictions", "--model", str(model.path), cwd=predictions.parent)
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1
