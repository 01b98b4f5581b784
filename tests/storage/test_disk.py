"""A file is whole or not there, however many processes and threads replace it at once, and whichever are killed."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batcache.storage import disk
from batcache.storage.disk import append_file, remove_partials, replacing, temporary_name, write_file

LONG_AGO_S = 7200


def partials(folder: Path) -> list[Path]:
    return list(folder.glob("*.partial"))


def test_of_many_who_replace_a_file_at_once_all_succeed_and_one_content_stays(tmp_path):
    place = tmp_path / "metrics.json"
    contents = [bytes([number]) * 100_000 for number in range(8)]

    def replace_often(content: bytes) -> None:
        for _ in range(25):
            write_file(place, content)
            assert place.read_bytes() in contents

    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(replace_often, contents))
    assert place.read_bytes() in contents
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_who_ends_last_has_the_last_word(tmp_path):
    place = tmp_path / "file"
    with replacing(place) as first, replacing(place) as second:
        first.write(b"first")
        second.write(b"second")
    assert place.read_bytes() == b"first", "the outer block ends last"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_error_leaves_what_was_there_and_no_temporary_file(tmp_path):
    place = tmp_path / "file"
    place.write_bytes(b"old")
    with pytest.raises(ValueError, match="stop"), replacing(place) as file:
        file.write(b"new")
        raise ValueError("stop")
    assert place.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


KILLED = """
import os, signal, sys
from pathlib import Path
from batcache.storage.disk import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("name", ["[a]*.csv", "ü" * 120], ids=["pattern", "long"])
def test_what_a_killed_writer_left_goes_with_what_another_process_writes_there_an_hour_later(tmp_path, name):
    place = tmp_path / name
    done = subprocess.run([sys.executable, "-c", KILLED, str(place)], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = partials(tmp_path)
    write_file(place, b"whole")
    assert left.exists(), "its writer may still be at work"
    foreign = tmp_path / "mine.partial"
    foreign.touch()
    for path in (left, foreign):
        os.utime(path, (time.time() - LONG_AGO_S,) * 2)
    disk._remove_abandoned.cache_clear()  # as in another process
    write_file(place, b"whole again")
    assert {path.name for path in tmp_path.iterdir()} == {place.name, foreign.name}


def test_whoever_is_alone_removes_temporary_files_of_any_age(tmp_path):
    mine, foreign = temporary_name(tmp_path / "file"), tmp_path / "file.csv.partial"
    mine.touch()
    foreign.touch()
    remove_partials(tmp_path / "file")
    assert partials(tmp_path) == [foreign]


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, "蝙" * 85], ids=["one byte", "two bytes", "three bytes"])
def test_a_file_may_have_the_longest_name_that_a_disk_allows(tmp_path, name):
    write_file(tmp_path / name, b"whole")
    assert (tmp_path / name).read_bytes() == b"whole"


@pytest.mark.parametrize("busy", [3, 10**6])
def test_where_an_open_file_is_not_replaced_it_is_tried_again_for_a_while(tmp_path, monkeypatch, busy):
    """Windows refuses while another process reads the old file."""
    place, rename, asked = tmp_path / "file", Path.replace, 0

    def refuse(path: Path, target: Path) -> Path:
        nonlocal asked
        asked += 1
        if asked <= busy:
            raise PermissionError(13, "The process cannot access the file", str(path))
        return rename(path, target)

    monkeypatch.setattr(disk, "_WINDOWS", True)
    monkeypatch.setattr(disk, "_WAITS_S", (0.001,) * 5)
    monkeypatch.setattr(Path, "replace", refuse)
    if busy == 3:
        write_file(place, b"new")
        assert place.read_bytes() == b"new"
    else:
        with pytest.raises(PermissionError) as caught:
            write_file(place, b"new")
        assert caught.value.filename == str(place)
        assert not list(tmp_path.iterdir())


def test_what_is_appended_stands_at_the_end(tmp_path):
    for line in (b"one\n", b"two\n"):
        append_file(tmp_path / "log", line)
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
