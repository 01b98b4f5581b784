"""Rendering a manifest into a folder: exactly its rows, the same bytes always, and nothing of others overwritten."""

import csv
import json
import multiprocessing
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import DEVNULL, PIPE
from types import SimpleNamespace

import pytest
import soundfile

from batcache.errors import ManifestError, SynthError
from batcache.manifest.manifest import read_manifest
from batcache.progress import Progress
from batcache.synth import create as library
from batcache.synth.create import SynthReport, create, write_plan
from batcache.synth.ledger import EVENT_COLUMNS, read_ledger
from batcache.synth.render import render

PIP, MYO, PLE = "Pipistrellus pipistrellus", "Myotis myotis", "Plecotus auritus"
HEADER = f"filename,split,group,{PIP},{MYO},{PLE}"
ROWS = (
    "one.wav,train,oak-01,1,0,0",
    "deep/er/two.wav,train,oak-01,0,1,1",
    "silent.wav,val,lake-02,0,0,0",
    "unknown.wav,test,cave-03,,1,",
)
FILES = {row.split(",")[0] for row in ROWS}

Make = Callable[..., SynthReport]


def write_rows(folder: Path, rows: Sequence[str] = ROWS, header: str = HEADER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "rows.csv"


def rendered_by(manifest: Path, out: Path, *, force: bool = False) -> SynthReport:
    return create(read_manifest([manifest]), out, force=force)


def read_events(out: Path) -> dict[str, list[dict[str, str]]]:
    events: dict[str, list[dict[str, str]]] = {}
    with (out / "events.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            events.setdefault(row["filename"], []).append(row)
    return events


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows as several processes rendered them. Not to be changed."""
    out = tmp_path_factory.mktemp("synth") / "not" / "there" / "before"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "_ROWS_A_TASK", 1)
        told: list[Progress] = []
        report = create(read_manifest([write_rows(out.parents[2])]), out, on_progress=told.append)
    assert told == [Progress("synth", i, 4) for i in (1, 2, 3, 4)]
    assert report == SynthReport(out, 4, 4, 0, sum(map(len, read_events(out).values())))
    return out


@pytest.fixture
def here(original: Path, tmp_path: Path) -> Path:
    """A copy of the rendered folder, times and all."""
    return Path(shutil.copytree(original, tmp_path / "here"))


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Render rows into ``tmp_path / "here"``, or another folder, in this process: no other need start."""
    monkeypatch.setattr(library, "ProcessPoolExecutor", lambda workers, context: ThreadPoolExecutor(workers))

    def make(rows: Sequence[str] = ROWS, out: str = "here", header: str = HEADER, force: bool = False) -> SynthReport:
        return rendered_by(write_rows(tmp_path / "csv", rows, header), tmp_path / out, force=force)

    return make


# What is written


def test_the_folder_holds_the_rows_and_nothing_else(original: Path) -> None:
    assert contents(original).keys() == FILES | {"events.csv", "synth.json"}


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_is_five_seconds_of_16_bits_at_384_khz_with_a_guano_chunk(original: Path, name: str) -> None:
    about = soundfile.info(original / name)
    assert (about.samplerate, about.frames, about.channels) == (384_000, 1_920_000, 1)
    assert (about.format, about.subtype) == ("WAV", "PCM_16")
    chunks = riff_chunks((original / name).read_bytes())
    assert list(chunks) == [b"fmt ", b"data", b"guan"]
    fields = dict(line.split(": ", 1) for line in chunks[b"guan"].decode("utf-8").strip().split("\n"))
    assert next(iter(fields.items())) == ("GUANO|Version", "1.0")
    assert (fields["Samplerate"], fields["Length"], fields["Original Filename"]) == ("384000", "5.000", name)


def riff_chunks(content: bytes) -> dict[bytes, bytes]:
    assert content[:4] == b"RIFF" and content[8:12] == b"WAVE"
    assert struct.unpack("<I", content[4:8])[0] == len(content) - 8
    chunks, at = {}, 12
    while at < len(content):
        name, size = struct.unpack("<4sI", content[at : at + 8])
        chunks[name] = content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return chunks


def test_events_have_the_columns_that_were_promised_and_lie_within_the_clip(original: Path) -> None:
    assert (original / "events.csv").read_text().splitlines()[0] == ",".join(EVENT_COLUMNS)
    for event in (event for events in read_events(original).values() for event in events):
        start, end, low, high, peak = (
            float(event[name]) for name in ("start_s", "end_s", "fmin_khz", "fmax_khz", "peak_khz")
        )
        assert start < end and end > 0 and start < 5
        assert 5 < low <= peak <= high < 192
        float(event["level_db"]), float(event["snr_db"])


def test_a_species_that_is_absent_or_unknown_has_no_events(original: Path) -> None:
    heard = {name: {event["species"] for event in events} for name, events in read_events(original).items()}
    assert heard == {"one.wav": {PIP}, "deep/er/two.wav": {MYO, PLE}, "unknown.wav": {MYO}}


def test_two_folders_hold_the_same_bytes_whatever_the_order_and_the_processes(
    original: Path, make: Make, tmp_path: Path
) -> None:
    make(ROWS[::-1], "other")
    one, other = contents(original), contents(tmp_path / "other")
    assert one.pop("synth.json") and other.pop("synth.json"), "they hold modification times"
    assert one == other


def test_a_subset_renders_the_same_files_and_events(original: Path, make: Make, tmp_path: Path) -> None:
    report = make([ROWS[1]], "subset")
    assert (report.clips, report.written) == (1, 1)
    assert contents(tmp_path / "subset").keys() == {"deep/er/two.wav", "events.csv", "synth.json"}
    name = "deep/er/two.wav"
    assert (tmp_path / "subset" / name).read_bytes() == (original / name).read_bytes()
    assert read_events(tmp_path / "subset") == {name: read_events(original)[name]}


# What is there already


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


# What cannot be rendered


def test_a_species_that_is_not_simulated_is_an_error_that_names_those_that_are(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="the simulator does not know Canis lupus") as error:
        make(["one.wav,1,0"], header=f"filename,Canis lupus,{PIP}")
    assert "Barbastella barbastellus" in str(error.value) and PIP in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "here").exists()


def test_a_part_of_a_recording_is_an_error(make: Make) -> None:
    rows = ["one.wav,0,1,1", "one.wav,1,1,0"]
    with pytest.raises(ManifestError, match=r"rows\.csv line 2: a span of one\.wav, expected a whole recording"):
        make(rows, header=f"filename,start_s,duration_s,{PIP}")


def test_a_full_disk_is_an_error_before_anything_is_written(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four clips of 3.84 MB: 15.4 MB."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=12_000_000))
    with pytest.raises(SynthError, match="here: needs 15 MB, 12 MB are free"):
        make()
    assert not (tmp_path / "here").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=16_000_000))
    make(ROWS[:1])


