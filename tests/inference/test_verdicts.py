"""The table of verdicts: what stands in its rows, and that every program reads it as it is meant."""

import csv
from pathlib import Path

import msgspec
import numpy as np
import pytest

from batcache.config.features import FeatureConfig
from batcache.inference.groups import SpeciesGroup
from batcache.inference.predict import PredictReport
from batcache.inference.predictions import Predictions
from batcache.inference.verdicts import Thresholds, columns_of, list_verdicts, write_verdicts
from batcache.store.format.commit import CachedRecording

ROW = CachedRecording(
    "a.wav", 1, 1, "hash", 384_000, 1, 1.0, "full-spectrum rate", 384_000, 192_000.0, 5.0, 0, 10, 5000, 0, 0.1, 0.1
)  # fmt: skip
SPECIES = ("Low", "=High")


def table_of(
    rows: dict[str, CachedRecording], scores: list[list[float]], rejected: dict[str, str], threshold: float = 0.5
) -> dict[str, list]:
    blank = {name: np.array([]) for name in Predictions.__dataclass_fields__}
    says = Predictions(
        **blank | {"filenames": np.array(list(rows)), "species": np.array(SPECIES), "scores": np.array(scores, "f4")}
    )
    verdicts = list_verdicts(rows, rejected, says, Thresholds(np.full(len(SPECIES), threshold)), FeatureConfig(), {})
    return dict(columns_of(verdicts, SPECIES, threshold, "model.pt 12345678"))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_says_what_was_found_where_and_when(tmp_path: Path) -> None:
    row = msgspec.structs.replace(ROW, path="x/MILL_20240413_031003.wav")
    table = table_of({row.path: row, "b.wav": ROW}, [[0.5, 0.987654], [0.49, 0.1]], {"c.wav": "empty file (0 bytes)"})
    write_verdicts(tmp_path / "predictions.csv", table)
    second, third, first = read(tmp_path / "predictions.csv")
    assert first == {
        "path": "x/MILL_20240413_031003.wav", "site": "MILL", "night": "2024-04-12", "time": "2024-04-13 03:10:03",
        "duration_s": "5", "verdict": "species", "species": "=High; Low", "species_group": "", "bat": "", "pulses": "",
        "Low": "0.5", "'=High": "0.987654",
        "notes": "the same audio as b.wav", "threshold": "0.5", "model": "model.pt 12345678", "format_version": "2",
    } | {"species": "'=High; Low"}  # fmt: skip
    assert (second["verdict"], second["species"], second["site"]) == ("no species above threshold", "", "")
    assert (third["path"], third["verdict"], third["Low"], third["duration_s"]) == ("c.wav", "rejected", "", "")
    assert third["notes"] == "empty file (0 bytes)"


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.3, 0.123])
def test_no_score_is_rounded_across_the_threshold(tmp_path: Path, threshold: float) -> None:
    at = np.float32(threshold)
    near = [at, np.nextafter(at, np.float32(0)), np.nextafter(at, np.float32(1)), at - np.float32(4e-5)]
    rows = {f"{i}.wav": msgspec.structs.replace(ROW, path=f"{i}.wav", content=f"{i}") for i in range(len(near))}
    table = table_of(rows, [[float(score), 0.0] for score in near], {}, threshold)
    write_verdicts(tmp_path / "t.csv", table)
    for row in read(tmp_path / "t.csv"):
        assert (float(row["Low"]) >= float(row["threshold"])) == (row["verdict"] == "species"), row


def test_a_species_that_is_called_as_a_column_has_one_of_its_own(tmp_path: Path) -> None:
    species = ("Time", "notes", "Noctule")
    blank = {name: np.array([]) for name in Predictions.__dataclass_fields__}
    scores = np.array([[0.25, 0.75, 0.125]], "f4")
    given = {"filenames": np.array(["a.wav"]), "species": np.array(species), "scores": scores}
    verdicts = list_verdicts(
        {"a.wav": ROW}, {}, Predictions(**blank | given), Thresholds(np.full(3, 0.5)), FeatureConfig(), {}
    )
    write_verdicts(tmp_path / "t.csv", columns_of(verdicts, species, 0.5, "model"))
    (row,) = read(tmp_path / "t.csv")
    assert (row["time"], row["notes"], row["species"]) == ("", "", "notes")
    assert (row["score of Time"], row["score of notes"], row["Noctule"]) == ("0.25", "0.75", "0.125")


