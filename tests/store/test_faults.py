"""A disk that is full, broken, small or read-only stops a build with one line, and the next build goes on.

``test_kill`` and ``test_random_kill`` hold the same law for builds that die.
"""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from batcache.cli.tables import describe
from batcache.manifest.manifest import read_manifest
from batcache.store.build.build import plan_build
from batcache.store.reader import Store
from tests.store.faulty_build import CONFIG, Commander, Injection, Outcome, Phases, commander
from tests.store.project import Project, assert_equal_trees, copy, few_a_shard, let_an_hour_pass, snapshot

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows cannot fork")

Operation = tuple[str, str]
WRITING = ("open", "write", "half of write", "flush", "rename", "link", "mkdir")


@pytest.fixture(scope="module")
def running() -> Iterator[Commander]:
    with commander() as started:
        yield started


@dataclass(frozen=True)
class Case:
    """A build of ``project`` into a copy of ``start``, or into nothing, that ends as ``end``."""

    project: Project
    start: Path | None
    end: Path
    operations: tuple[Operation, ...]

    @property
    def points(self) -> list[int]:
        """Every operation that needs room or a sound disk, counted from 1."""
        return [at for at, (operation, _) in enumerate(self.operations, 1) if operation in WRITING]

    @property
    def kinds(self) -> list[int]:
        """The points that are the first of their kind."""
        names = [re.sub(r"\d+", "N", " ".join(operation)) for operation in self.operations]
        firsts = {name: at for at, name in reversed(list(enumerate(names, 1)))}
        return sorted(at for at in firsts.values() if at in set(self.points))

    def begin(self, name: str) -> Path:
        """A new folder, as deep as all others, that holds the cache before the build."""
        folder = self.project.root / "builds" / name
        folder.mkdir(parents=True)
        return copy(self.start, folder) if self.start else folder


def undisturbed(running: Commander, project: Project, start: Path | None, name: str) -> Case:
    end = Case(project, start, Path(), ()).begin(name)
    outcome = running.build(project, end / "features.zarr", Injection(point=0))
    assert outcome.status == 1 and "1 recording rejected" in outcome.text, outcome.text
    return Case(project, start, end, tuple(outcome.passed))


