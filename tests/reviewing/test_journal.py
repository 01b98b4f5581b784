"""Answers are kept as they are given, never over an older table, and are read as they were written."""

import csv
import os
import re
import shutil
from pathlib import Path

import pytest

from batcache.errors import ReviewError
from batcache.inference.calibration.reviewed import read_reviewed
from batcache.manifest.manifest import read_manifest
from batcache.reviewing.journal import Journal
from batcache.reviewing.of_predictions import read_folder
from batcache.reviewing.said import Said
from tests.reviewing.made import SPECIES, write_folder

NAMES = ["a.wav", "=1+1.wav", "-b;c,d.wav", "e.wav"]
PRESENT = Said({SPECIES[0]: 1}, False, {"random": "right"})
ABSENT = Said({SPECIES[0]: 0, SPECIES[1]: 1}, False, {"random": "other"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pred", [[0.9, 0.1, 0.1]] * 4, NAMES)


def begin(folder: Path, seed: int | None = None) -> Journal:
    return Journal(read_folder(folder), seed, str.upper)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_an_answer_is_on_the_disk_before_it_is_said_to_be_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real_sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_size), real_sync(handle))[1])
    with begin(folder) as journal:
        before = (folder / "reviewed.jsonl").stat().st_size
        synced.clear()
        journal.add(0, "random", PRESENT, "right")
        assert synced[0] == (folder / "reviewed.jsonl").stat().st_size > before
        (row,) = rows_of(folder / "reviewed.csv")
    assert (row["filename"], row[SPECIES[0]], row[SPECIES[1]], row["group"]) == ("a.wav", "1", "", "MEADOW 2024-04-12")


def test_what_was_killed_at_any_byte_goes_on_with_all_whole_answers(folder: Path, tmp_path: Path) -> None:
    tables = [b""]
    with begin(folder) as journal:
        for clip in range(3):
            journal.add(clip, "random", PRESENT, "right")
            tables.append(journal.table_file.read_bytes())
    whole = (folder / "reviewed.jsonl").read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in (ends[0], ends[1], ends[2] - 1, ends[2], ends[2] + 7, ends[3] - 1):
        copy = Path(shutil.copytree(folder, tmp_path / f"cut{cut}"))
        (copy / "reviewed.jsonl").write_bytes(whole[:cut])
        kept = sum(end <= cut for end in ends) - 1
        (copy / "reviewed.csv").write_bytes(tables[kept])  # it is replaced after each whole line
        with begin(copy) as again:
            assert again.answers == kept and (copy / "reviewed.jsonl").stat().st_size == ends[kept]
            again.add(3, "random", ABSENT, "other")
        assert len(rows_of(again.table_file)) == kept + 1 and not list(copy.glob("reviewed-2*"))


def test_a_flipped_bit_loses_no_answer_behind_it_and_changes_none(folder: Path) -> None:
    """Only what the last line said is asked again, and that is told."""
    with begin(folder) as journal:
        for clip in range(3):
            journal.add(clip, "random", PRESENT, "right")
        place, table = journal.path, journal.table.text()
    whole = place.read_bytes()
    last = whole[:-1].rindex(b"\n") + 1
    for at in range(0, len(whole), 5):
        spoilt = whole[:at] + bytes([whole[at] ^ 1 << at % 7]) + whole[at + 1 :]
        place.write_bytes(spoilt)
        if at < last:
            with pytest.raises(ReviewError, match=r"reviewed\.jsonl: .*(damaged|not readable)"):
                begin(folder)
            assert place.read_bytes() == spoilt
            continue
        with begin(folder) as again:
            assert again.answers == 2 and [again.known(clip) for clip in range(3)] == [PRESENT, PRESENT, Said()]
            assert at == len(whole) - 1 or "its end is damaged" in again.notes[0]
        assert (folder / "reviewed.csv").read_bytes() == table, "with the third answer: whose it is nobody knows"
        for left in folder.glob("reviewed-2.*"):
            left.unlink()


def test_answers_of_earlier_versions_which_have_no_digests_are_gone_on_with(folder: Path) -> None:
    with begin(folder) as journal:
        journal.add(0, "random", PRESENT, "right")
    place = folder / "reviewed.jsonl"
    place.write_bytes(re.sub(rb'"digest":"[0-9a-f]{64}",', b"", place.read_bytes()))
    with begin(folder) as journal:
        journal.add(1, "random", ABSENT, "other")
    with begin(folder) as journal:
        assert journal.answers == 2 and not journal.notes


def test_a_table_that_lags_by_the_last_answer_is_brought_up_to_date(folder: Path) -> None:
    with begin(folder) as journal:
        journal.add(0, "random", PRESENT, "right")
        before = (folder / "reviewed.csv").read_bytes()
        journal.add(1, "random", PRESENT, "right")
        after = (folder / "reviewed.csv").read_bytes()
    (folder / "reviewed.csv").write_bytes(before)  # as where the process was killed between the two
    with begin(folder):
        assert (folder / "reviewed.csv").read_bytes() == after


