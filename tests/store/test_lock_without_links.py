"""A lock holds as well where the file system knows no links, or no replacing renames."""

import json
import os
from pathlib import Path

import pytest

from batcache.errors import StoreError
from batcache.storage import exclusive
from batcache.store.format.lock import LOCK, hold
from tests.store.locks import process_that_is_gone, write_lock


@pytest.fixture
def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.link", link)


def test_without_links_a_lock_is_made_refused_taken_over_and_removed_all_the_same(without_links, tmp_path):
    with hold(tmp_path):
        assert json.loads((tmp_path / LOCK).read_bytes())["process"] == os.getpid()
        with pytest.raises(StoreError, match="being built"), hold(tmp_path):
            pass
    assert not list(tmp_path.iterdir())
    write_lock(tmp_path, process=process_that_is_gone())
    with hold(tmp_path):
        assert json.loads((tmp_path / LOCK).read_bytes())["process"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_without_links_a_full_disk_leaves_no_half_a_lock(without_links, tmp_path, monkeypatch):
    """It would stop every later build."""
    path_open = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, content):
            raise OSError(28, "No space left on device")

    def open_full(path, mode="r", *rest, **named):
        file = path_open(path, mode, *rest, **named)
        return Full(file) if mode == "xb" else file

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(StoreError, match="No space left"), hold(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_where_open_files_cannot_be_removed_a_stale_lock_is_taken_over_too(tmp_path, monkeypatch):
    monkeypatch.setattr(exclusive, "fcntl", None)
    write_lock(tmp_path, process=process_that_is_gone())
    with hold(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_half_of_a_lock_that_another_is_writing_may_stay(tmp_path, monkeypatch):
    """Windows removes no file that is open."""
    half, unlink = tmp_path / f"{LOCK}.{'0' * 32}.partial", os.unlink
    half.touch()

    def refuse(path: Path, **named: object) -> None:
        if Path(path) == half:
            raise PermissionError(13, "The process cannot access the file", str(path))
        unlink(path, **named)

    monkeypatch.setattr("os.unlink", refuse)
    with hold(tmp_path):
        assert (tmp_path / LOCK).exists()


def test_where_a_rename_does_not_replace_who_loses_the_race_for_a_stale_lock_is_told_of_a_third(tmp_path, monkeypatch):
    """Windows: this builder moves aside the lock of a second, and a third makes its own meanwhile."""
    third = write_lock(tmp_path / "third", host="night-3")
    second = write_lock(tmp_path / "second", host="night-2")
    write_lock(tmp_path, process=process_that_is_gone())
    rename, place = Path.rename, tmp_path / LOCK

    def rename_as_windows(path: Path, target: Path) -> Path:
        if path == place:
            place.write_bytes(second)
        elif target == place:
            place.write_bytes(third)
        if target.exists():
            raise FileExistsError(17, "Cannot create a file when that file already exists", str(path))
        return rename(path, target)

    monkeypatch.setattr(exclusive, "fcntl", None)
    monkeypatch.setattr(Path, "rename", rename_as_windows)
    with pytest.raises(StoreError, match="on night-3"), hold(tmp_path):
        pass
    assert place.read_bytes() == third
