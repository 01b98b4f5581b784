"""Rendering a manifest into a folder: exactly its rows, the same bytes always, and an error where it cannot be."""

import json
import multiprocessing
import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE
from types import SimpleNamespace

import pytest
import soundfile

from batcache.errors import ManifestError, SynthError
from batcache.manifest.manifest import read_manifest
from batcache.progress import Progress
from batcache.synth import create as library
from batcache.synth.create import create
from batcache.synth.ledger import EVENT_COLUMNS, read_ledger
from batcache.synth.render import RATE_HZ, render
from tests.synth.rendered import FILES, MYO, PIP, PLE, ROWS, Make, contents, read_events, rendered_by, write_rows

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
        ledger.add([(name, (), "", RATE_HZ)], {name: []})
    partial = tmp_path / "synth.partial"
    partial.write_text(partial.read_text()[:-9])
    torn = read_ledger(tmp_path, force=False)
    assert torn.holds(("a.wav", (), "", RATE_HZ)) and not torn.holds(("b.wav", (), "", RATE_HZ))
    torn.add([("b.wav", (), "", RATE_HZ)], {"b.wav": []})
    mended = read_ledger(tmp_path, force=False)
    assert mended.holds(("a.wav", (), "", RATE_HZ)) and mended.holds(("b.wav", (), "", RATE_HZ))
    mended.close()
    assert read_ledger(tmp_path, force=False).holds(("b.wav", (), "", RATE_HZ)) and not partial.exists()
