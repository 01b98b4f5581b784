"""Tables of fixed columns: Kaleidoscope, NABat, and ours for spreadsheets."""

import csv
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from batcache.species.codes import nabat_code
from batcache.survey.formats.codes import to_codes
from batcache.survey.formats.kaleidoscope import write_kaleidoscope
from batcache.survey.formats.nabat import write_nabat
from batcache.survey.formats.spreadsheet import COLUMNS, write_excel, write_plain
from batcache.survey.judged import Judged, read_judged
from tests.survey.formats.conftest import FOUND, GROUP, NOTHING, TWO
from tests.survey.predicted_folder import MODEL, SPECIES, write_reviewed

DOCUMENTED = """
    INDIR, OUTDIR, FOLDER, IN FILE, CHANNEL, OFFSET, DURATION, OUT FILE FS, OUT FILE ZC, DATE, TIME, HOUR, DATE-12,
    TIME-12, HOUR-12, AUTO ID, PULSES, MATCHING, MATCH RATIO, MARGIN, ALTERNATE 1, ALTERNATE 2, N, Fc, Sc, Dur, Fmax,
    Fmin, Fmean, TBC, Fk, Tk, S1, Tc, Qual, FILES, MANUAL ID, ORGID, USERID, REVIEW ORGID, REVIEW USERID, INPATHMD5,
    OUTPATHMD5FS, OUTPATHMD5ZC
"""


