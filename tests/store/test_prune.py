"""Prune gives back what no recording uses, keeps every other one bit by bit, and may be killed."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import ChangedStoreError, StoreError
from batcache.manifest.manifest import read_manifest
from batcache.store.format import index
from batcache.store.format.commit import commit_path, write_commit
from batcache.store.format.shard import shard_path
from batcache.store.reader import Store
from batcache.store.summary import summarise
from batcache.store.upkeep.prune import PruneReport, prune
from batcache.store.upkeep.verify import verify
from batcache.training.clips.bags import join
from tests.store.faults import COUNTED, Fault, Outcome
from tests.store.project import Project, assert_equal_trees, copy, flip, read_all, snapshot

LENGTHS = {
    "a.wav": 0.25,
    "b.wav": 0.08,
    "long.wav": 0.93,
    "c.wav": 0.2,
    "d.wav": 0.15,
    "e.wav": 0.3,
    "f.wav": 0.08,
    "longer.wav": 0.6,
    "g.wav": 0.2,
    "h.wav": 0.2,
}
"""Shards of four instances: 0 of a and b, 1 to 3 of the long one, 4 of c and d, 5 of e and f, 6 and 7 of the longer
one, 8 of g and h; 9 of one that fails."""
DELETED = ("a.wav", "d.wav", "longer.wav", "g.wav", "h.wav")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Not to be changed."""
    return Project(tmp_path_factory.mktemp("prune")).fill(LENGTHS)


