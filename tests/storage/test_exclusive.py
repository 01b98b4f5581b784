"""Changes that several make to one file at once are none of them lost. Locks are in ``tests/store/test_lock.py``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from batcache.storage.disk import write_file
from batcache.storage.exclusive import create_exclusively, lock_file

ADDS = """
import json, sys, time
from pathlib import Path
from batcache.storage.disk import write_file
from batcache.storage.exclusive import lock_file
place, me = Path(sys.argv[1]), sys.argv[2]
for number in range(20):
    with lock_file(place.with_name("lock")):
        there = json.loads(place.read_bytes())
        time.sleep(0.002)
        write_file(place, json.dumps([*there, f"{me} {number}"]).encode())
"""


def test_of_four_processes_that_add_to_a_file_at_once_none_loses_a_line(tmp_path):
    place = tmp_path / "lines.json"
    write_file(place, b"[]")
    running = [subprocess.Popen([sys.executable, "-c", ADDS, str(place), str(me)]) for me in range(4)]
    assert [process.wait(timeout=60) for process in running] == [0] * 4
    assert sorted(json.loads(place.read_bytes())) == sorted(f"{me} {n}" for me in range(4) for n in range(20))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lines.json", "lock"]


def test_who_does_not_wait_is_told_at_once_that_somebody_is_there(tmp_path: Path):
    with (
        lock_file(tmp_path / "lock", wait=False),
        pytest.raises(BlockingIOError),
        lock_file(tmp_path / "lock", wait=False),
    ):
        pass
    with lock_file(tmp_path / "lock", wait=False):
        pass


def test_a_file_that_is_there_is_not_created(tmp_path: Path):
    assert create_exclusively(tmp_path / "lock", b"first")
    assert not create_exclusively(tmp_path / "lock", b"second")
    assert (tmp_path / "lock").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
