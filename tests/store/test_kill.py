"""A build may be killed at any point: run again, it ends as if nothing had happened, and computes nothing twice."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from batcache.errors import StoreError
from batcache.features.frontend import FrontEnd
from batcache.store.format.commit import CachedRecording
from batcache.store.format.leftovers import remove_leftovers
from batcache.store.reader import Store
from tests.store.killing import ACTIONS, Builder, builder
from tests.store.project import Project, add_guano, assert_equal_trees, copy, let_an_hour_pass, read_all, snapshot

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has neither SIGKILL nor fork")

Operation = tuple[str, str]


@pytest.fixture(scope="module")
def killer() -> Iterator[Builder]:
    with builder() as running:
        yield running


@dataclass(frozen=True)
class Case:
    """A build to be killed: of ``project``, into a copy of ``start`` (or into nothing), ending as ``end``."""

    project: Project
    start: Path | None
    end: Path
    operations: tuple[Operation, ...]

    @property
    def names(self) -> list[str]:
        return [f"{operation} {name}" for operation, name in self.operations]

    @property
    def kinds(self) -> list[int]:
        """The points, counted from 1, that are the first of their kind, among those that leave the most behind."""
        kinds = [re.sub(r"\d+", "N", name) for name in self.names]
        telling = [kind for kind in dict.fromkeys(kinds) if kind.startswith(("rename", "half of write", "mkdir"))]
        return [kinds.index(kind) + 1 for kind in telling]

    def begin(self, name: str) -> Path:
        """A new folder, as deep as all others, that holds the cache before the build."""
        folder = self.project.root / "builds" / name
        folder.mkdir(parents=True)
        return copy(self.start, folder) if self.start else folder


def undisturbed(killer: Builder, project: Project, start: Path | None, name: str = "undisturbed") -> Case:
    end = Case(project, start, Path(), ()).begin(name)
    status, operations = killer.build(project.root, end / "features.zarr", None)
    assert status == 0
    return Case(project, start, end, tuple(operations))


@pytest.fixture(scope="module")
def first(killer: Builder, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A first build: short recordings, a long one of three shards, a copy, one that fails, two that are rejected."""
    project = Project(tmp_path_factory.mktemp("kill") / "before")
    lengths = {"a.wav": 0.25, "b.wav": 0.08, "long.wav": 0.93, "c.wav": 0.2, "d.wav": 0.15, "e.wav": 0.3}
    for name, seconds in lengths.items():
        project.record(name, seconds)
    project.record("nan.wav", samples=[0.1] * 20_000 + [np.nan] * 1000)
    (project.root / "copy of a.wav").write_bytes((project.root / "a.wav").read_bytes())
    (project.root / "text.wav").write_text("no recording")
    project.list("missing.wav", *lengths, "nan.wav", "copy of a.wav", "text.wav")
    return undisturbed(killer, project, None)


@pytest.fixture(scope="module")
def second(killer: Builder, first: Case) -> Case:
    """A second build: a tag, a new name, swapped names, other audio, another rate, repairs, and new recordings."""
    before = first.project.root
    names = [place.name for place in before.iterdir() if place.suffix in (".wav", ".csv")]
    project = Project(copy(before, before.with_name("after"), names))
    root = project.root
    add_guano(root / "c.wav")
    (root / "d.wav").rename(root / "renamed.wav")
    (root / "b.wav").rename(root / "x")
    (root / "e.wav").rename(root / "b.wav")
    (root / "x").rename(root / "e.wav")
    project.record("a.wav", 0.25, seed=5)
    project.record("nan.wav", 0.1)
    project.record("text.wav", 0.1)
    project.record("longer.wav", 0.6)
    project.record("new.wav", 0.2)
    wavs = ["new.wav", *(name for name in names if name not in ("d.wav", "clips.csv")), "renamed.wav", "longer.wav"]
    project.list("missing.wav", *sorted(wavs), time_expansion={"long.wav": 0.9})
    return undisturbed(killer, project, first.end)


def rows_by_path(folder: Path) -> dict[str, CachedRecording]:
    return {path: rows[-1] for path, rows in Store(folder / "features.zarr").index.by_path.items()}