@pytest.fixture(scope="module")
def worn(sound: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Of which recordings were deleted, one changed, one was named anew. Not to be changed."""
    project = Project(copy(sound.root, tmp_path_factory.mktemp("worn")))
    for name in DELETED:
        (project.root / name).unlink()
    project.record("e.wav", 0.2, seed=5)
    (project.root / "c.wav").rename(project.root / "c again.wav")
    kept = sorted(place.name for place in project.root.glob("*.wav"))
    project.list(*kept)
    project.build()
    return project


@pytest.fixture
def project(worn: Project, tmp_path: Path) -> Project:
    return Project(copy(worn.root, tmp_path / "project"))


def run(cache: Path, **options: object) -> PruneReport:
    return prune(cache, **options)


def assert_sound(cache: Path) -> None:
    report = verify(cache, workers=1, sample=100)
    assert not report.damages and not report.rounded


def disk_use(cache: Path) -> int:
    return sum(place.stat().st_size for place in (cache / "instances" / "c").rglob("*") if place.is_file())


def read_kept(cache: Path, names: list[str]) -> dict[str, np.ndarray]:
    store = Store(cache)
    return {name: store.read_frames(row) for name in names if (row := store.find(name))}


def names_in(project: Project) -> list[str]:
    return sorted(place.name for place in project.root.glob("*.wav"))


def assert_equal_frames(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, frames in one.items():
        np.testing.assert_array_equal(frames, other[name], err_msg=name)


def test_a_store_where_nothing_is_to_be_pruned_is_not_changed(sound, tmp_path):
    project = Project(copy(sound.root, tmp_path / "project"))
    before = snapshot(project.root)
    times = {place: place.stat().st_mtime_ns for place in project.cache.rglob("*")}
    report = run(project.cache)
    assert (report.instances_freed, report.plan.dropped, report.plan.moves, report.note) == (0, (), (), "")
    assert report.bytes_before == report.bytes_after == disk_use(project.cache)
    assert_equal_trees(snapshot(project.root), before)
    assert {place: place.stat().st_mtime_ns for place in project.cache.rglob("*")} == times


def test_where_there_is_no_store_prune_says_so(tmp_path):
    with pytest.raises(StoreError, match="no cache here"):
        prune(tmp_path / "features.zarr")


def test_prune_gives_back_the_space_and_keeps_every_kept_recording_bit_by_bit(project):
    names = [name for name in names_in(project) if name != "nan.wav"]
    before, used = read_kept(project.cache, names), disk_use(project.cache)
    assert "instances no longer used" in summarise(project.store())
    report = run(project.cache)
    assert (report.bytes_before, report.bytes_after) == (used, disk_use(project.cache))
    assert report.bytes_after < 0.7 * used
    assert set(report.plan.dropped) == {*DELETED, "c.wav"}
    store = project.store()
    assert_equal_frames(read_kept(project.cache, names), before)
    assert set(store.index.by_path) == set(names_in(project))
    assert "instances no longer used" not in summarise(store)
    assert_sound(project.cache)
    instances = sum(len(commit.crc32c) for commit in store.index.commits.values())
    assert instances == sum({row.first_instance: row.instances for row in store.index.recordings}.values())
    entries = len(list((project.cache / "instances" / "c").iterdir()))
    assert entries == len(list((project.cache / "commits").iterdir())) == len(store.index.commits)


def test_pruned_twice_is_pruned_once(project):
    run(project.cache)
    before = snapshot(project.cache)
    assert run(project.cache).instances_freed == 0
    assert_equal_trees(snapshot(project.cache), before)


def test_a_dry_run_says_the_same_and_does_nothing(project):
    before = snapshot(project.root)
    said = run(project.cache, dry_run=True)
    assert_equal_trees(snapshot(project.root), before)
    done = run(project.cache)
    assert said.plan == done.plan
    assert (said.bytes_before, said.bytes_after) == (done.bytes_before, done.bytes_after)


def test_after_prune_a_build_computes_nothing_and_labels_join_as_before(project):
    manifest = read_manifest([project.csv])
    before = [(bag.clip, bag.start, bag.stop) for bag in join(manifest, project.store()).bags]
    run(project.cache)
    joined = join(manifest, project.store())
    assert [(bag.clip, bag.start, bag.stop) for bag in joined.bags] == before
    bytes_then = snapshot(project.cache)
    assert project.build().computed == set()
    assert_equal_trees(snapshot(project.cache), bytes_then)


def test_new_recordings_take_the_room_that_prune_made(project):
    run(project.cache)
    used = {place.name for place in (project.cache / "commits").iterdir()}
    project.record("new.wav", 0.2)
    project.list(*names_in(project))
    project.build()
    new = {place.name for place in (project.cache / "commits").iterdir()} - used
    assert new == {"4.json"}
    assert_sound(project.cache)


def test_recordings_of_another_csv_stay_while_their_files_are_there(sound, tmp_path):
    """A store may be built from one CSV after another."""
    project = Project(copy(sound.root, tmp_path / "project"))
    project.list("b.wav")
    project.build()
    before = snapshot(project.cache)
    assert run(project.cache).plan.dropped == ()
    assert_equal_trees(snapshot(project.cache), before)
    report = run(project.cache, manifest=read_manifest([project.csv]))
    assert set(read_all(project.store())) == {"b.wav"}
    assert set(report.plan.dropped) == {*LENGTHS, "nan.wav", "copy of a.wav"} - {"b.wav"}
    assert_sound(project.cache)


def test_a_copys_frames_stay_when_the_other_name_is_deleted(sound, tmp_path):
    project = Project(copy(sound.root, tmp_path / "project"))
    frames = project.frames("a.wav")
    (project.root / "a.wav").unlink()
    project.list(*[name for name in names_in(project) if name != "a.wav"])
    project.build()
    report = run(project.cache)
    assert (report.plan.dropped, report.instances_freed) == (("a.wav",), 0)
    assert project.store().find("a.wav") is None
    np.testing.assert_array_equal(project.frames("copy of a.wav"), frames)


@pytest.mark.parametrize("lost", ["recordings", "csv"])
def test_without_recordings_or_csv_nothing_counts_as_deleted_and_it_is_said(project, lost):
    names = [name for name in names_in(project) if name != "nan.wav"]
    before = read_kept(project.cache, [*names, *DELETED])
    for place in project.root.glob("*.wav") if lost == "recordings" else [project.csv]:
        place.unlink()
    report = run(project.cache)
    assert "no recording is taken for deleted" in report.note
    assert report.plan.dropped == () and report.instances_freed == 3, "what a changed recording left"
    assert_equal_frames(read_kept(project.cache, [*names, *DELETED]), before)


def test_a_csv_of_other_recordings_is_refused(project, tmp_path):
    other = Project(tmp_path / "other")
    other.list("x.wav")
    before = snapshot(project.cache)
    with pytest.raises(StoreError, match="no recording that the CSV lists"):
        run(project.cache, manifest=read_manifest([other.csv]))
    assert_equal_trees(snapshot(project.cache), before)


def test_a_damaged_store_is_refused_before_anything_of_it_goes(project):
    flip(shard_path(project.cache, 5), 3 * 3204 + 8)  # of f.wav, which is to be copied
    names = [name for name in names_in(project) if name not in ("nan.wav", "f.wav")]
    before = read_kept(project.cache, names)
    with pytest.raises(StoreError, match="verify --repair"):
        run(project.cache)
    assert_equal_frames(read_kept(project.cache, names), before)
    assert commit_path(project.cache, 5).exists()


def test_what_is_not_the_stores_is_not_touched(project):
    foreign = [project.cache / "notes.txt", project.cache / "instances" / "c" / "mine", project.cache / "commits" / "x"]
    for place in foreign:
        place.write_text("mine")
    run(project.cache)
    assert all(place.read_text() == "mine" for place in foreign)


def test_two_shards_with_the_same_recording_read_as_one_and_are_pruned(project):
    """As a prune that was killed leaves them."""
    names = [name for name in names_in(project) if name != "nan.wav"]
    before = read_kept(project.cache, names)
    old = Project(copy(project.root, project.root.parent / "old"))
    report = run(project.cache)
    size, expected = disk_use(project.cache), snapshot(project.cache)
    assert len(report.plan.emptied) >= 2
    for shard in report.plan.emptied:
        source, target = (shard_path(cache, shard).parents[1] for cache in (old.cache, project.cache))
        shutil.copytree(source, target)
        shutil.copy2(commit_path(old.cache, shard), project.cache / "commits")
    assert_equal_frames(read_kept(project.cache, names), before)
    assert all(len(rows) == 1 for rows in project.store().index.by_path.values())
    assert project.build().computed == set()
    run(project.cache)
    assert_equal_frames(read_kept(project.cache, names), before)
    assert_sound(project.cache)
    assert disk_use(project.cache) == size
    assert_equal_trees(snapshot(project.cache), expected)


@pytest.mark.parametrize("at", ["first", "last"])
def test_a_shard_that_is_in_use_is_named_and_the_store_stays_right_until_it_is_pruned_again(project, monkeypatch, at):
    """Windows removes no file that another process has open."""
    names = [name for name in names_in(project) if name != "nan.wav"]
    truth = read_kept(project.cache, names)
    plan = run(project.cache, dry_run=True).plan
    busy, unlink = shard_path(project.cache, plan.dead[0] if at == "first" else plan.emptied[-1]), os.unlink

    def refuse(path: Path | str, **named: int) -> None:
        if Path(path) == busy:
            raise PermissionError(13, "being used by another process", str(path))
        unlink(path, **named)

    with monkeypatch.context() as patch:
        patch.setattr("os.unlink", refuse)
        patch.setattr("shutil._use_fd_functions", False)  # as on Windows, which removes by whole names
        for _ in range(2):
            with pytest.raises(StoreError, match="used by another process") as caught:
                run(project.cache)
            assert str(busy) in str(caught.value) and "prune again" in str(caught.value)
            assert_equal_frames(read_kept(project.cache, names), truth)
    run(project.cache)
    assert_equal_frames(read_kept(project.cache, names), truth)
    assert_sound(project.cache)


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither SIGKILL nor fork")
@pytest.mark.parametrize("others", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_prune_that_dies_at_any_point_leaves_right_numbers_and_ends_when_run_again(
    project, others, commander, monkeypatch
):
    """Before every thirteenth operation on the disk; then before all others."""
    names = [name for name in names_in(project) if name != "nan.wav"]
    truth = read_kept(project.cache, names)
    folder = project.root.parent

    def begin(name: str) -> Project:
        return Project(copy(project.root, folder / name))

    def prune_by_command(of: Project, fault: Fault) -> Outcome:
        return commander.run(of.root, ["prune", str(of.cache)], fault)

    whole = begin("whole")
    outcome = prune_by_command(whole, COUNTED)
    assert outcome.status == 0, outcome.text
    operations = outcome.operations
    assert len(operations) > 40 and {"rename", "remove", "rmdir"} <= {done for done, _ in operations}
    expected = snapshot(whole.cache)
    monkeypatch.setattr("os.fsync", lambda handle: None)
    for at in range(1, len(operations) + 1):
        if (at % 13 == 1) == others:
            continue
        said = f"dead before operation {at}, {operations[at - 1]}"
        again = begin("again")
        assert prune_by_command(again, Fault(at)).died, said
        assert_equal_frames(read_kept(again.cache, names), truth)
        built = Project(copy(again.root, folder / "built"))
        assert built.build().computed == set(), said
        assert_equal_frames(read_kept(built.cache, names), truth)
        run(again.cache)
        assert_equal_trees(snapshot(again.cache), expected, said)
        run(built.cache)
        assert_sound(built.cache)
        shutil.rmtree(again.root)
        shutil.rmtree(built.root)


# A reader that was open before.


def test_who_had_the_store_open_is_told_that_it_was_pruned_and_not_that_it_is_damaged(project):
    names = [name for name in names_in(project) if name != "nan.wav"]
    truth, store, said = read_kept(project.cache, names), project.store(), []
    run(project.cache)
    for name in names:
        try:
            np.testing.assert_array_equal(store.read_frames(store.find(name)), truth[name], err_msg=name)
        except ChangedStoreError as error:
            said.append(str(error))
    assert said and all("pruned or repaired since it was opened" in line and "--resume" in line for line in said)
    assert not any("verify" in line for line in said)
    assert_equal_frames(read_kept(project.cache, names), truth)


def test_who_had_the_store_open_never_takes_a_new_shard_for_the_old_one_of_its_number(project):
    store = project.store()
    run(project.cache)
    project.record("new.wav", 0.2)
    project.list(*names_in(project))
    project.build()
    assert commit_path(project.cache, 4).exists(), "the new recording's, where c.wav and d.wav were"
    with pytest.raises(ChangedStoreError, match="since it was opened"):
        store.read_instances(4 * 4, 1)


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no mapped file")
def test_shards_that_were_read_before_stay_readable(project):
    names = [name for name in names_in(project) if name != "nan.wav"]
    store = project.store()
    truth = {name: store.read_frames(store.find(name)) for name in names}
    assert run(project.cache).plan.emptied
    assert_equal_frames({name: store.read_frames(store.find(name)) for name in names}, truth)


def test_damage_beside_a_record_whose_rows_alone_were_revised_is_still_damage(project):
    store = project.store()
    commit = store.index.commits[4]
    write_commit(project.cache, replace(commit, generation=commit.generation + 1, recordings=()))
    flip(shard_path(project.cache, 4), 8)
    with pytest.raises(StoreError, match="verify --repair") as caught:
        store.read_instances(4 * 4, 1)
    assert not isinstance(caught.value, ChangedStoreError)


@pytest.mark.parametrize("after", ["records were listed", "records were read"])
def test_a_store_that_is_opened_while_it_is_pruned_has_every_recording(project, monkeypatch, after):
    names = [name for name in names_in(project) if name != "nan.wav"]
    truth = read_kept(project.cache, names)
    where, what = {
        "records were listed": ("batcache.store.format.index.read_files", index.read_files),
        "records were read": ("batcache.store.reader.read_index", index.read_index),
    }[after]
    pruned: list[PruneReport] = []

    def prune_meanwhile(*arguments: object) -> object:
        monkeypatch.undo()  # the prune itself opens the store
        found = what(*arguments) if after == "records were read" else None
        pruned.append(run(project.cache))
        return found or what(*arguments)

    monkeypatch.setattr(where, prune_meanwhile)
    store = Store(project.cache)
    assert pruned[0].plan.emptied and pruned[0].plan.dead
    assert_equal_frames({name: store.read_frames(store.find(name)) for name in names}, truth)
