"""What a disk does not list is an error and deletes nothing; nor are shards deleted for want of every record."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from batcache.errors import BatcacheError, StoreError
from batcache.manifest.manifest import read_manifest
from batcache.store.build.build import plan_build
from batcache.store.format.commit import commit_path
from batcache.store.format.records import COMMITTED, note_committed
from batcache.store.hdf5.export import export
from batcache.store.hdf5.restore import restore
from batcache.store.reader import Store
from batcache.store.upkeep.prune import prune
from batcache.store.upkeep.repair import repair
from batcache.store.upkeep.verify import verify
from tests.store.project import Project, assert_equal_trees, copy, read_all, shards, snapshot

LENGTHS = {"a.wav": 0.35, "b.wav": 0.4, "c.wav": 0.2}
REFUSALS = (errno.EACCES, errno.EMFILE, errno.EIO, errno.ESTALE)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Not to be changed."""
    return Project(tmp_path_factory.mktemp("unlisted")).fill(LENGTHS)


@pytest.fixture
def project(sound: Project, tmp_path: Path) -> Project:
    return Project(copy(sound.root, tmp_path / "project"))


@contextmanager
def unlistable(folder: Path, number: int) -> Iterator[None]:
    """The disk refuses to list a folder."""
    scandir = os.scandir

    def refuse(path: Any = ".") -> Any:
        if os.fspath(path) == os.fspath(folder):
            raise OSError(number, os.strerror(number), os.fspath(path))
        return scandir(path)

    with mock.patch("os.scandir", refuse):
        yield


def rebuild(project: Project) -> None:
    project.build()


def see(project: Project) -> None:
    plan_build(read_manifest([project.csv]), project.cache, project.config, 1)


def mend(project: Project) -> None:
    repair(project.cache, verify(project.cache), workers=1)


USES: list[Callable[[Project], object]] = [
    rebuild,
    see,
    mend,
    lambda project: prune(project.cache),
    lambda project: Store(project.cache),
]


@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.get)
@pytest.mark.parametrize("use", USES)
def test_commit_records_that_cannot_be_listed_are_an_error_and_nothing_goes(
    project: Project, use: Callable[[Project], object], number: int
) -> None:
    before = snapshot(project.root)
    with unlistable(project.cache / "commits", number), pytest.raises(BatcacheError, match=os.strerror(number)):
        use(project)
    assert_equal_trees(before, snapshot(project.root))


@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.get)
def test_shards_that_cannot_be_listed_are_an_error_where_leftovers_are_removed(project: Project, number: int) -> None:
    before = snapshot(project.cache)
    with unlistable(project.cache / "instances" / "c", number), pytest.raises(StoreError, match="cannot be listed"):
        project.build()
    assert_equal_trees(before, snapshot(project.cache))


def lose_folder(cache: Path) -> None:
    shutil.rmtree(cache / "commits")


def lose_files(cache: Path) -> None:
    for record in (cache / "commits").iterdir():
        record.unlink()


def lose_all_but_metadata_of_macos(cache: Path) -> None:
    lose_files(cache)
    (cache / "commits" / "._0.json").write_bytes(b"\0\5\x16\7")


@pytest.mark.parametrize("lose", [lose_folder, lose_files, lose_all_but_metadata_of_macos])
@pytest.mark.parametrize("use", [use for use in USES if use is not mend])
def test_shards_without_any_record_are_refused_and_stay(
    project: Project, use: Callable[[Project], object], lose: Callable[[Path], None]
) -> None:
    lose(project.cache)
    before = shards(project.cache)
    with pytest.raises(StoreError, match="no commit record"):
        use(project)
    assert_equal_trees(before, shards(project.cache))


def test_a_repair_leaves_shards_whose_records_are_all_lost(project: Project) -> None:
    lose_files(project.cache)
    before = shards(project.cache)
    report = repair(project.cache, verify(project.cache), workers=1)
    assert report.impossible and report.left
    assert_equal_trees(before, shards(project.cache))


