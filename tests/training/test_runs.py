"""Folders of runs: several started at once, and folders that are none."""

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from unittest import mock

import pytest

from batcache.errors import RunError
from batcache.progress import Progress
from batcache.storage.disk import temporary_name
from batcache.training import runs
from batcache.training.inputs import find_run
from batcache.training.loop import train
from batcache.training.runs import BEST, LAST, TRAINING, held_alone, list_runs, newest_run, read_run, start_run
from tests.documents import read_document, write_document
from tests.small_world import CPU, SmallWorld, tweak

ABOUT = {
    "cache": "features.zarr",
    "csvs": ["a.csv"],
    "split_of": {"a.csv": "train"},
    "data_dir": ".",
    "species": ["Myotis"],
    "inputs": "x",
}


def test_runs_started_at_once_get_a_folder_each(small: SmallWorld, tmp_path: Path) -> None:
    together = Barrier(8)

    def start(_: int) -> Path:
        together.wait()
        return start_run(tmp_path / "runs", small.config, ABOUT)

    with ThreadPoolExecutor(8) as pool:
        started = list(pool.map(start, range(8)))
    assert len(set(started)) == 8
    assert sorted((tmp_path / "runs").iterdir()) == sorted(started), "and nothing is left over"
    assert all(read_run(run)["inputs"] == "x" for run in started)


def test_a_name_that_another_takes_in_the_last_moment_is_not_used(
    small: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed, snatched = runs._renamed, []

    def snatch(folder: Path, name: Path) -> bool:
        if not snatched:
            shutil.copytree(folder, name)
            snatched.append(name)
        return renamed(folder, name)

    monkeypatch.setattr(runs, "_renamed", snatch)
    run = start_run(tmp_path, small.config, ABOUT)
    assert run == snatched[0].with_name(f"{snatched[0].name}-2")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format_version": 1}', b'{"format_version": 99, "started": "3000"}']
)
def test_a_foreign_record_hides_no_run(small: SmallWorld, trained: Path, tmp_path: Path, content: bytes) -> None:
    shutil.copytree(trained, tmp_path / "ours")
    for name in ("a foreign", "z foreign"):
        shutil.copytree(trained, tmp_path / name)
        (tmp_path / name / "run.json").write_bytes(content)
    (tmp_path / "run.json").write_text("{}")
    assert list(list_runs(tmp_path)) == [tmp_path / "ours"]
    assert newest_run(tmp_path) == tmp_path / "ours"
    config = tweak(small.config, training={"run_dir": tmp_path})
    assert find_run(config, small.store, small.manifest) == tmp_path / "ours"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, ...) for name in (*ABOUT, "started", "finished")),
        *((name, 3) for name in (*ABOUT, "started", "finished")),
        ("csvs", [1]),
        ("csvs", "a.csv"),
        ("split_of", {"a.csv": 1}),
        ("species", {"Myotis": 1}),
        ("finished", None),
        ("patience_from", "3"),
    ],
)
def test_a_record_that_lacks_something_or_has_it_of_another_kind_is_refused(
    small: SmallWorld, tmp_path: Path, name: str, value: object
) -> None:
    run = start_run(tmp_path, small.config, ABOUT)
    about = read_document(run / "run.json") | {name: value}
    write_document(run / "run.json", {key: there for key, there in about.items() if there is not ...})
    with pytest.raises(RunError, match=rf"run\.json: not a run's record \(.*{name}.*\)\. Pass a folder"):
        read_run(run)


