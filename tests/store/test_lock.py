"""One builder a store: who comes second is told of the first; who was killed is in nobody's way."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from batcache.errors import AudioError, StoreError
from batcache.manifest.manifest import read_manifest
from batcache.store.format import lock
from batcache.store.format.lock import LOCK, hold
from batcache.store.upkeep.prune import prune
from tests.store.locks import process_that_is_gone, wait_for, write_lock
from tests.store.project import CONFIG, Project, assert_equal_trees, snapshot

HERE = Path(__file__).parents[2]
BUILD_SLOWLY = """
import sys, time
from pathlib import Path
from tempfile import TemporaryDirectory
from batcache.cli import main as cli
from batcache.features import frontend
awaited, read_blocks = Path(sys.argv.pop(1)), frontend.read_blocks
def slowly(*arguments):
    while not awaited.exists():
        time.sleep(0.01)
    yield from read_blocks(*arguments)
frontend.read_blocks = slowly
cli.main()
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project")
    made.record("a.wav")
    made.list("a.wav")
    (made.root / "small.yaml").write_text(CONFIG)
    return made


def start(project: Project, awaited: str = "clips.csv") -> "subprocess.Popen[str]":
    """A build by the command line, which decodes nothing until a certain file is there."""
    words = ["build", "--csv", "clips.csv", "--config", "small.yaml", "--device", "cpu", "--cache", "features.zarr"]
    command = [sys.executable, "-c", BUILD_SLOWLY, awaited, *words]
    environment = os.environ | {"PYTHONPATH": str(HERE), "PYTHONUTF8": "1"}
    return subprocess.Popen(
        command, cwd=project.root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.slow
def test_of_two_builders_at_once_one_works_and_the_other_is_told_who_since_when_and_how_to_go_on(project):
    with start(project, awaited="go on") as first:
        try:
            wait_for((project.cache / LOCK).exists)
            with pytest.raises(StoreError) as second:
                project.build(per_shard=640)
            assert first.poll() is None, "the first is at work"
            holder, lock_place = json.loads((project.cache / LOCK).read_bytes()), project.cache / LOCK
            assert str(second.value).startswith(f"{project.cache}: ")
            for said in (f"process {first.pid} of this machine", f"since {holder['since']}", f"delete {lock_place}"):
                assert said in str(second.value)
            assert holder["host"] == socket.gethostname()
        finally:
            (project.root / "go on").touch()  # the first ends, whatever was found
        first.communicate(timeout=60)
    assert first.returncode == 0
    assert not (project.cache / LOCK).exists(), "gone after a build"
    assert project.build(per_shard=640).computed == set()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_four_builders_that_start_together_on_nothing_leave_one_whole_store(project):
    other = Project(project.root.parent / "other")
    other.record("a.wav")
    other.list("a.wav")
    other.build(per_shard=640)
    for _ in range(3):
        running = [start(project) for _ in range(4)]
        told = [process.communicate(timeout=120)[1] for process in running]
        statuses = [process.returncode for process in running]
        assert set(statuses) <= {0, 1} and 0 in statuses, told
        for status, error in zip(statuses, told, strict=True):
            assert ("is being built by process" in error) == (status == 1), error
        assert_equal_trees(snapshot(project.cache), snapshot(other.cache))
        assert not list(project.root.glob("*.partial"))
        shutil.rmtree(project.cache)


@pytest.mark.parametrize("change", ["build", "prune"])
def test_a_store_that_another_holds_is_not_changed(project, change):
    project.build(per_shard=640)
    project.record("b.wav")
    project.list("a.wav", "b.wav")
    before = snapshot(project.cache)
    with hold(project.cache), pytest.raises(StoreError, match="is being built by process"):
        project.build(per_shard=640) if change == "build" else prune(project.cache, read_manifest([project.csv]))
    assert_equal_trees(snapshot(project.cache), before)


def test_a_lock_of_another_machine_is_refused_with_the_remedy_and_stays(tmp_path):
    content = write_lock(tmp_path, host="night-2", process=4711)
    with pytest.raises(StoreError) as caught, hold(tmp_path):
        pass
    said = str(caught.value)
    assert "process 4711 on night-2 since 2026-05-01T20:15:00+00:00" in said
    assert f"if nothing builds this store any more, delete {tmp_path / LOCK}" in said
    assert (tmp_path / LOCK).read_bytes() == content


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[]", b'"text"', b'{"host": "x"}', b"\xff\xfe", b'{"host": 1, "process": "x"}']
)
def test_a_lock_that_cannot_be_read_is_refused_with_the_remedy_and_stays(tmp_path, content):
    (tmp_path / LOCK).write_bytes(content)
    with pytest.raises(StoreError, match="by a process that cannot be told") as caught, hold(tmp_path):
        pass
    assert f"delete {tmp_path / LOCK}" in str(caught.value)
    assert (tmp_path / LOCK).read_bytes() == content


def test_a_lock_of_a_process_whose_number_was_given_to_another_is_taken_over(tmp_path):
    began = json.loads(write_lock(tmp_path))["process_began"]
    write_lock(tmp_path / "stale", process_began=began - 3600)
    with hold(tmp_path / "stale"):
        assert json.loads((tmp_path / "stale" / LOCK).read_bytes())["process_began"] == began
    assert not (tmp_path / "stale" / LOCK).exists()


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells one machine's start from another's")