@pytest.fixture(scope="module")
def first(running: Commander, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A first build: two shards of short recordings, one of three shards, one recording that is rejected."""
    project = Project(tmp_path_factory.mktemp("faults") / "project")
    for name, seconds in {"a.wav": 0.25, "long.wav": 0.93, "b.wav": 0.2, "c.wav": 0.3}.items():
        project.record(name, seconds)
    project.list("missing.wav", "a.wav", "long.wav", "b.wav", "c.wav")
    return undisturbed(running, project, None, "first")


@pytest.fixture(scope="module")
def second(running: Commander, first: Case) -> Case:
    """A second build: a new name, other audio, a new recording."""
    before = first.project.root
    project = Project(copy(before, before.with_name("later"), ["a.wav", "long.wav", "b.wav", "c.wav"]))
    (project.root / "c.wav").rename(project.root / "renamed.wav")
    project.record("a.wav", 0.25, seed=7)
    project.record("new.wav", 0.3)
    project.list("missing.wav", "a.wav", "long.wav", "b.wav", "new.wav", "renamed.wav")
    return undisturbed(running, project, first.end, "second")


def assert_reads_true(cache: Path, *truths: Path) -> None:
    """What the store holds, it holds right."""
    if not cache.exists():
        return
    stores = [Store(truth / "features.zarr") for truth in truths]
    truth = {row.key: store.read_frames(row) for store in stores for row in store.index.recordings}
    store = Store(cache)
    for row in store.index.recordings:
        np.testing.assert_array_equal(store.read_frames(row), truth[row.key])


def assert_one_line(outcome: Outcome, place: Path, said: str) -> str:
    """Exit code 1 and, on the last line, an error that names something under ``place``. Returns that line."""
    assert outcome.status == 1, f"{said}: {outcome.text}"
    assert "Traceback" not in outcome.text, f"{said}: {outcome.text}"
    *_, line = outcome.text.splitlines()
    assert line.startswith(f"error: {place}"), f"{said}: {outcome.text}"
    assert outcome.text.count("error: ") == 1, f"{said}: {outcome.text}"
    return line


def assert_goes_on(case: Case, folder: Path, said: str) -> None:
    """What a fault left reads right, and another build ends it."""
    cache = folder / "features.zarr"
    assert_reads_true(cache, case.end, *([case.start] if case.start else []))
    again = Project(case.project.root)
    again.cache = cache
    let_an_hour_pass(folder)
    again.build(workers=2)
    assert_equal_trees(snapshot(folder), snapshot(case.end), said)
    assert not [*folder.rglob("*.partial*"), *folder.rglob("building.json")], said


def fail_at(points: list[int], case: Case, running: Commander, number: int, *, stays: bool) -> None:
    """The law, at each of these points."""
    kind = errno.errorcode[number]
    for point in points:
        operation = " ".join(case.operations[point - 1])
        said = f"{kind} at operation {point} of {len(case.operations)}, {operation}"
        folder = case.begin(f"{kind} {point}")
        outcome = running.build(
            case.project, folder / "features.zarr", Injection(point=point, number=number, stays=stays)
        )
        if outcome.status == 1 and "1 recording rejected" in outcome.text.splitlines()[-1]:
            assert operation.startswith("link") and not stays, f"{said}: passed over"  # locks do without links
        else:
            line = assert_one_line(outcome, folder, said)
            assert os.strerror(number) in line, f"{said}: {line}"
        left = [place for place in folder.rglob("*.partial*") if "features.zarr.*.partial" not in operation]
        assert not left, (
            f"{said}: left {left}"
        )  # zarr's threads may write on after one failed; the next build clears up
        assert not list(folder.rglob("building.json")), f"{said}: the lock is left"
        assert_goes_on(case, folder, said)
        shutil.rmtree(folder)


@pytest.fixture
def unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda handle: None)  # for speed


def test_a_full_disk_at_any_kind_of_operation_is_one_line_and_the_next_build_goes_on(first, running, unflushed):
    fail_at(first.kinds, first, running, errno.ENOSPC, stays=True)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["first", "second"])
@pytest.mark.parametrize(
    ("number", "stays"), [(errno.ENOSPC, True), (errno.EIO, False)], ids=["full disk", "failing disk"]
)
def test_a_fault_at_every_operation_is_one_line_and_the_next_build_goes_on(
    which, running, unflushed, number, stays, request
):
    case = request.getfixturevalue(which)
    assert len(case.points) > 60
    fail_at(case.points, case, running, number, stays=stays)


# Real disks.


@contextmanager
def mounted(place: Path, options: str) -> Iterator[None]:
    """A small disk in memory."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs Linux and root")
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine does not let us mount: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


@pytest.mark.slow
def test_a_small_disk_that_fills_up_is_one_line_and_with_more_room_the_next_build_goes_on(first, running, unflushed):
    """A disk of so many pages; what is free is not asked for, as if another had filled it meanwhile."""
    folder = first.project.root / "builds" / "small disk"
    stopped = 0
    for pages in (1, 2, 3, 4, 6, 8, 10, 13, 16, 20, 24, 28, 32):
        said = f"{pages} pages"
        with mounted(folder, f"size={pages * os.sysconf('SC_PAGE_SIZE')}"):
            outcome = running.build(first.project, folder / "features.zarr", Injection(free_bytes=10**9))
            if " rejected, listed in" not in outcome.text:
                assert os.strerror(errno.ENOSPC) in assert_one_line(outcome, folder, said)
                stopped += 1
            remount(folder, "size=100m")
            assert_goes_on(first, folder, said)
    assert stopped >= 8


