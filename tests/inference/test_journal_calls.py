"""Measures of calls in the journal: kept where they are, and missed where an earlier batcache has judged."""

import csv
import json
from pathlib import Path

from batcache.inference.model_file import ModelFile
from batcache.inference.predict import PredictReport
from batcache.inference.recordings.journal import NAME, Header, Journal
from batcache.inference.verdicts import CALL_COLUMNS
from batcache.storage.sealed import open_json
from tests.inference.conftest import Judge


def rows_of(report: PredictReport) -> list[dict[str, str]]:
    with report.table_file.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["verdict"] != "rejected"]


def test_calls_are_measured_while_recordings_are_judged(undisturbed: PredictReport) -> None:
    """The small world's calls: tones of 45 and 50 kHz of 60 ms, and falls from 80 to 60 kHz."""
    peaks = [float(row["call_peak_khz"]) for row in rows_of(undisturbed) if row["call_peak_khz"]]
    assert len(peaks) > 15
    assert all(44 <= peak <= 82 for peak in peaks)
    assert {row["rate"] for row in rows_of(undisturbed)} == {"256000"}


def test_a_journal_of_before_is_read_and_its_recordings_have_no_measures(
    folder: Path, model: ModelFile, judged: Judge
) -> None:
    report = judged(folder)
    journal = report.folder / NAME
    first, *lines = journal.read_text().splitlines()
    kept = [open_json(line.encode()) for line in lines]
    assert any([one.pop("calls") for one in kept])  # noqa: C419 (of all of them)
    journal.write_text("\n".join([first, *map(json.dumps, kept), ""]))
    with Journal(report.folder, Header(model.digest, str(folder))) as read:
        assert len(read.scored) == len(kept)
    again = judged(folder)
    assert again.judged == 0
    assert all(row[name] == "" for row in rows_of(again) for name in CALL_COLUMNS)
    same = [name for name in report.columns if name not in CALL_COLUMNS]
    assert [str(again.columns[name]) for name in same] == [str(report.columns[name]) for name in same]


def test_the_time_has_its_offset_where_the_file_gives_one(tmp_path: Path, judged: Judge, folder: Path) -> None:
    from batcache.survey.formats.guano_copies import copy_with_guano

    copy_with_guano(folder / "late.wav", tmp_path / "one" / "a.wav", {"Timestamp": "2024-10-27T02:30:00+01:00"})
    (row,) = rows_of(judged(tmp_path / "one"))
    assert (row["time"], row["night"]) == ("2024-10-27 02:30:00+01:00", "2024-10-26")