def test_a_group_stands_where_none_of_its_species_does() -> None:
    blank = {name: np.array([]) for name in Predictions.__dataclass_fields__}
    scores = np.array([[0.45, 0.3], [0.6, 0.3], [0.1, 0.2]], "f4")
    names = np.array(["a.wav", "b.wav", "c.wav"])
    says = Predictions(**blank | {"filenames": names, "species": np.array(SPECIES), "scores": scores})
    rows = {name: msgspec.structs.replace(ROW, path=name, content=name) for name in names.tolist()}
    group = SpeciesGroup("both", (0, 1))
    verdicts = list_verdicts(rows, {}, says, Thresholds(np.array([0.5, 0.5]), [group], [0.4]), FeatureConfig(), {})
    table = columns_of(verdicts, SPECIES, None, "model.pt 12345678", {"both": [0.8, 0.9, np.nan]})
    assert table["verdict"] == ["group", "species", "no species above threshold"]
    assert table["species_group"] == ["both", "", ""] and table["species"] == ["", "Low", ""]
    np.testing.assert_array_equal(table["probability both"], [0.8, 0.9, np.nan])


def test_where_there_is_no_bat_no_species_and_no_group_is_named_whatever_their_scores() -> None:
    blank = {name: np.array([]) for name in Predictions.__dataclass_fields__}
    names = np.array([f"{i}.wav" for i in range(5)])
    given = {"filenames": names, "species": np.array(SPECIES), "bats": np.array([0.49, 0.5, 0.49, 0.5, np.nan], "f4")}
    scores = np.array([[0.9, 0.3], [0.9, 0.3], [0.45, 0.3], [0.45, 0.3], [0.9, 0.3]], "f4")
    says = Predictions(**blank | given | {"scores": scores})
    rows = {name: msgspec.structs.replace(ROW, path=name, content=name) for name in names.tolist()}
    group = SpeciesGroup("both", (0, 1))
    verdicts = list_verdicts(rows, {}, says, Thresholds(np.array([0.5, 0.5]), [group], [0.4]), FeatureConfig(), {})
    assert [v.verdict for v in verdicts] == ["no bat", "species", "no bat", "group", "species"]
    assert [v.species for v in verdicts] == [(), ("Low",), (), (), ("Low",)]
    assert [v.groups for v in verdicts] == [(), (), (), ("both",), ()]
    table = columns_of(verdicts, SPECIES, 0.5, "model.pt 12345678")
    np.testing.assert_array_equal(table["Low"], scores[:, 0])  # scores stay


def test_no_cell_is_a_formula_to_a_spreadsheet(tmp_path: Path) -> None:
    names = [
        "=1+1.wav",
        "+a.wav",
        "-a.wav",
        "@a.wav",
        "\ta.wav",
        "\ra.wav",
        'a,"b\n.wav',
        "=x/MILL_20240413_031003.wav",
    ]
    rows = {name: msgspec.structs.replace(ROW, path=name, content=name) for name in names}
    write_verdicts(tmp_path / "t.csv", table_of(rows, [[0.1, 0.2]] * len(rows), {"=r.wav": "-no"}))
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert {f"'{name}" for name in names[:6]} | {names[6]} <= set(cells)


def test_what_is_doubtful_is_a_note() -> None:
    doubtful = msgspec.structs.replace(
        ROW, channels=2, dead_bands=12, true_rate=144_000, nyquist_hz=72_000.0, energy_above=0.7, overscale=2.5,
        time_expansion=10.0, expansion_warning="calls sound slowed", unread="GUANO TE", constant=1,
        header_warning="its data chunk says 0 bytes", channel_warning="channel 2 is 29 dB louder",
    )  # fmt: skip
    (notes,) = table_of({"a.wav": doubtful}, [[0.1, 0.2]], {})["notes"]
    said = ("taken as 10: calls sound slowed", "nothing above 72 kHz", "most energy above 100 kHz")
    said += ("the file contradicts itself: its data chunk says 0 bytes", "holds nothing but one value")
    for part in (*said, "2.5 times full scale", "the first of 2 channels; channel 2 is 29 dB louder", "GUANO TE"):
        assert part in notes
    assert table_of({"a.wav": ROW}, [[0.1, 0.2]], {})["notes"] == [""]


def test_the_tables_file_is_the_table(undisturbed: PredictReport) -> None:
    table, rows = undisturbed.table(), read(undisturbed.table_file)
    assert [row["path"] for row in rows] == table["path"].tolist() == sorted(table["path"])
    assert list(rows[0]) == list(table)
    for row, score in zip(rows, table["Sweep"], strict=True):
        assert row["Sweep"] == "" if np.isnan(score) else abs(float(row["Sweep"]) - score) <= 5e-5