def read(path: Path, **how: str) -> dict[str, dict[str, str]]:
    """Rows by the name of the recording's file."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file, **how))  # type: ignore[arg-type]
    return {next(row[key] for key in ("IN FILE", "Audio Recording Name", "path") if key in row): row for row in rows}


def name(path: str) -> str:
    return path.rpartition("/")[2]


def test_kaleidoscope_has_its_44_columns_and_a_row_a_recording(judged: Judged, tmp_path: Path) -> None:
    rows = read(write_kaleidoscope(judged, tmp_path).place)
    assert list(next(iter(rows.values()))) == [name.strip() for name in DOCUMENTED.split(",")]
    assert len(next(iter(rows.values()))) == 44
    assert set(rows) == {name(path) for path in (FOUND, TWO, GROUP, NOTHING)}
    row = rows[name(FOUND)]
    filled = {key: value for key, value in row.items() if value}
    assert filled == {
        "INDIR": judged.root, "FOLDER": "'=MILL", "IN FILE": name(FOUND), "CHANNEL": "0", "OFFSET": "0",
        "DURATION": "1.75", "DATE": "2024-12-31", "TIME": "23:59:00", "HOUR": "23", "DATE-12": "2024-12-31",
        "TIME-12": "11:59:00", "HOUR-12": "11", "AUTO ID": "PIPPIP", "PULSES": "20", "N": "4", "Fc": "46.000",
        "Dur": "5.000", "Fmax": "60.250", "Fmin": "44.500", "TBC": "90.000", "FILES": "1",
    }  # fmt: skip


def test_the_night_of_a_new_year_is_the_old_years_last(judged: Judged, tmp_path: Path) -> None:
    row = read(write_kaleidoscope(judged, tmp_path).place)[name(TWO)]
    assert (row["DATE"], row["TIME"], row["HOUR"]) == ("2025-01-01", "00:01:00", "0")
    assert (row["DATE-12"], row["TIME-12"], row["HOUR-12"]) == ("2024-12-31", "12:01:00", "12")


def test_what_is_no_species_is_noid_or_noise_and_more_species_are_alternates(judged: Judged, tmp_path: Path) -> None:
    rows = read(write_kaleidoscope(judged, tmp_path).place)
    assert [rows[name(path)]["AUTO ID"] for path in (TWO, GROUP, NOTHING)] == ["MYODAU", "NoID", "Noise"]
    assert (rows[name(TWO)]["ALTERNATE 1"], rows[name(TWO)]["ALTERNATE 2"]) == ("PIPPIP", "")
    assert rows[NOTHING]["N"] == "" and rows[NOTHING]["FOLDER"] == ""
    assert rows[name(GROUP)]["DURATION"] == "20"  # by its header


def test_what_a_person_found_stands_beside_what_the_model_said(predictions: Path, tmp_path: Path) -> None:
    found = {"Myotis nattereri": 1, "Nyctalus noctula": 1}
    write_reviewed(predictions, {FOUND: found, NOTHING: dict.fromkeys(SPECIES, 0), TWO: {"Myotis daubentonii": 0}})
    judged = read_judged(predictions)
    rows = read(write_kaleidoscope(judged, tmp_path).place)
    assert (rows[name(FOUND)]["AUTO ID"], rows[name(FOUND)]["MANUAL ID"]) == ("PIPPIP", "MYONAT, NYCNOC")
    assert (rows[NOTHING]["MANUAL ID"], rows[name(TWO)]["MANUAL ID"]) == ("Noise", "")
    assert read(write_nabat(judged, tmp_path).place)[name(FOUND)]["Manual Id"] == "MYNA"
    assert read(write_plain(judged, tmp_path).place)[NOTHING]["manual_species"] == "no bat"


def test_two_species_of_one_code_keep_their_names() -> None:
    codes = to_codes(["Myotis myotis", "Myotis myosotis", "Low"])
    assert codes == {"Myotis myotis": "Myotis myotis", "Myotis myosotis": "Myotis myosotis", "Low": "Low"}


def test_a_species_has_its_code_whatever_it_is_called() -> None:
    names = [
        "Common pipistrelle",
        "Myotis daubentoni",
        "Pipistrellus savii",
        "Nycnoc",
        "Tadarida australis",
        "Myotis sp.",
    ]
    assert list(to_codes(names).values()) == ["PIPPIP", "MYODAU", "HYPSAV", "NYCNOC", "TADAUS", "Myotis sp."]
    assert list(to_codes(names, nabat_code).values()) == ["PIPI", "MYDA", "HYSA", "NYNO", "TAAU", "Myotis sp."]
    assert to_codes(["Myotis auriculus"], nabat_code) == {"Myotis auriculus": "MYAR"}


def test_nabats_columns_are_those_of_the_data_file_and_of_two_scripts_in_use(judged: Judged, tmp_path: Path) -> None:
    rows = read(write_nabat(judged, tmp_path).place)
    columns = list(next(iter(rows.values())))
    template = yaml.safe_load((files("batcache.survey.formats") / "nabat.yaml").read_text(encoding="utf-8"))
    assert columns == list(template["columns"]) and columns[0] == "| GRTS Cell Id" and len(columns) == 22
    assert columns[9:12] == ["Auto Id Software", "Auto Id", "Manual Id"]
    row = rows[name(FOUND)]
    assert (row["Latitude"], row["Longitude"], row["Auto Id"]) == ("52.5", "13.4", "PIPI")
    assert row["Audio Recording Time"] == "2024-12-31T23:59:00"
    assert (row["Site Name"], row["Survey Start Time"]) == ("MILL", "2024-12-31T23:59:00")
    assert row["Survey End Time"] == "2025-01-01T00:01:02"
    assert [rows[name(path)]["Auto Id"] for path in (GROUP, NOTHING)] == ["NoID", "NOISE"]


def test_excel_reads_decimal_commas_and_no_formula(judged: Judged, tmp_path: Path) -> None:
    content = write_excel(judged, tmp_path).place.read_bytes()
    assert content.startswith(b"\xef\xbb\xbfpath;site;")
    rows = read(tmp_path / "recordings.csv", delimiter=";")
    row = rows[f"'{FOUND}"]  # a path that begins with = is a text
    assert (row["score"], row["call_highest_khz"], row["latitude"]) == ("0,9", "60,25", "52,5")
    assert (row["site"], row["night"], row["species"]) == ("MILL", "2024-12-31", "Pipistrellus pipistrellus")
    assert rows["broken.wav"]["verdict"] == "rejected" and rows["broken.wav"]["notes"] == "empty file (0 bytes)"


def test_the_plain_table_says_the_same_with_points(judged: Judged, tmp_path: Path) -> None:
    plain = read(write_plain(judged, tmp_path / "plain").place)
    excel = read(write_excel(judged, tmp_path / "excel").place, delimiter=";")
    assert list(next(iter(plain.values()))) == list(COLUMNS)
    numbers = {"score", "bat", "call_highest_khz", "call_lowest_khz", "duration_s", "latitude", "longitude"}
    for path, row in plain.items():
        assert {k: v.replace(".", ",") if k in numbers else v for k, v in row.items()} == excel[path]


def test_windows_folders_are_written_as_there(judged: Judged, tmp_path: Path) -> None:
    on_windows = replace(judged, root="D:\\cards")
    deep = replace(on_windows, recordings=(replace(judged.recordings[0], path="a/b/c.wav"),))
    row = read(write_kaleidoscope(deep, tmp_path).place)["c.wav"]
    assert (row["INDIR"], row["FOLDER"]) == ("D:\\cards", "a\\b")


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_table_that_a_spreadsheet_saved_is_read_alike(separator: str, predictions: Path) -> None:
    before = read_judged(predictions)
    table = predictions / "predictions.csv"
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    texts = ("path", "notes", "model", "time", "site", "species_group")
    numbers = [i for i, column in enumerate(rows[0]) if column not in texts]
    if separator == ";":
        rows[1:] = [[c.replace(".", ",") if i in numbers else c for i, c in enumerate(row)] for row in rows[1:]]
    with table.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=separator).writerows(rows)
    after = read_judged(predictions)
    assert after.recordings == before.recordings and after.rejected == before.rejected
    assert after.model == MODEL and after.root == before.root