def test_a_record_without_end_is_refused(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("[" * 100_000)
    with pytest.raises(RunError, match="not a run's record"):
        read_run(tmp_path)


def test_a_folder_in_which_a_run_was_being_made_is_no_run_and_goes_after_an_hour(
    small: SmallWorld, trained: Path, tmp_path: Path
) -> None:
    old, new = (temporary_name(tmp_path / trained.name) for _ in range(2))
    for partial in (old, new):
        shutil.copytree(trained, partial)
    os.utime(old, (time.time() - 4000,) * 2)
    assert not list_runs(tmp_path)
    run = start_run(tmp_path, small.config, ABOUT)
    assert sorted(tmp_path.iterdir()) == sorted([new, run]), "the younger may be another's, at work"


def test_where_only_damaged_runs_are_they_are_named(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "damaged")
    (tmp_path / "damaged" / "run.json").unlink()
    with pytest.raises(RunError, match=r"no run with a best model here, but without a readable run\.json: damaged"):
        newest_run(tmp_path)


def test_a_run_in_place_of_the_folder_of_runs_is_told_as_one(trained: Path) -> None:
    with pytest.raises(RunError, match="a run, expected the folder that runs lie in") as error:
        newest_run(trained)
    assert f"--run-dir {trained.absolute().parent} " in str(error.value)


def test_a_folder_of_runs_that_cannot_be_made_is_an_error_and_leaves_nothing(small: SmallWorld, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunError, match=r"runs: cannot hold a run .*Pass another --run-dir"):
        start_run(tmp_path / "runs", small.config, ABOUT)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_run_keeps_what_it_is_told(small: SmallWorld, tmp_path: Path) -> None:
    run = start_run(tmp_path, small.config, ABOUT)
    assert json.loads((run / "run.json").read_text())["finished"] is False
    assert not (run / BEST).exists()


@pytest.mark.parametrize("raised", [RunError("x", "the loss is nan"), MemoryError(), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("stage", ["train", "epoch 1", "epoch 1, validating"])
def test_a_training_that_ends_before_its_first_epoch_is_over_leaves_no_folder(
    small: SmallWorld, tmp_path: Path, stage: str, raised: BaseException
) -> None:
    def end(progress: Progress) -> None:
        if progress.stage == stage:
            raise raised

    with pytest.raises(type(raised)):
        train(tweak(small.config, training={"run_dir": tmp_path}), small.store, small.manifest, CPU, on_progress=end)
    assert not list(tmp_path.iterdir())


def test_a_run_that_ctrl_c_meets_while_it_is_made_leaves_nothing(
    small: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "write_run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        start_run(tmp_path, small.config, ABOUT)
    assert not list(tmp_path.iterdir())


def kill_in_first_epoch(small: SmallWorld, runs: Path) -> Path:
    """A run whose process is gone: what it wrote stays, as it did not end by itself."""
    with held_alone(run := start_run(runs, small.config, ABOUT)):
        lock = run / "logs" / TRAINING
        holder = json.loads(lock.read_bytes()) | {"process": 2**22 + 1, "process_began": 1.0}
        shutil.copytree(run, killed := runs / "killed")
    (killed / "logs" / TRAINING).write_text(json.dumps(holder))
    shutil.rmtree(run)
    return killed


def test_a_run_that_was_killed_before_its_first_epoch_is_removed_by_the_next(small: SmallWorld, tmp_path: Path) -> None:
    killed = kill_in_first_epoch(small, tmp_path)
    run = start_run(tmp_path, small.config, ABOUT)
    assert list(tmp_path.iterdir()) == [run] and not killed.exists()


@pytest.mark.parametrize("kept", [LAST, BEST])
def test_a_killed_run_that_has_an_epoch_stays(small: SmallWorld, tmp_path: Path, kept: Path) -> None:
    killed = kill_in_first_epoch(small, tmp_path)
    (killed / kept).write_bytes(b"x")
    start_run(tmp_path, small.config, ABOUT)
    assert killed.exists()


def test_a_run_in_its_first_epoch_stays_while_others_start(small: SmallWorld, tmp_path: Path) -> None:
    with held_alone(run := start_run(tmp_path, small.config, ABOUT)):
        start_run(tmp_path, small.config, ABOUT)
        assert run.exists()
    start_run(tmp_path, small.config, ABOUT)
    assert run.exists(), "it was not killed"


def test_where_the_system_knows_no_locks_a_second_training_of_a_run_is_refused_too(
    small: SmallWorld, tmp_path: Path
) -> None:
    run = start_run(tmp_path, small.config, ABOUT)
    unlocked = mock.patch("batcache.storage.exclusive._lock", lambda handle, wait: None)
    with unlocked, held_alone(run), pytest.raises(RunError, match="is being trained by process"), held_alone(run):
        pass
    with unlocked, held_alone(run):
        pass
