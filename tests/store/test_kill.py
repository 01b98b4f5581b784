"""A build may be killed at any point: run again, it ends as if nothing had happened, and computes nothing twice."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pytest

from batcache.store.format.leftovers import remove_leftovers
from batcache.store.format.lock import LOCK
from batcache.store.reader import Store
from batcache.store.upkeep.prune import prune
from batcache.store.upkeep.repair import repair
from batcache.store.upkeep.verify import verify
from tests.store.cases import Case, firsts, undisturbed
from tests.store.faults import Fault
from tests.store.project import Project, assert_equal_trees, copy, let_an_hour_pass, read_all, snapshot

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has neither SIGKILL nor fork")


def test_a_first_build_that_dies_at_some_kinds_of_point_ends_as_if_undisturbed(first_build, commander):
    first_build.die_at(telling(first_build), commander)


def test_a_second_build_that_dies_at_some_kinds_of_point_ends_as_if_undisturbed(second_build, commander):
    second_build.die_at(telling(second_build), commander)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["first_build", "second_build"])
def test_a_build_that_dies_at_any_other_point_ends_as_if_undisturbed(which, commander, request):
    case = request.getfixturevalue(which)
    case.die_at(sorted({*case.deaths} - {*telling(case)}), commander)


def telling(case: Case) -> list[int]:
    """Every other one of the points that are the first of their kind, among those that leave the most behind."""
    return firsts(case.operations, ("rename", "half of write", "mkdir"))[::2]


@pytest.mark.slow
@pytest.mark.parametrize("shard", [1, 3])
def test_a_build_that_dies_while_it_clears_up_after_a_dead_one_ends_as_if_undisturbed(first_build, commander, shard):
    """Dead before the record of the long recording's first shard, and of its last; then dead again."""
    folder = first_build.begin(f"dead before {shard}")
    at = first_build.names.index(f"rename features.zarr/commits/{shard}.json") + 1
    assert first_build.run(commander, folder, Fault(at)).died
    case = undisturbed(commander, first_build.project, folder, f"undisturbed after {shard}")
    assert_equal_trees(snapshot(case.end), snapshot(first_build.end))
    assert any(operation == "rmdir" for operation, _ in case.operations)
    case.die_at([at for at in case.deaths if at < 40], commander)


@pytest.mark.parametrize("unfinished", ["instances/c/3/0/0.*.partial", "commits/3.json.*.partial"])
def test_what_a_killed_build_left_goes_though_the_next_has_other_recordings(
    first_build, commander, tmp_path, unfinished
):
    folder = first_build.begin(f"killed in 3, {unfinished.split('/')[0]}")
    cache = folder / "features.zarr"
    at = first_build.names.index(f"half of write features.zarr/{unfinished}") + 1
    assert first_build.run(commander, folder, Fault(at)).died
    assert {place.name for place in (cache / "instances" / "c").iterdir()} == {"0", "1", "2", "3"}
    assert (cache / LOCK).exists(), "nobody removed it, and the next build takes it over"
    fewer = Project(copy(first_build.project.root, tmp_path / "fewer", ["a.wav", "b.wav"]))
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


def test_a_store_that_another_process_is_making_is_left_alone_and_one_that_was_never_ended_goes(first_build, tmp_path):
    project = Project(copy(first_build.project.root, tmp_path / "project", ["a.wav"]))
    project.list("a.wav")
    made = half_made(project)
    project.build()
    assert (made / "zarr.json").exists()
    let_an_hour_pass(project.root)
    project.build()
    assert not made.exists()


@pytest.mark.parametrize(
    "act",
    [
        lambda project: project.build(),
        lambda project: prune(project.cache),
        lambda project: repair(project.cache, verify(project.cache)),
    ],
    ids=["build", "prune", "repair"],
)
def test_what_a_killed_repair_left_beside_a_shard_goes_with_the_next_change(first_build, tmp_path, act):
    project = Project(copy(first_build.project.root, tmp_path / "project", ["a.wav"]))
    project.list("a.wav")
    project.build()
    left = project.cache / "instances" / "c" / "0" / "0" / f"0.{'0123456789abcdef' * 2}.partial"
    left.write_bytes(b"half a shard")
    act(project)
    assert not left.exists()
    assert set(read_all(project.store())) == {"a.wav"}


def test_leftovers_that_vanish_while_they_are_removed_are_gone_too(first_build, tmp_path):
    """Another process, which killed builds left no less, clears up at the same time."""
    project = Project(copy(first_build.project.root, tmp_path / "project", ["a.wav"]))
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
def test_a_build_that_dies_again_and_again_ends_as_if_undisturbed(second_build, commander):
    folder = second_build.begin("again and again")
    deaths = 0
    while (outcome := second_build.run(commander, folder, Fault(20 + deaths))).died:
        deaths += 1
    assert outcome.status == 1 and deaths > 5, outcome.text
    assert_equal_trees(snapshot(folder), second_build.expected, f"after {deaths} deaths")
    shutil.rmtree(folder)


def test_the_killed_builds_are_worth_killing(first_build, second_build):
    """Several shards, one recording over three of them; then revised records, shards beside old ones, rejects."""
    store = Store(first_build.end / "features.zarr")
    row = store.find("long.wav")
    assert row.first_instance // 4 + 2 == (row.first_instance + row.instances - 1) // 4
    assert len(store.index.commits) >= 6
    after = Store(second_build.end / "features.zarr")
    revised = [commit.shard for commit in after.index.commits.values() if commit.generation]
    assert len(revised) >= 3
    assert len(after.index.commits) > len(store.index.commits) + 3
    assert after.find("long.wav").true_rate == 345_600
    for case in (first_build, second_build):
        assert (case.end / "features.zarr.rejected.csv").exists()
        assert len(case.operations) > 100
        assert {operation for operation, _ in case.operations} >= {"open", "write", "flush", "rename", "mkdir"}


@pytest.mark.parametrize("which", ["first_build", "second_build"])
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


def test_records_appear_in_order_each_after_all_shards_of_its_recordings(first_build):
    renamed = [name for operation, name in first_build.operations if operation == "rename"]
    numbers = [int(PurePosixPath(name).stem) for name in renamed if "/commits/" in name]
    assert numbers == sorted(numbers)
    store = Store(first_build.end / "features.zarr")
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


@pytest.mark.slow
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


def test_a_new_store_is_flushed_whole_before_it_takes_its_name(first_build):
    at = first_build.operations.index(("rename", "features.zarr"))
    before = first_build.operations[:at]
    held = {name for operation, name in before if operation in ("mkdir", "rename", "link")}
    held = {name for name in held if name.startswith("features.zarr.*.partial")}
    assert {"features.zarr.*.partial/zarr.json", "features.zarr.*.partial/instances/zarr.json"} <= held
    last = max(i for i, (operation, _) in enumerate(before) if operation != "flush")
    assert held <= {name for _, name in before[last + 1 :]}
    assert first_build.operations[at + 1] == ("flush", ".")
