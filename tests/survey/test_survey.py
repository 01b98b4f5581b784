"""A survey: zeros are of nights that were recorded, and nobody's silence is made up."""

import csv
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import pytest
from PIL import Image

from batcache.errors import RunError, SurveyError
from batcache.inference.verdicts import UNKNOWN_BAT
from batcache.survey.judged import read_judged
from batcache.survey.picture import LONGEST_CALENDAR, list_nights
from batcache.survey.sunset import read_timezone
from batcache.survey.survey import SurveyReport, survey
from tests.survey.predicted_folder import SPECIES, Said, write_predicted, write_reviewed

pytest.importorskip("astral", reason="astral is not installed")
PIP, DAUB, NATT = SPECIES
BERLIN = {"place": (52.5, 13.4), "timezone": read_timezone("Europe/Berlin")}
BAT, QUIET = Said(scores=(0.9, 0.1, 0.1), bat=0.9), Said()
NIGHTS = {
    "MILL_20241230_220000.wav": BAT,
    "MILL_20241231_235900.wav": Said(scores=(0.6, 0.7, 0.1), bat=0.9),
    "MILL_20250101_000100.wav": BAT,
    "MILL_20250101_113000.wav": BAT,  # before noon: still of the old year's last night
    "MILL_20250102_220000.wav": QUIET,  # two nights later, recorded and without a bat
    "=MEADOW_20241231_220000.wav": Said(scores=(0.1, 0.45, 0.1), bat=0.9),  # a group
    "=MEADOW_20241231_230000.wav": Said(bat=0.9),  # an unknown bat
    "late.wav": BAT,
}
REJECTED = {"MILL_20241230_230000.wav": "empty file (0 bytes)", "MILL_20250105_220000.wav": "truncated"}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def cells(path: Path, *key: str) -> dict[tuple[str, ...], dict[str, str]]:
    return {tuple(row[name] for name in key): row for row in read(path)}


def survey_of(folder: Path, said: Mapping[str, Said], **options: object) -> SurveyReport:
    write_predicted(folder, folder, said, REJECTED)
    return survey(folder, **{**BERLIN, **options})  # type: ignore[arg-type]


@pytest.fixture
def done(tmp_path: Path) -> SurveyReport:
    return survey_of(tmp_path / "predictions", NIGHTS)


def test_a_night_is_from_noon_to_noon_by_the_recorders_clock(done: SurveyReport) -> None:
    """23:59, 00:01 and 11:30 of the next year are one night."""
    rows = cells(done.table_file, "site", "night", "species")
    row = rows["MILL", "2024-12-31", PIP]
    assert (row["recordings"], row["of_recordings"], row["recorded_s"]) == ("3", "3", "6")
    assert (row["first_recorded"], row["last_recorded"]) == ("2024-12-31 23:59:00", "2025-01-01 11:30:00")
    assert rows["MILL", "2024-12-31", DAUB]["recordings"] == "1"


def test_a_night_that_was_recorded_without_bats_has_zeros(done: SurveyReport) -> None:
    rows = cells(done.table_file, "site", "night", "species")
    for name in (*SPECIES, "Myotis sp.", "unknown bat"):
        row = rows["MILL", "2025-01-02", name]
        assert (row["recordings"], row["of_recordings"]) == ("0", "1")


def test_a_night_without_recordings_has_no_row(done: SurveyReport) -> None:
    nights = {(row["site"], row["night"]) for row in read(done.table_file)}
    assert nights == {
        ("MILL", "2024-12-30"), ("MILL", "2024-12-31"), ("MILL", "2025-01-02"), ("'=MEADOW", "2024-12-31"),
    }  # fmt: skip


def test_rejected_recordings_are_named_and_no_silence(done: SurveyReport) -> None:
    rows = cells(done.table_file, "site", "night", "species")
    assert rows["MILL", "2024-12-30", PIP]["rejected"] == "1"
    assert rows["MILL", "2024-12-30", PIP]["of_recordings"] == "1"
    assert done.without_effort == (("MILL", date(2025, 1, 5)),)
    assert {one.path for one in done.rejected} == set(REJECTED)


def test_groups_and_unknown_bats_are_counted_as_such(done: SurveyReport) -> None:
    rows = cells(done.table_file, "site", "night", "species")
    for name, number in (("Myotis sp.", "1"), ("unknown bat", "1"), (PIP, "0")):
        assert rows["'=MEADOW", "2024-12-31", name]["recordings"] == number