def test_files_that_are_there_need_no_room(here: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    os.utime(here / "one.wav", ns=(1, 1))
    assert make().kept == 4


def test_a_folder_that_cannot_be_is_an_error_that_names_it(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        make(out="file/below")
    assert (tmp_path / "file").read_text() == "no folder"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root and Windows may write anywhere")
def test_a_folder_that_must_not_be_written_is_an_error_that_names_it(make: Make, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir(mode=0o500)
    with pytest.raises(PermissionError, match="here"):
        make()


def test_a_killed_process_is_an_error_and_the_next_call_goes_on(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{i}.wav,train,oak-01,0,0,0" for i in range(12)]
    manifest = write_rows(tmp_path / "csv", rows)
    monkeypatch.setattr(library, "_ROWS_A_TASK", 1)
    before = set(multiprocessing.active_children())

    def kill(progress: Progress) -> None:
        for child in set(multiprocessing.active_children()) - before:
            child.kill()

    with pytest.raises(SynthError, match="a rendering process was killed"):
        create(read_manifest([manifest]), tmp_path / "killed", on_progress=kill)
    assert not list((tmp_path / "killed").glob("*.csv"))
    report = rendered_by(manifest, tmp_path / "killed")
    assert report.written < 12 and report.written + report.kept == 12
    assert json.loads((tmp_path / "killed" / "synth.json").read_text()).keys() == {f"{i}.wav" for i in range(12)}


@pytest.mark.skipif(os.name == "nt", reason="no process groups to kill there")
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_call_goes_on_where_it_was_and_ends_as_if_it_had_never_stopped(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, blow: signal.Signals
) -> None:
    rows = [f"{i}.wav,train,oak-01,0,{i % 2},0" for i in range(8)]
    manifest = write_rows(tmp_path / "csv", rows)
    script = (
        "import sys; from pathlib import Path; from tests.synth import test_create as t\n"
        "t.library._ROWS_A_TASK = 1\n"
        "tell = lambda progress: print(progress.done, flush=True)\n"
        "t.create(t.read_manifest([Path(sys.argv[1])]), Path(sys.argv[2]), on_progress=tell)"
    )
    command = [sys.executable, "-c", script, manifest, tmp_path / "here"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=PIPE, stderr=DEVNULL, start_new_session=True) as stopped:
        assert stopped.stdout is not None
        done = [int(stopped.stdout.readline()) for _ in range(3)][-1]
        os.killpg(stopped.pid, blow)
        done += len(stopped.stdout.read().splitlines())
    again: list[str] = []
    monkeypatch.setattr(library, "render", lambda *row: again.append(row[0]) or render(*row))
    report = make(rows)
    assert done >= 3 and len(again) <= 8 - done
    assert again == [f"{i}.wav" for i in range(8 - len(again), 8)]
    assert report.calls == sum(map(len, read_events(tmp_path / "here").values()))
    make(rows, "whole")
    here, whole = contents(tmp_path / "here"), contents(tmp_path / "whole")
    assert here.pop("synth.json") and whole.pop("synth.json"), "they hold modification times"
    assert here == whole


def test_a_line_that_a_kill_tore_costs_its_file_alone(make: Make, tmp_path: Path) -> None:
    ledger = read_ledger(tmp_path, force=False)
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()
        ledger.add([(name, (), "")], {name: []})
    partial = tmp_path / "synth.partial"
    partial.write_text(partial.read_text()[:-9])
    torn = read_ledger(tmp_path, force=False)
    assert torn.holds(("a.wav", (), "")) and not torn.holds(("b.wav", (), ""))
    torn.add([("b.wav", (), "")], {"b.wav": []})
    mended = read_ledger(tmp_path, force=False)
    assert mended.holds(("a.wav", (), "")) and mended.holds(("b.wav", (), ""))
    mended.close()
    assert read_ledger(tmp_path, force=False).holds(("b.wav", (), "")) and not partial.exists()


# A manifest made up


def test_a_made_up_manifest_has_only_the_species_asked_for_and_whole_nights_in_splits(tmp_path: Path) -> None:
    manifest = read_manifest([write_plan(tmp_path, 60, [PLE, MYO], 0, force=False)])  # refuses a night in two splits
    assert manifest.csvs == (tmp_path / "manifest.csv",)
    assert set(manifest.species) == {MYO, PLE}
    assert len(manifest.clips) == 60
    assert manifest.splits.keys() == {"train", "val", "test"}
    assert manifest.splits["train"] > max(manifest.splits["val"], manifest.splits["test"])
    assert {clip.group for clip in manifest.clips if clip.filename.startswith(clip.group or "?")} == {
        clip.group for clip in manifest.clips
    }
    assert {sum(clip.labels) for clip in manifest.clips} <= {0, 1, 2}


def test_all_species_where_none_is_named(tmp_path: Path) -> None:
    assert len(read_manifest([write_plan(tmp_path, 5, [], 0, force=False)]).species) == 20


def test_the_seed_decides_the_manifest(tmp_path: Path) -> None:
    one, again, other = (
        write_plan(tmp_path / name, 30, [], seed, force=False).read_text()
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one == again != other


def test_another_made_up_manifest_needs_force(tmp_path: Path) -> None:
    place = write_plan(tmp_path, 20, [], 0, force=False)
    before = place.read_bytes()
    assert write_plan(tmp_path, 20, [], 0, force=False).read_bytes() == before
    with pytest.raises(SynthError, match=r"manifest\.csv: another manifest is there"):
        write_plan(tmp_path, 20, [], 1, force=False)
    assert place.read_bytes() == before
    assert write_plan(tmp_path, 20, [], 1, force=True).read_bytes() != before


def test_a_made_up_manifest_of_an_unknown_species_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="does not know Canis lupus"):
        write_plan(tmp_path, 20, ["Canis lupus"], 0, force=False)
    assert not list(tmp_path.iterdir())
