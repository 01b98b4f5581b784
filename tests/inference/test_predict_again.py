"""A call that is stopped goes on, and what was judged is not judged again."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from batcache.errors import PredictError
from batcache.inference.model_file import ModelFile, open_model
from batcache.inference.predict import PredictReport, PredictStarted
from batcache.inference.recordings.journal import NAME, count_scored
from batcache.model.checkpoint import save_checkpoint
from batcache.progress import Progress
from batcache.storage.exclusive import lock_file
from batcache.storage.sealed import open_json, seal_json
from tests.conftest import noise
from tests.inference.conftest import Judge, files_of
from tests.small_world import RATE

SOUND = 25
"""Recordings of different content that can be judged."""


def test_a_call_that_is_stopped_goes_on_and_ends_as_an_undisturbed_one(
    undisturbed: PredictReport, folder: Path, judged: Judge, tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if progress.done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judged(folder, on_progress=stop)
    done = count_scored(tmp_path / "out")
    assert 5 < done < SOUND and not (tmp_path / "out/predictions.csv").exists()
    told: list[Progress] = []
    report = judged(folder, on_progress=told.append)
    assert isinstance(told[0].result, PredictStarted) and told[0].result.kept == done
    assert report.judged == SOUND - done
    assert files_of(report) == files_of(undisturbed)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_call_that_is_killed_goes_on_and_ends_as_an_undisturbed_one(
    undisturbed: PredictReport, folder: Path, trained: Path, judged: Judge, tmp_path: Path
) -> None:
    code = (
        "import os, sys, batcache\n"
        "def kill(progress):\n    if progress.done == 12: os.kill(os.getpid(), 9)\n"
        "batcache.predict(sys.argv[1], sys.argv[2], sys.argv[3], device='cpu', on_progress=kill)"
    )
    command = [sys.executable, "-c", code, str(folder), str(trained), str(tmp_path / "out")]
    killed = subprocess.run(command, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    done = count_scored(tmp_path / "out")
    report = judged(folder)
    assert 0 < done < SOUND and report.judged == SOUND - done
    assert files_of(report) == files_of(undisturbed)


@pytest.mark.parametrize("left", [b"", b'{"row":{"path":"night0', b'{"row":{}}\n', b"\0" * 100])
def test_what_a_kill_leaves_of_a_line_is_dropped_and_judged_again(
    undisturbed: PredictReport, folder: Path, judged: Judge, tmp_path: Path, left: bytes
) -> None:
    whole = judged(folder).folder / NAME
    lines = whole.read_bytes().splitlines(keepends=True)
    whole.write_bytes(b"".join(lines[:-3]) + left)
    report = judged(folder)
    assert report.judged == 3
    assert files_of(report) == files_of(undisturbed)
    assert sorted(whole.read_bytes().splitlines()) == sorted(line.rstrip(b"\n") for line in lines)


def test_a_disk_that_is_full_is_one_line_and_nothing_is_lost(
    undisturbed: PredictReport, folder: Path, judged: Judge, tmp_path: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (7000, limits[1]))
    try:
        with pytest.raises(PredictError, match=r"scored\.jsonl: .*run it again: what was judged stays"):
            judged(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    report = judged(folder)
    assert 0 < report.judged < SOUND
    assert files_of(report) == files_of(undisturbed)


def test_a_disk_that_fills_up_at_the_end_loses_no_score(
    undisturbed: PredictReport, folder: Path, judged: Judge, tmp_path: Path
) -> None:
    out = judged(folder).folder
    (out / "predictions.csv").unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        with pytest.raises(PredictError, match=r"instances\.npz: .*run it again: what was judged stays"):
            judged(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (out / "predictions.csv").exists()
    report = judged(folder)
    assert report.judged == 0 and files_of(report) == files_of(undisturbed)


def test_what_was_judged_is_on_the_disk_itself_at_the_end_and_not_at_every_line(
    folder: Path, judged: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, synced = os.fsync, []

    def note(number: int) -> None:
        synced.append(os.fstat(number).st_size)
        sync(number)

    monkeypatch.setattr(os, "fsync", note)
    whole = (judged(folder).folder / NAME).stat().st_size
    assert whole in synced and len(synced) < SOUND
    monkeypatch.setattr("batcache.inference.recordings.journal._SYNC_EVERY_S", 0.0)
    synced.clear()
    judged(folder, out="other")
    assert len(synced) >= SOUND


def test_only_what_is_new_or_changed_is_judged(folder: Path, judged: Judge) -> None:
    judged(folder)
    (folder / "night0" / "0.wav").rename(folder / "renamed.wav")
    os.utime(folder / "night1" / "0.wav", (1, 1))
    with (folder / "night1" / "1.wav").open("ab") as file:
        file.write(b"note\x04\0\0\0a tag")  # a chunk behind the samples
    assert judged(folder).judged == 0
    soundfile.write(folder / "night1" / "2.wav", noise(0.7, RATE), RATE)
    soundfile.write(folder / "new.flac", noise(0.7, RATE, seed=1), RATE)
    report = judged(folder)
    assert report.judged == 2
    names = report.predictions.filenames.tolist()
    assert {"renamed.wav", "new.flac"} <= set(names) and "night0/0.wav" not in names
    shutil.rmtree(folder / "night1")
    assert not any(name.startswith("night1/") for name in judged(folder).table()["path"])


def test_a_card_of_the_same_names_sizes_and_times_is_judged_anew(folder: Path, judged: Judge) -> None:
    """Recorders of one schedule write such files, and one reader shows their cards at one place."""
    place, scores = folder / "night0" / "0.wav", []
    for seed in (1, 2):
        soundfile.write(place, noise(0.7, RATE, seed=seed), RATE)
        os.utime(place, (1, 1))
        report = judged(folder)
        scores.append(report.predictions.scores[report.predictions.filenames.tolist().index("night0/0.wav")])
    assert report.judged == 1 and not np.array_equal(*scores)


def test_copies_are_judged_once_and_said_to_be_copies(undisturbed: PredictReport) -> None:
    table = undisturbed.table()
    (copy,), (first,) = (np.flatnonzero(table["path"] == name) for name in ("copy.wav", "night0/0.wav"))
    assert "the same audio as copy.wav" in table["notes"][first] and "same audio" not in table["notes"][copy]
    assert table["Low"][copy] == table["Low"][first]
    assert undisturbed.judged == SOUND


def test_scores_of_another_model_or_folder_are_not_mixed_in(
    model: ModelFile, folder: Path, judged: Judge, tmp_path: Path
) -> None:
    before = files_of(judged(folder))
    save_checkpoint(tmp_path / "other.pt", replace(model.checkpoint, epoch=99))
    with pytest.raises(PredictError, match="holds the scores of another model"):
        judged(folder, model=open_model(tmp_path / "other.pt"))
    with pytest.raises(PredictError, match=r"holds the scores of recordings under .*, not under"):
        judged(folder / "night0")
    moved = folder.rename(tmp_path / "moved")
    report = judged(moved)
    assert report.judged == 0 and files_of(report) == before


def test_two_processes_never_judge_into_one_folder(folder: Path, judged: Judge, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with lock_file(tmp_path / "out/.lock"), pytest.raises(PredictError, match="another process judges into it"):
        judged(folder)
    assert judged(folder).judged == SOUND


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": 2}, "version 2, this batcache reads"),
        ({"format": "notes"}, "notes, version 1"),
        ({"more": 1}, "not readable"),
    ],
)
def test_a_journal_of_another_kind_is_refused(
    folder: Path, judged: Judge, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    place = judged(folder).folder / NAME
    head, *lines = place.read_bytes().splitlines(keepends=True)
    content = seal_json(json.dumps({**open_json(head.strip()), **change}).encode()) + b"\n" + b"".join(lines)
    place.write_bytes(content)
    with pytest.raises(PredictError, match=said):
        judged(folder)
    assert place.read_bytes() == content


def test_a_folder_that_cannot_be_written_is_one_line(folder: Path, judged: Judge, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(PredictError, match=r"out: .*See to the disk"):
        judged(folder)