def test_nights_are_summed_over_the_sites_that_were_recorded(done: SurveyReport) -> None:
    row = cells(done.nights_file, "night", "species")["2024-12-31", PIP]
    assert (row["recordings"], row["of_recordings"], row["sites"], row["of_sites"]) == ("3", "5", "1", "2")


def test_hours_after_sunset_have_their_effort_and_every_recording_is_in_one(done: SurveyReport) -> None:
    """The sun set at 16:02 in Berlin."""
    rows = cells(done.hours_file, "site", "hour_after_sunset", "species")
    row = rows["MILL", "5", PIP]  # two nights at 22:00, one of them without a bat
    assert (row["recordings"], row["of_recordings"], row["of_nights"]) == ("1", "2", "2")
    assert rows["MILL", "7", PIP]["recordings"] == "2", "23:59 and 00:01"
    assert sum(int(row["of_recordings"]) for row in read(done.hours_file) if row["species"] == PIP) == done.recordings


def test_what_has_no_place_in_the_tables_is_said(done: SurveyReport, tmp_path: Path) -> None:
    assert done.unplaced == 1 and done.recordings == 7 and not done.without_hour
    named = survey_of(tmp_path / "named", NIGHTS | {"late_20241231_210000.wav": BAT}, site="GARDEN", place=None)
    assert named.unplaced == 1, "late.wav has no night"
    assert named.without_hour == {"no place: pass --place": 8}
    naive = survey_of(tmp_path / "naive", NIGHTS, timezone=None)
    assert naive.without_hour == {"a clock of unknown offset from UTC: pass --timezone": 7}


def test_the_files_own_place_and_offset_win(tmp_path: Path) -> None:
    """10:00 of UTC is 20:00 in Sydney, hours after sunset, though the options say Berlin."""
    own = Said(scores=(0.9, 0, 0), bat=0.9, recorded_at="2024-06-21T10:00:00+00:00", place=(-33.87, 151.21))
    done = survey_of(tmp_path / "own", {"SYDNEY_20240621_100000.wav": own})
    assert cells(done.hours_file, "site", "hour_after_sunset", "species")["SYDNEY", "3", PIP]["recordings"] == "1"
    assert read(done.table_file)[0]["night"] == "2024-06-21"


def test_where_the_sun_does_not_set_recordings_are_in_the_nights_and_in_no_hour(tmp_path: Path) -> None:
    done = survey_of(tmp_path / "north", {"N_20240621_230000.wav": BAT}, place=(70.0, 20.0))
    assert done.without_hour == {"the sun does not set, or not rise": 1}
    assert cells(done.table_file, "site", "night", "species")["N", "2024-06-21", PIP]["recordings"] == "1"
    assert read(done.hours_file) == []


def test_a_clock_that_was_set_back_in_the_night_keeps_its_night(tmp_path: Path) -> None:
    said = {f"A_20241027_0{hour}3000.wav": BAT for hour in range(6)}
    done = survey_of(tmp_path / "october", said)
    assert {row["night"] for row in read(done.table_file)} == {"2024-10-26"}
    hours = [int(row["hour_after_sunset"]) for row in read(done.hours_file) if row["species"] == PIP]
    assert max(hours) - min(hours) == 6, "0:30 to 5:30 are six hours in the night in which clocks go back"


def test_without_any_night_the_tables_are_headers_and_it_is_said(tmp_path: Path) -> None:
    done = survey_of(tmp_path / "p", {"late.wav": BAT})
    assert (done.unplaced, done.site_nights) == (1, 0)
    assert read(done.table_file) == read(done.nights_file) == read(done.hours_file) == []
    assert done.picture_file.stat().st_size > 0


def test_copies_count_once(tmp_path: Path) -> None:
    extra = {"content": "the same"}
    said = {f"A_20240412_2{hour}0000.wav": Said(scores=(0.9, 0, 0), bat=0.9, extra=extra) for hour in range(3)}
    done = survey_of(tmp_path / "copies", said)
    assert (done.copies, done.recordings) == (2, 1)