def test_a_table_that_is_there_already_or_was_changed_stays_as_it_is(folder: Path) -> None:
    (folder / "reviewed.csv").write_text("mine")
    with begin(folder) as journal:
        journal.add(0, "random", PRESENT, "right")
        assert journal.table_file == folder / "reviewed-2.csv"
    (folder / "reviewed-2.csv").write_text("mine too")
    with begin(folder) as journal:
        assert journal.answers == 1 and "reviewed-2.csv was changed by somebody" in journal.notes[0]
        journal.add(1, "random", PRESENT, "right")
    assert [(folder / f"reviewed{n}.csv").read_text()[:4] for n in ("", "-2")] == ["mine", "mine"]
    assert len(rows_of(folder / "reviewed-3.csv")) == 2
    with begin(folder) as journal:
        assert (journal.answers, journal.notes) == (2, []) and journal.path == folder / "reviewed-3.jsonl"


def test_answers_on_other_predictions_are_not_gone_on_with(folder: Path, tmp_path: Path) -> None:
    with begin(folder) as journal:
        journal.add(0, "random", PRESENT, "right")
    scored = folder / "scored.jsonl"
    same = scored.read_text()
    scored.write_text(same.replace("feed", "other"))
    with begin(folder) as other:
        assert other.answers == 0 and other.path.name == "reviewed-2.jsonl"
    scored.write_text(same.replace("/none", "/moved"))
    with begin(folder) as moved:
        assert moved.answers == 1, "a root that was moved holds the same recordings"


def test_an_answer_that_is_taken_back_leaves_what_was_said_before(folder: Path) -> None:
    with begin(folder) as journal:
        journal.add(0, "random", PRESENT, "right")
        journal.add(0, "doubt", ABSENT, "other")
        assert journal.undo() == 0 and journal.known(0) == PRESENT
        assert rows_of(journal.table_file)[0][SPECIES[0]] == "1"
        journal.undo()
        assert journal.undo() is None and rows_of(journal.table_file) == []
    with begin(folder) as again:
        assert again.answers == 0 and again.known(0) == Said()


def test_a_disk_that_is_full_refuses_the_answer_and_keeps_those_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with begin(folder) as journal:
        journal.add(0, "random", PRESENT, "right")
        size = journal.path.stat().st_size
        with monkeypatch.context() as full:
            full.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            with pytest.raises(OSError, match="No space left"):
                journal.add(1, "random", PRESENT, "right")
        assert journal.answers == 1 and journal.known(1) == Said() and journal.path.stat().st_size == size
        journal.add(1, "random", PRESENT, "right")
    assert len(rows_of(folder / "reviewed.csv")) == 2


def test_calibrate_and_train_read_the_same_labels_of_hostile_names(folder: Path) -> None:
    with begin(folder) as journal:
        for clip in range(4):
            journal.add(clip, "random", ABSENT if clip % 2 else PRESENT, "right")
    reviewed = read_reviewed(folder / "reviewed.csv", SPECIES)
    manifest = read_manifest([folder / "reviewed.csv"])
    assert reviewed.paths == tuple(NAMES) == tuple(clip.filename for clip in manifest.clips)
    assert reviewed.labels.tolist() == [list(clip.labels) for clip in manifest.clips] == 2 * [[1, -1, -1], [0, 1, -1]]
    assert manifest.species == SPECIES and manifest.splits == {"train": 4} and reviewed.notes == ()
    assert {clip.group for clip in manifest.clips} == {"MEADOW 2024-04-12"}


def test_a_species_that_the_model_does_not_know_is_a_column_more(folder: Path) -> None:
    with begin(folder) as journal:
        journal.add(0, "random", PRESENT, "right")
        journal.add(1, "random", Said({"Barbastella barbastellus": 1}), "other")
        assert [row["Barbastella barbastellus"] for row in rows_of(journal.table_file)] == ["", "1"]
        journal.undo()
        assert "Barbastella barbastellus" not in rows_of(journal.table_file)[0]


def test_the_seed_of_the_answers_is_kept_and_another_is_refused(folder: Path) -> None:
    with begin(folder, 7) as journal:
        assert journal.seed == 7
    with begin(folder) as journal:
        assert journal.seed == 7
    with pytest.raises(ReviewError, match=r"was begun with seed 7, not 8\. Pass --seed 7"):
        begin(folder, 8)


@pytest.mark.parametrize("damage", ["", "{}", '{"format": "batcache-reviewed", "format_version": 9, "seed": 0}'])
def test_a_damaged_journal_is_one_line(folder: Path, damage: str) -> None:
    (folder / "reviewed.jsonl").write_text(damage + "\n")
    with pytest.raises(ReviewError, match=r"reviewed\.jsonl: ") as raised:
        begin(folder)
    assert "\n" not in str(raised.value)


def test_an_answer_of_before_there_were_hashes_gets_one_with_the_next_answer(folder: Path) -> None:
    """The table is written anew with it: a table that no line knows would count as changed by somebody."""
    with Journal(read_folder(folder), None, lambda _: "") as journal:
        journal.add(0, "random", PRESENT, "right")
    with begin(folder) as journal:
        journal.add(3, "random", PRESENT, "right")
        assert journal.table_file == folder / "reviewed.csv" and not journal.notes
    assert [row["content"] for row in rows_of(folder / "reviewed.csv")] == ["A.WAV", "E.WAV"]