def read_by_key(*folders: Path) -> dict[tuple[str, int], np.ndarray]:
    """The frames of every recording of undisturbed builds, by content and true rate."""
    stores = [Store(folder / "features.zarr") for folder in folders]
    return {row.key: store.read_frames(row) for store in stores for row in store.index.recordings if not row.failure}


def assert_reads_true_or_not_at_all(
    cache: Path, paths: Iterable[str], truth: dict[tuple[str, int], np.ndarray]
) -> None:
    if not cache.exists():
        return
    store = Store(cache)
    for path in paths:
        try:
            row = store.find(path)
        except StoreError as error:
            assert "a build was stopped while it replaced" in str(error)
            continue
        if row is not None:
            np.testing.assert_array_equal(store.read_frames(row), truth[row.key])


def kill_at(points: Iterable[int], case: Case, killer: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The law, at each of these points."""
    truth = read_by_key(*[case.end, *([case.start] if case.start else [])])
    expected, final = snapshot(case.end), rows_by_path(case.end)
    begun = rows_by_path(case.start) if case.start else {}
    fresh = {path for path, row in final.items() if row.key not in {old.key for old in begun.values()}}
    computed: list[str] = []
    stream = FrontEnd.stream

    def stream_seen(self, path, *rest):
        computed.append(path.relative_to(case.project.root).as_posix())
        return stream(self, path, *rest)

    monkeypatch.setattr(FrontEnd, "stream", stream_seen)
    monkeypatch.setattr("os.fsync", lambda handle: None)  # for speed; a kill leaves what was written
    for point in points:
        said = f"killed before operation {point} of {len(case.names)}, {case.names[point - 1]}"
        folder = case.begin(str(point))
        cache = folder / "features.zarr"
        status, _ = killer.build(case.project.root, cache, point)
        assert status == -signal.SIGKILL, said

        assert_reads_true_or_not_at_all(cache, final, truth)
        committed = {row.key for row in Store(cache).index.recordings} if cache.exists() else set()
        again = Project(case.project.root)
        again.cache = cache
        computed.clear()
        let_an_hour_pass(folder)
        again.build()
        assert len(computed) == len({final[path].key for path in computed}), f"{said}: {computed}"
        keys_left = {final[path].key for path in fresh} - committed
        assert {final[path].key for path in computed} == keys_left, f"{said}: computed {computed}"
        assert_equal_trees(snapshot(folder), expected, said)
        shutil.rmtree(folder)


def test_a_first_build_killed_at_any_kind_of_point_ends_as_if_undisturbed(first, killer, monkeypatch):
    kill_at(first.kinds, first, killer, monkeypatch)


def test_a_second_build_killed_at_any_kind_of_point_ends_as_if_undisturbed(second, killer, monkeypatch):
    kill_at(second.kinds, second, killer, monkeypatch)


@pytest.mark.slow
def test_a_first_build_killed_at_every_point_ends_as_if_undisturbed(first, killer, monkeypatch):
    kill_at(range(1, len(first.names) + 1), first, killer, monkeypatch)


@pytest.mark.slow
def test_a_second_build_killed_at_every_point_ends_as_if_undisturbed(second, killer, monkeypatch):
    kill_at(range(1, len(second.names) + 1), second, killer, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("shard", [1, 3])
def test_a_build_killed_while_it_clears_up_after_a_killed_one_ends_as_if_undisturbed(first, killer, monkeypatch, shard):
    """Killed before the record of the long recording's first shard, and of its last; then killed again."""
    folder = first.begin(f"killed before {shard}")
    point = first.names.index(f"rename features.zarr/commits/{shard}.json") + 1
    assert killer.build(first.project.root, folder / "features.zarr", point)[0] == -signal.SIGKILL
    case = undisturbed(killer, first.project, folder, f"undisturbed after {shard}")
    assert_equal_trees(snapshot(case.end), snapshot(first.end))
    assert any(operation == "rmdir" for operation, _ in case.operations)
    kill_at(range(1, 40), case, killer, monkeypatch)


@pytest.mark.parametrize("unfinished", ["instances/c/3/0/0.*.partial", "commits/3.json.*.partial"])
def test_what_a_killed_build_left_goes_though_the_next_has_other_recordings(first, killer, tmp_path, unfinished):
    folder = first.begin("killed in 3")
    cache = folder / "features.zarr"
    point = first.names.index(f"half of write features.zarr/{unfinished}") + 1
    assert killer.build(first.project.root, cache, point)[0] == -signal.SIGKILL
    assert {place.name for place in (cache / "instances" / "c").iterdir()} == {"0", "1", "2", "3"}
    fewer = Project(copy(first.project.root, tmp_path / "fewer", ["a.wav", "b.wav"]))
    fewer.cache = cache
    fewer.list("a.wav", "b.wav")
    assert fewer.build().computed == set()
    assert {place.name for place in (cache / "instances" / "c").iterdir()} == {"0"}
    assert {place.name for place in (cache / "commits").iterdir()} == {"0.json"}
    assert not list(folder.rglob("*.partial"))
    shutil.rmtree(folder)


def half_made(project: Project) -> Path:
    """A store that someone makes, or made until he was killed."""
    place = project.cache.with_name(f"{project.cache.name}.{'0123456789abcdef' * 2}.partial")
    (place / "instances").mkdir(parents=True)
    (place / "zarr.json").write_text("{}")
    return place


def test_a_store_that_another_process_is_making_is_left_alone_and_one_that_was_never_ended_goes(first, tmp_path):
    project = Project(copy(first.project.root, tmp_path / "project", ["a.wav"]))
    project.list("a.wav")
    made = half_made(project)
    project.build()
    assert (made / "zarr.json").exists()
    let_an_hour_pass(project.root)
    project.build()
    assert not made.exists()


@pytest.mark.parametrize("action", ["build", "prune", "repair"])
def test_what_a_killed_repair_left_beside_a_shard_goes_with_the_next_change(first, tmp_path, action):
    project = Project(copy(first.project.root, tmp_path / "project", ["a.wav"]))
    project.list("a.wav")
    project.build()
    left = project.cache / "instances" / "c" / "0" / "0" / f"0.{'0123456789abcdef' * 2}.partial"
    left.write_bytes(b"half a shard")
    ACTIONS[action](project)
    assert not left.exists()
    assert set(read_all(project.store())) == {"a.wav"}


def test_leftovers_that_vanish_while_they_are_removed_are_gone_too(first, tmp_path):
    """Another process, which killed builds left no less, clears up at the same time."""
    project = Project(copy(first.project.root, tmp_path / "project", ["a.wav"]))
    project.list("a.wav")
    project.build()
    index, done = project.store().index, threading.Event()

    def clear_up() -> None:
        while not done.is_set():
            with suppress(OSError):
                made = half_made(project)
                let_an_hour_pass(project.root)
                (project.cache / "building.json.1.partial").touch()
                (project.cache / "building.json.1.partial").unlink()
                shutil.rmtree(made)

    other = threading.Thread(target=clear_up)
    other.start()
    try:
        for _ in range(2000):
            remove_leftovers(project.cache, index)
    finally:
        done.set()
        other.join()


@pytest.mark.slow
def test_a_build_killed_again_and_again_ends_as_if_undisturbed(second, killer):
    folder = second.begin("again and again")
    kills = 0
    while (status := killer.build(second.project.root, folder / "features.zarr", 20 + kills)[0]) != 0:
        assert status == -signal.SIGKILL
        kills += 1
    assert kills > 5
    assert_equal_trees(snapshot(folder), snapshot(second.end), f"after {kills} kills")
    shutil.rmtree(folder)


def test_the_killed_builds_are_worth_killing(first, second):
    """Several shards, one recording over three of them; then revised records, shards beside old ones, rejects."""
    store = Store(first.end / "features.zarr")
    row = store.find("long.wav")
    assert row.first_instance // 4 + 2 == (row.first_instance + row.instances - 1) // 4
    assert len(store.index.commits) >= 6
    after = Store(second.end / "features.zarr")
    revised = [commit.shard for commit in after.index.commits.values() if commit.generation]
    assert len(revised) >= 3
    assert len(after.index.commits) > len(store.index.commits) + 3
    assert after.find("long.wav").true_rate == 345_600
    for case in (first, second):
        assert (case.end / "features.zarr.rejected.csv").exists()
        assert len(case.operations) > 100
        assert {operation for operation, _ in case.operations} >= {"open", "write", "flush", "rename", "mkdir"}


@pytest.mark.parametrize("which", ["first", "second"])
def test_a_file_is_flushed_before_it_takes_its_name_and_its_folder_before_the_next(which, request):
    """What a kill cannot show, a power cut would: the order in which things reach the disk."""
    operations = request.getfixturevalue(which).operations
    made, renamed = [], 0
    for at, (operation, name) in enumerate(operations):
        if operation == "mkdir" and "zarr.*.partial" not in name:
            made.append(name)
        if operation != "rename" or name == "features.zarr" or "zarr.*.partial" in name:
            continue
        renamed += 1
        partial = f"{name}.*.partial"
        assert operations[at - 1] == ("flush", partial), name
        later = [done for done, _ in operations[at + 1 :]]
        flushed = operations[at + 1 : at + 1 + next(i for i, done in enumerate([*later, "end"]) if done != "flush")]
        folders = {str(PurePosixPath(name).parent), *(str(PurePosixPath(new).parent) for new in made)}
        assert folders <= {folder for _, folder in flushed}, f"{name}: {folders} but flushed {flushed}"
        made.clear()
    assert renamed > 10


def test_records_appear_in_order_each_after_all_shards_of_its_recordings(first):
    renamed = [name for operation, name in first.operations if operation == "rename"]
    numbers = [int(PurePosixPath(name).stem) for name in renamed if "/commits/" in name]
    assert numbers == sorted(numbers)
    store = Store(first.end / "features.zarr")
    for row in store.index.recordings:
        for shard in range(row.first_instance // 4, (row.first_instance + row.instances - 1) // 4 + 1):
            content = renamed.index(f"features.zarr/instances/c/{shard}/0/0")
            assert content < min(
                renamed.index(f"features.zarr/commits/{k}.json") for k in range(shard, numbers[-1] + 1)
            )


SECOND_SHARD_FIRST = """
import os, re, signal, sys, time
from pathlib import Path
from tests.store.project import Project
fsync = os.fsync
project = Project(Path(sys.argv[1]))
def slow_but_for_the_second(handle):
    if re.search(r"c/[02]/0/0\\.\\w{32}\\.partial$", os.readlink(f"/proc/self/fd/{handle}")):
        limit = time.monotonic() + 60
        while not (project.cache / "instances/c/1/0/0").exists() and time.monotonic() < limit:
            time.sleep(0.01)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)
os.fsync = slow_but_for_the_second
project.build(workers=4)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux which file is flushed")
def test_a_build_killed_while_only_a_later_shard_is_written_ends_as_if_undisturbed(tmp_path):
    """Else what is small would fill the gap in the first shard: ``small.wav`` beside ``a.wav``."""
    project = Project(tmp_path / "killed")
    for name, seconds in {"a.wav": 0.25, "b.wav": 0.2, "c.wav": 0.15, "small.wav": 0.05}.items():
        project.record(name, seconds)
    project.list("a.wav", "b.wav", "c.wav", "small.wav")
    undisturbed = Project(copy(project.root, tmp_path / "undisturbed"))
    undisturbed.build()
    here = Path(__file__).parents[2]
    code = [sys.executable, "-c", SECOND_SHARD_FIRST, str(project.root)]
    assert subprocess.run(code, cwd=here, check=False).returncode == -signal.SIGKILL
    assert (project.cache / "instances" / "c" / "1" / "0" / "0").exists()
    project.build()
    assert_equal_trees(snapshot(project.root), snapshot(undisturbed.root))


def test_a_new_store_is_flushed_whole_before_it_takes_its_name(first):
    at = first.operations.index(("rename", "features.zarr"))
    before = first.operations[:at]
    held = {name for operation, name in before if operation in ("mkdir", "rename", "link")}
    held = {name for name in held if name.startswith("features.zarr.*.partial")}
    assert {"features.zarr.*.partial/zarr.json", "features.zarr.*.partial/instances/zarr.json"} <= held
    last = max(i for i, (operation, _) in enumerate(before) if operation != "flush")
    assert held <= {name for _, name in before[last + 1 :]}
    assert first.operations[at + 1] == ("flush", ".")
