"""Rendering into a folder that is not empty: what is there is kept, and nothing of others overwritten."""

import os
from pathlib import Path

import pytest

from batcache.errors import SynthError
from batcache.synth import create as library
from batcache.synth.create import SynthReport
from batcache.synth.ledger import EVENT_COLUMNS
from tests.synth.rendered import PIP, PLE, ROWS, Make, contents, read_events, times


def test_a_second_call_renders_nothing_and_still_counts_the_calls(
    here: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "render", lambda *row: pytest.fail("rendered again"))
    before = times(here)
    report = make()
    assert report == SynthReport(here, 4, 0, 4, sum(map(len, read_events(here).values())))
    assert report.calls > 10
    assert times(here) == before


def test_a_touched_file_of_the_same_content_is_kept(here: Path, make: Make) -> None:
    os.utime(here / "one.wav", ns=(1, 1))
    report = make()
    assert (report.written, report.kept) == (0, 4)
    assert (here / "one.wav").stat().st_mtime_ns == 1


def test_a_file_that_is_gone_is_rendered_again(here: Path, original: Path, make: Make) -> None:
    (here / "one.wav").unlink()
    assert make().written == 1
    assert (here / "one.wav").read_bytes() == (original / "one.wav").read_bytes()


def test_a_lost_events_csv_is_written_again(here: Path, original: Path, make: Make) -> None:
    (here / "events.csv").unlink()
    assert make().written == 0
    assert (here / "events.csv").read_bytes() == (original / "events.csv").read_bytes()


@pytest.mark.parametrize("note", [None, b"[1]"])
def test_without_its_note_a_folder_is_compared_and_nothing_overwritten(
    here: Path, original: Path, make: Make, note: bytes | None
) -> None:
    """A kill between events.csv and synth.json must not need --force."""
    (here / "synth.json").unlink() if note is None else (here / "synth.json").write_bytes(note)
    before = times(here)
    assert make().written == 0
    assert {path for path, time in times(here).items() if before.get(path) != time} <= {
        here / "synth.json",
        here / "events.csv",
    }
    assert (here / "events.csv").read_bytes() == (original / "events.csv").read_bytes()


@pytest.mark.parametrize("spoil", [b"RIFF no more", b""], ids=["other", "empty"])
def test_a_file_of_other_content_is_refused_and_mended_with_force(
    here: Path, original: Path, make: Make, spoil: bytes
) -> None:
    (here / "one.wav").write_bytes(spoil)
    before = contents(here)
    with pytest.raises(SynthError, match=r"one\.wav: another file is there\. Pass another --out, or --force") as error:
        make()
    assert len(str(error.value).splitlines()) == 1
    assert contents(here) == before
    assert make(force=True).written == 1
    assert (here / "one.wav").read_bytes() == (original / "one.wav").read_bytes()


def test_a_truncated_file_is_refused(here: Path, make: Make) -> None:
    with (here / "one.wav").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(SynthError, match=r"one\.wav"):
        make()
    assert (here / "one.wav").stat().st_size == 1000


def test_other_species_under_the_same_name_need_force(here: Path, make: Make) -> None:
    other = ["one.wav,train,oak-01,0,0,1"]
    with pytest.raises(SynthError, match=r"one\.wav"):
        make(other)
    assert {event["species"] for event in read_events(here)["one.wav"]} == {PIP}
    make(other, force=True)
    assert {event["species"] for event in read_events(here)["one.wav"]} == {PLE}
    assert "deep/er/two.wav" in read_events(here)


@pytest.mark.parametrize(
    "foreign",
    ["", "filename,time\na.wav,1\n", ",".join(EVENT_COLUMNS) + "\n\n", "\xff\xfe"],
    ids=["empty", "other columns", "blank row", "no text"],
)
def test_a_foreign_events_csv_is_refused_before_anything_is_written(tmp_path: Path, make: Make, foreign: str) -> None:
    place = tmp_path / "here" / "events.csv"
    place.parent.mkdir()
    place.write_bytes(foreign.encode("latin-1"))
    with pytest.raises(SynthError, match=r"events\.csv: another file is there"):
        make(ROWS[2:3])
    assert contents(place.parent) == {"events.csv": foreign.encode("latin-1")}
    make(ROWS[2:3], force=True)
    assert place.read_text() == ",".join(EVENT_COLUMNS) + "\n"


def test_a_second_manifest_in_the_same_folder_keeps_the_first_ones_events(
    here: Path, original: Path, make: Make
) -> None:
    report = make(["more.wav,train,oak-01,0,1,0"])
    assert (report.clips, report.written) == (1, 1)
    after, before = read_events(here), read_events(original)
    assert report.calls == len(after.pop("more.wav"))
    assert after == before
    assert make().written == 0