def test_records_that_come_back_make_the_store_what_it_was(project: Project) -> None:
    frames = read_all(project.store())
    aside = project.cache.with_name("commits")
    (project.cache / "commits").rename(aside)
    with pytest.raises(StoreError):
        project.build()
    aside.rename(project.cache / "commits")
    project.build()
    assert {name: there.tobytes() for name, there in read_all(project.store()).items()} == {
        name: there.tobytes() for name, there in frames.items()
    }


def test_a_store_of_an_earlier_version_is_known_by_its_last_build(project: Project) -> None:
    (project.cache / COMMITTED).unlink()
    lose_files(project.cache)
    with pytest.raises(StoreError, match="no commit record"):
        project.build()


def test_a_build_that_was_killed_right_behind_its_first_record_leaves_no_store_that_may_be_taken_for_empty(
    project: Project,
) -> None:
    """What tells of records is written behind the first of them; the next build, which has nothing to do, makes up."""
    note_committed(project.cache, has_records=False)
    project.build()
    lose_files(project.cache)
    before = shards(project.cache)
    with pytest.raises(StoreError, match="no commit record"):
        project.build()
    assert_equal_trees(before, shards(project.cache))


def test_shards_of_a_first_build_that_was_killed_are_built_anew(sound: Project, tmp_path: Path) -> None:
    """No record of theirs was ever there: the store says so."""
    project = Project(copy(sound.root, tmp_path / "project", [*LENGTHS, "nan.wav", "copy of a.wav", "clips.csv"]))
    killed = mock.patch("batcache.store.build.build.write_commit", side_effect=KeyboardInterrupt)
    with killed, pytest.raises(KeyboardInterrupt):
        project.build()
    assert shards(project.cache)
    project.build()
    assert_equal_trees(snapshot(sound.cache), snapshot(project.cache))


def test_a_first_build_that_rejected_all_and_a_killed_one_after_it_go_on(sound: Project, tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    (project.root / "a.wav").write_bytes(b"no audio")
    project.list("a.wav")
    project.build()
    shutil.copy2(sound.root / "a.wav", project.root / "a.wav")
    killed = mock.patch("batcache.store.build.build.write_commit", side_effect=KeyboardInterrupt)
    with killed, pytest.raises(KeyboardInterrupt):
        project.build()
    project.build()
    assert project.store().find("a.wav")


def test_a_restore_that_was_killed_before_its_first_record_goes_on(sound: Project, tmp_path: Path) -> None:
    export(sound.cache, tmp_path / "store.h5")
    killed = mock.patch("batcache.store.hdf5.restore.write_commit", side_effect=KeyboardInterrupt)
    with killed, pytest.raises(KeyboardInterrupt):
        restore(tmp_path / "store.h5", tmp_path / "back.zarr")
    restore(tmp_path / "store.h5", tmp_path / "back.zarr")
    assert read_all(Store(tmp_path / "back.zarr")).keys() == read_all(sound.store()).keys()


def test_one_record_that_is_removed_on_purpose_is_built_again(project: Project) -> None:
    """The remedy that errors name: the others tell that the store is whole but for it."""
    commit_path(project.cache, 0).unlink()
    assert project.build().report.computed
    assert not verify(project.cache).damages


def test_a_prune_takes_no_recording_for_deleted_whose_folder_does_not_answer(project: Project) -> None:
    """A share that stutters: what is listed in no CSV is kept as long as its file may be there."""
    project.list("b.wav", "c.wav")
    stat = os.stat

    def refuse(path: Any, **options: Any) -> os.stat_result:
        if os.fspath(path).endswith("a.wav"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), os.fspath(path))
        return stat(path, **options)

    before = snapshot(project.cache)
    with mock.patch("os.stat", refuse), pytest.raises(StoreError, match="Input/output error"):
        prune(project.cache)
    assert_equal_trees(before, snapshot(project.cache))
