"""Which files are recordings, and what they are called."""

import os
import sys
from pathlib import Path

import pytest

from batcache.errors import PredictError
from batcache.manifest.find_recordings import COPIES, find_recordings


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_recordings_are_found_at_any_depth_and_named_from_the_folder(tmp_path: Path) -> None:
    touch(tmp_path, "b.WAV", "2024/mill/a.flac", "2024/notes.txt", "._b.WAV", ".trash/c.wav", "d.wav.tmp", "wav")
    found = find_recordings([tmp_path])
    assert (found.root, found.names) == (tmp_path, ("2024/mill/a.flac", "b.WAV"))


def test_what_was_deleted_from_a_card_under_windows_is_not_judged(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "$RECYCLE.BIN/S-1-5-21/$R1.wav", "System Volume Information/b.wav")
    assert find_recordings([tmp_path]).names == ("a.wav",)


def test_copies_that_batcache_has_written_are_no_recordings_unless_their_folder_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", f"out/guano/{COPIES}", "out/guano/a.wav", "out/guano/2024/b.wav")
    assert find_recordings([tmp_path]).names == find_recordings([tmp_path, tmp_path / "out"]).names == ("a.wav",)
    assert find_recordings([tmp_path / "out" / "guano"]).names == ("2024/b.wav", "a.wav")


def test_several_are_named_from_the_folder_that_holds_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "mill/a.wav", "meadow/b.wav", "meadow/c.wav", "other.raw")
    monkeypatch.chdir(tmp_path / "mill")
    found = find_recordings([Path(), Path("../meadow"), Path("../meadow/b.wav"), Path("../other.raw")])
    assert found.root == tmp_path
    assert found.names == ("meadow/b.wav", "meadow/c.wav", "mill/a.wav", "other.raw")


def test_links_are_followed_and_never_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "card/a.wav", "night/b.wav")
    (tmp_path / "night" / "card").symlink_to(tmp_path / "card")
    (tmp_path / "card" / "back").symlink_to(tmp_path / "night")
    assert find_recordings([tmp_path / "night"]).names == ("b.wav", "card/a.wav")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names themselves")
def test_a_name_that_no_table_can_hold_is_a_row(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    (tmp_path / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"")
    found = find_recordings([tmp_path])
    assert found.names == ("a.wav",)
    assert found.rejected == {"caf\\udce9.wav": "its name is not UTF-8. Rename it."}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_cannot_be_read_is_a_row(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "closed/b.wav")
    (tmp_path / "closed").chmod(0)
    found = find_recordings([tmp_path])
    (tmp_path / "closed").chmod(0o700)
    assert found.names == ("a.wav",) and "cannot be read" in found.rejected["closed"]


def test_nothing_to_judge_is_one_line(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(PredictError, match=r"no recording in it, at any depth: no name ends in \.wav or \.flac"):
        find_recordings([tmp_path])
    with pytest.raises(PredictError, match="gone: no such file or folder"):
        find_recordings([tmp_path, tmp_path / "gone"])