def test_what_a_person_found_counts_in_the_place_of_what_the_model_said(tmp_path: Path) -> None:
    """One recording holds no bat at all, another a species more, a third not what the model found, and no one knows."""
    none, more, other = "MILL_20241230_220000.wav", "MILL_20250102_220000.wav", "A_20240412_220000.wav"
    folder, recordings = tmp_path / "reviewed", NIGHTS | {other: BAT, "A_20240413_220000.wav": BAT}
    write_predicted(folder, folder, recordings)
    write_reviewed(folder, {none: dict.fromkeys(SPECIES, 0), more: {NATT: 1}, other: {PIP: 0}})
    done = survey(folder, **BERLIN)  # type: ignore[arg-type]
    rows = cells(done.table_file, "site", "night", "species")
    assert rows["MILL", "2024-12-30", PIP]["recordings"] == "0"
    assert rows["MILL", "2025-01-02", NATT]["recordings"] == "1"
    counted = {name: rows["A", "2024-04-12", name]["recordings"] for name in (PIP, UNKNOWN_BAT)}
    assert counted == {PIP: "0", UNKNOWN_BAT: "1"} and rows["A", "2024-04-13", PIP]["recordings"] == "1"
    assert done.reviewed == folder / "reviewed.csv" and done.by_hand == 3


def test_the_newest_review_counts_and_one_that_says_nothing_changes_nothing(tmp_path: Path) -> None:
    name = "A_20240412_220000.wav"
    folder = write_predicted(tmp_path / "p", tmp_path, {name: BAT})
    write_reviewed(folder, {name: {PIP: 0, DAUB: 1}})
    (folder / "reviewed.csv").rename(folder / "reviewed-2.csv")
    write_reviewed(folder, {name: {PIP: 0, NATT: 1}})
    (one,) = read_judged(folder).recordings
    assert (one.manual, one.found) == ((DAUB,), (DAUB,))
    write_reviewed(folder, {})
    (folder / "reviewed.csv").rename(folder / "reviewed-3.csv")
    (one,) = read_judged(folder).recordings
    assert (one.manual, one.found) == (None, (PIP,))


def test_tests_for_presence_stand_beside_where_there_are_any(tmp_path: Path) -> None:
    folder = write_predicted(tmp_path / "p", tmp_path, NIGHTS)
    (folder / "presence.csv").write_text(
        f"site,night,species,likelihood_ratio,p_value,flags\nMILL,2024-12-31,{PIP},0.01,0.002,few files\n"
        f"'=MEADOW,2024-12-31,{DAUB},1,1,\n"
    )
    rows = cells(survey(folder, **BERLIN).table_file, "site", "night", "species")  # type: ignore[arg-type]
    assert (rows["MILL", "2024-12-31", PIP]["p_value"], rows["MILL", "2024-12-31", PIP]["flags"]) == (
        "0.002",
        "few files",
    )
    assert rows["'=MEADOW", "2024-12-31", DAUB]["likelihood_ratio"] == "1"
    assert rows["MILL", "2024-12-30", PIP]["p_value"] == ""


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_the_picture_is_of_the_kind_that_its_name_says(ending: str, tmp_path: Path) -> None:
    done = survey_of(tmp_path / "p", NIGHTS, picture=tmp_path / f"s{ending}")
    content = done.picture_file.read_bytes()
    assert content.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[ending])


def test_many_sites_are_drawn_together_and_many_nights_without_numbers(tmp_path: Path) -> None:
    days = [f"2024{month:02d}{day:02d}" for month in (4, 5, 6) for day in range(1, 29)]
    said = {f"S{i % 9}_{day}_220000.wav": BAT for i, day in enumerate(days)}
    done = survey_of(tmp_path / "many", said)
    with Image.open(done.picture_file) as picture:
        width, height = picture.size
    assert width <= 3000 and height < 1500


def test_a_night_that_is_no_date_and_a_picture_of_no_kind_are_one_line(tmp_path: Path) -> None:
    folder = write_predicted(tmp_path / "p", tmp_path, NIGHTS)
    with pytest.raises(RunError, match=r"ends in \.png, \.pdf or \.svg"):
        survey(folder, picture=tmp_path / "s.gif")
    table = folder / "predictions.csv"
    table.write_bytes(table.read_bytes().replace(b",2024-12-30,", b",30.12.2024,"))
    with pytest.raises(SurveyError, match=r"night '30\.12\.2024' of MILL_20241230_220000\.wav, expected a date"):
        survey(folder)


def test_a_survey_of_years_is_drawn_by_the_nights_that_were_recorded() -> None:
    """Nine years of single nights have thousands between them, in which nobody would see any."""
    first, second, third = date(2024, 4, 1), date(2024, 4, 3), date(2024, 4, 1) + timedelta(days=LONGEST_CALENDAR)
    assert list_nights([second, first, second]) == [first, date(2024, 4, 2), second]
    assert list_nights([third, first, second, third]) == [first, second, third]
    assert list_nights([]) == []