@pytest.mark.slow
def test_a_disk_without_room_for_another_file_is_one_line(first, running, unflushed):
    """Its bytes are there: asking for them beforehand does not help."""
    folder = first.project.root / "builds" / "few files"
    stopped = 0
    for files in range(2, 34, 3):
        said = f"{files} files"
        with mounted(folder, f"size=100m,nr_inodes={files}"):
            outcome = running.build(first.project, folder / "features.zarr")
            if " rejected, listed in" not in outcome.text:
                assert os.strerror(errno.ENOSPC) in assert_one_line(outcome, folder, said)
                stopped += 1
            remount(folder, "nr_inodes=1000")
            assert_goes_on(first, folder, said)
    assert stopped >= 8


@pytest.mark.skipif(sys.platform != "linux", reason="limits are tested on Linux")
@pytest.mark.parametrize("file_bytes", [200, 1000, 3000, 6000, 12_000])
def test_a_limit_on_the_size_of_a_file_is_one_line_and_without_it_the_next_build_goes_on(
    first, running, unflushed, file_bytes
):
    folder = first.begin(f"limit {file_bytes}")
    outcome = running.build(first.project, folder / "features.zarr", Injection(file_bytes=file_bytes))
    assert os.strerror(errno.EFBIG) in assert_one_line(outcome, folder, f"{file_bytes} bytes")
    assert_goes_on(first, folder, f"{file_bytes} bytes")


@pytest.mark.parametrize("which", ["first", "second"])
def test_a_read_only_disk_is_one_line_and_nothing_changes(which, running, request):
    case = request.getfixturevalue(which)
    folder = case.project.root / "builds" / "read-only"
    with mounted(folder, "size=100m"):
        if case.start:
            copy(case.start, folder)
        before = snapshot(folder)
        remount(folder, "ro")
        outcome = running.build(case.project, folder / "features.zarr")
        assert os.strerror(errno.EROFS) in assert_one_line(outcome, folder, which)
        assert_equal_trees(snapshot(folder), before)
        dry = running.build(case.project, folder / "features.zarr", Injection(), "--dry-run")
        assert (dry.status, "new.wav" in dry.text or which == "first") == (0, True), dry.text
        remount(folder, "rw")
        assert_goes_on(case, folder, which)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_ours_to_write_is_one_line(second, running):
    folder = second.begin("not ours")
    places = [folder, *(place for place in folder.rglob("*") if place.is_dir())]
    for place in places:
        place.chmod(0o555)
    outcome = running.build(second.project, folder / "features.zarr")
    assert_one_line(outcome, folder, "read-only folders")
    for place in places:
        place.chmod(0o755)
    assert_goes_on(second, folder, "writable again")


def test_a_build_that_has_no_room_is_refused_before_it_starts_saying_both_numbers(second, running):
    folder = second.begin("no room")
    before = snapshot(folder)
    outcome = running.build(second.project, folder / "features.zarr", Injection(free_bytes=10_000))
    line = assert_one_line(outcome, folder, "no room")
    numbers = re.search(r"([\d.]+) MB to write, ([\d.]+) MB free", line)
    assert numbers and float(numbers[1]) > float(numbers[2]) == 0.01, f"both numbers tell something: {line}"
    assert_equal_trees(snapshot(folder), before)
    assert_goes_on(second, folder, "with room")


def test_a_build_has_the_room_that_a_killed_one_left_filled(first, running):
    """All of a long recording is computed again: its leftovers go before what is free is asked for."""
    folder = first.project.root / "builds" / "filled"
    with mounted(folder, "size=200k"):
        filled = folder / "features.zarr"
        assert running.build(first.project, filled).status == 1, "but for what is rejected"
        for shard in (1, 2, 3):  # as if the last shard of the long recording had been about to count
            (filled / "commits" / f"{shard}.json").unlink()
        free = shutil.disk_usage(folder).free
        (folder / "others").write_bytes(bytes(free - 6 * os.sysconf("SC_PAGE_SIZE")))  # what records and notes take
        outcome = running.build(first.project, filled)
        assert "1 recording rejected" in outcome.text, outcome.text
        (folder / "others").unlink()
        assert_goes_on(first, folder, "filled")