@linux_only
def test_a_lock_is_refused_though_the_clock_was_set_meanwhile(tmp_path, monkeypatch):
    """psutil counts from the machine's start by the clock, and so takes every process for a younger one."""
    with hold(tmp_path):
        then = psutil.Process.create_time
        monkeypatch.setattr(psutil.Process, "create_time", lambda process: then(process) + 3600)
        with pytest.raises(StoreError, match=f"process {os.getpid()} of this machine"), hold(tmp_path):
            pass


@linux_only
@pytest.mark.parametrize("other", ["machine", "processes"])
def test_a_lock_of_another_machine_or_container_of_one_name_is_refused(tmp_path, other):
    """Whose processes are not found here, or are others."""
    content = write_lock(tmp_path, process=process_that_is_gone(), **{other: "another"})
    with pytest.raises(StoreError, match=f"machine or container named {socket.gethostname()}"), hold(tmp_path):
        pass
    assert (tmp_path / LOCK).read_bytes() == content


@linux_only
def test_a_lock_held_in_a_container_is_refused_outside_and_taken_over_by_none(tmp_path):
    code = (
        "import sys; from pathlib import Path; from batcache.store.format.lock import hold; exec(sys.stdin.readline())"
    )
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    if subprocess.run([*command[:6], "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make a namespace")
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, text=True) as inside:
        assert inside.stdin
        inside.stdin.write(f"with hold(Path({str(tmp_path)!r})): sys.stdin.read()\n")
        inside.stdin.flush()
        wait_for((tmp_path / LOCK).exists)
        with pytest.raises(StoreError, match="process 1 of another machine or container"), hold(tmp_path):
            pass
        inside.stdin.close()
    assert inside.returncode == 0 and not (tmp_path / LOCK).exists()


@linux_only
def test_a_lock_from_before_the_machine_was_started_anew_is_taken_over(tmp_path):
    here = json.loads(write_lock(tmp_path, boot="another", process=os.getpid()))
    if not here["machine"] or here["processes"] != "pid:[4026531836]":
        pytest.skip("a container, which cannot tell another machine from its own")
    with hold(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()


@linux_only
def test_a_lock_of_a_process_that_proc_hides_is_refused(tmp_path, monkeypatch):
    """As it does with other users' where it is mounted with hidepid."""
    read_text = Path.read_text

    def hide(place: Path, *rest: str, **named: str) -> str:
        if place.name == "stat":
            raise FileNotFoundError(2, "No such file or directory", str(place))
        return read_text(place, *rest, **named)

    with hold(tmp_path):
        monkeypatch.setattr(Path, "read_text", hide)
        with pytest.raises(StoreError, match=f"process {os.getpid()} of this machine"):
            lock.require_idle(tmp_path)


def test_a_lock_of_a_process_that_runs_is_refused(tmp_path):
    with hold(tmp_path):
        with pytest.raises(StoreError, match=f"process {os.getpid()} of this machine"), hold(tmp_path):
            pass
        assert (tmp_path / LOCK).exists(), "the second did not take the first's lock along"


def test_a_builder_removes_no_lock_but_its_own(tmp_path):
    with hold(tmp_path):
        other = write_lock(tmp_path, host="night-2")  # a user deleted ours and began another build
    assert (tmp_path / LOCK).read_bytes() == other


RACE = """
import os, sys, time
from pathlib import Path
from tempfile import TemporaryDirectory
from batcache.errors import StoreError
from batcache.store.format import lock
store, me, rounds, two_steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "two steps"
if two_steps:
    def link(*_):
        raise OSError(95, "Operation not supported")
    os.link = link
marker = store / "holder"
for number in range(rounds):
    (store / f"ready {number} {me}").touch()
    while not (store / f"go {number}").exists():
        pass
    for _ in range(4):
        try:
            with lock.hold(store):
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                print(number, flush=True)
                time.sleep(0.001)
                os.unlink(marker)
        except StoreError as error:
            assert "being built" in str(error), error
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["link", "two steps"])
def test_of_many_that_race_for_a_stale_lock_there_are_never_two_holders(tmp_path, way):
    """Eight processes, fifty rounds; each holder makes a file that must not be there yet."""
    racers, rounds, gone = 8, 50, process_that_is_gone()
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path), str(racer), str(rounds), way],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for racer in range(racers)
    ]
    for number in range(rounds):
        wait_for(
            lambda n=number: (
                len(list(tmp_path.glob(f"ready {n} *"))) == racers  # type: ignore[misc]
                or any(process.poll() for process in running)
            )
        )
        if not (tmp_path / LOCK).exists():
            staged = tmp_path / "staged"
            write_lock(tmp_path / "stale", process=gone)
            (tmp_path / "stale" / LOCK).rename(staged)
            staged.rename(tmp_path / LOCK)
        (tmp_path / f"go {number}").touch()
    outcomes = [process.communicate(timeout=120) for process in running]
    assert not any(process.returncode for process in running), [error[-500:] for _, error in outcomes]
    held = {int(line) for out, _ in outcomes for line in out.splitlines()}
    assert held == set(range(rounds)), "in every round someone took the stale lock over"
    assert not (tmp_path / LOCK).exists() and not list(tmp_path.glob("*.partial"))


# The lock goes.


@pytest.mark.parametrize(
    "error", [StoreError("x", "y"), OSError(28, "full"), KeyboardInterrupt(), AudioError("x", "y")]
)
def test_the_lock_is_gone_after_an_error_and_after_ctrl_c(project, monkeypatch, error):
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("batcache.store.build.build._resize_for", fail)
        with pytest.raises((StoreError, KeyboardInterrupt, AudioError)):
            project.build()
    assert project.cache.exists()
    assert not (project.cache / LOCK).exists()
    project.build()
    assert not (project.cache / LOCK).exists()