def test_a_dry_run_counts_what_a_killed_build_left_as_free(first, tmp_path):
    cache = Path(shutil.copytree(first.end / "features.zarr", tmp_path / "features.zarr"))
    left = [cache / "instances" / "c" / str(shard) / "0" / "0" for shard in (1, 2, 3)]
    (cache / "commits" / "2.json").unlink()
    left += [cache / "commits" / "1.json", cache / "commits" / "3.json"]
    left.append(cache / "instances" / "zarr.json.partial")
    left[-1].write_bytes(bytes(1000))
    size, before = sum(place.stat().st_size for place in left), snapshot(tmp_path)
    with few_a_shard():
        plan = plan_build(read_manifest([first.project.csv]), cache, first.project.config, workers=1)
    assert plan.leftover_bytes == size > plan.bytes_to_write > 0
    cleaned = replace(plan, leftover_bytes=0, free_bytes=10**9)
    assert describe(replace(plan, free_bytes=10**9 - size)) == describe(cleaned)
    assert_equal_trees(snapshot(tmp_path), before)


# Ctrl-C.

SLOWLY = """
import sys, time
from batcache.cli import main as cli
from batcache.features import frontend
from tests.store.project import few_a_shard
read_blocks = frontend.read_blocks
def slowly(*arguments):
    for block in read_blocks(*arguments):
        time.sleep(0.3)
        yield block
frontend.read_blocks = slowly
with few_a_shard():
    cli.main()
"""


def assert_stopped(status: int, text: str, said: str) -> None:
    assert status == 130, f"{said}: {status}, {text}"
    assert "Traceback" not in text, f"{said}: {text}"
    assert "stopped: run the same command again to go on" in text, f"{said}: {text}"


@pytest.mark.parametrize(
    "awaited",
    [
        pytest.param("building.json", marks=pytest.mark.slow),
        pytest.param("instances/c/0", marks=pytest.mark.slow),
        "commits/0.json",
    ],
)
def test_a_command_stopped_by_ctrl_c_says_what_is_done_and_the_next_goes_on(first, unflushed, awaited):
    """The command as a user runs it, decoding slowly, stopped once a certain file is there."""
    folder = first.begin(f"stopped at {Path(awaited).name}")
    cache, config = folder / "features.zarr", first.project.root / "small.yaml"
    config.write_text(CONFIG)
    words = ["build", "--csv", str(first.project.csv), "--cache", str(cache), "--config", str(config)]
    command = [sys.executable, "-c", SLOWLY, *words, "--device", "cpu"]
    here = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(here), "PYTHONUTF8": "1"}
    with subprocess.Popen(
        command, cwd=here, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        limit = time.monotonic() + 60
        while not (cache / awaited).exists() and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=60)
    assert_stopped(process.returncode, text, awaited)
    done = len(list(Store(cache).index.recordings))
    assert f"stopped: {cache} holds {done} recording" in text
    assert not (cache / "building.json").exists()
    assert not list(folder.rglob("*.partial"))
    assert_goes_on(first, folder, awaited)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["first", "second"])
def test_a_build_stopped_by_ctrl_c_at_any_moment_goes_on(which, running, unflushed, request):
    """Thirty moments from its first step to its last, its flushes and blocks stretched by some milliseconds."""
    case = request.getfixturevalue(which)
    place = case.project.root / "phases"
    stopped = 0
    for moment in range(30):
        folder, said = case.begin(f"ctrl-c {moment}"), f"after {8 * (moment + 1)} ms"
        phases = Phases(place)
        running.begin(case.project, folder / "features.zarr", Injection(phases=str(place), pause_s=0.02, seed=moment))
        limit = time.monotonic() + 60
        while not phases.process and time.monotonic() < limit:
            time.sleep(0.0005)
        time.sleep(0.008 * (moment + 1))
        with suppress(ProcessLookupError):  # it has ended
            os.kill(phases.process, signal.SIGINT)
        outcome = running.end()
        place.unlink()
        if outcome.status != 1:  # it had not ended
            assert_stopped(outcome.status, outcome.text, said)
            assert not list(folder.rglob("building.json")), said
            stopped += 1
        else:
            assert "1 recording rejected" in outcome.text, f"{said}: {outcome.text}"
        assert_goes_on(case, folder, said)
        shutil.rmtree(folder)
    assert stopped >= 10
