"""An export or a restore that lacks room ends with one line, leaves nothing half made, and goes on with more."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from batcache.store.format.commit import write_commit
from batcache.store.hdf5.export import _bytes_at_most, _choose
from batcache.store.hdf5.reader import Hdf5Store
from batcache.store.reader import Store
from tests.store import hdf5_file
from tests.store.hdf5_file import export_to, refusal, restore_to
from tests.store.project import Project
from tests.store.test_faults import mounted, remount

sound = hdf5_file.sound
exported = hdf5_file.exported


EXPORT = """
import sys
from batcache.cli import main as cli
if limit := int(sys.argv.pop(1)):
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
cli.main()
"""
EXPORT_UNRESERVED = """
import os, resource, sys
from pathlib import Path
from batcache.store.hdf5.export import export
del os.posix_fallocate
*paths, whole = sys.argv[1:]
for limit in range(600, int(whole), int(whole) // 40):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        export(*map(Path, paths))
    except Exception as error:
        print(error)
"""


def run_export(code: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="limits are tested on Linux")
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_limit_on_the_size_of_a_file_ends_an_export_with_one_line_and_leaves_nothing(
    sound: Project, exported: Path, tmp_path: Path, share: float
) -> None:
    target = tmp_path / "features.h5"
    done = run_export(EXPORT, int(share * exported.stat().st_size), "export", sound.cache, target)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {target}: cannot be written (File too large). See to the disk and export again.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits are tested on Linux")
def test_an_export_whose_room_cannot_be_reserved_ends_with_one_line_wherever_a_write_fails(
    sound: Project, exported: Path, tmp_path: Path
) -> None:
    """HDF5 would crash where it is closed with something left to write."""
    target = tmp_path / "features.h5"
    done = run_export(EXPORT_UNRESERVED, sound.cache, target, exported.stat().st_size)
    assert (done.returncode, done.stderr) == (0, "")
    assert {*done.stdout.splitlines()} == {
        f"{target}: cannot be written (File too large). See to the disk and export again."
    }
    assert len(done.stdout.splitlines()) >= 40 and list(tmp_path.iterdir()) == []


def test_an_export_that_the_disk_has_no_room_for_is_refused_and_one_that_just_fits_is_the_same(
    sound: Project, exported: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "size=80k"):
        done = run_export(EXPORT, 0, "export", sound.cache, disk / "features.h5")
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(r"error: .*: 0\.\d+ MB to write, 0\.08 MB free\. Free some space.*\n", done.stderr)
        assert list(disk.iterdir()) == []
        remount(disk, "size=1m")
        assert export_to(sound.cache, disk / "features.h5").read_bytes() == exported.read_bytes()


@pytest.mark.parametrize("text", ["", "ü" * 5000, "\x01" * 300])
@pytest.mark.parametrize("instances", [1, 40])
def test_the_room_that_is_asked_for_is_never_less_than_an_export_takes(
    tmp_path: Path, text: str, instances: int
) -> None:
    """Whatever the files say of themselves."""
    project = Project(tmp_path / "project")
    for i in range(instances):
        project.record(f"{i}.wav", 0.02)
    project.list(*[f"{i}.wav" for i in range(instances)])
    project.build()
    for commit in project.store().index.commits.values():
        rows = [
            msgspec.structs.replace(row, recorder=text, unread=text, expansion_warning=text)
            for row in commit.recordings
        ]
        write_commit(project.cache, replace(commit, recordings=tuple(rows)))
    store = project.store()
    most = _bytes_at_most(store, _choose(store))
    assert export_to(project.cache, tmp_path / "features.h5").stat().st_size <= most


def test_a_restore_that_the_disk_has_no_room_for_is_refused_and_goes_on_with_more(
    sound: Project, exported: Path, tmp_path: Path
) -> None:
    disk, shards = tmp_path / "disk", sorted(Hdf5Store(exported).index.commits.items())
    with mounted(disk, "size=64k"):
        assert re.search(
            r"0\.\d\d MB to write, 0\.0\d MB free", refusal(lambda: restore_to(exported, disk / "copy.zarr"))
        )
        assert not list((disk / "copy.zarr" / "commits").iterdir())
        remount(disk, "size=1m")
        restore_to(exported, disk / "copy.zarr")
        (disk / "copy.zarr" / "commits" / f"{shards[0][0]}.json").unlink()
        free = shutil.disk_usage(disk).free
        (disk / "others").write_bytes(bytes(free - 2 * shards[0][1].shard_bytes))
        restore_to(exported, disk / "copy.zarr")
        assert len(Store(disk / "copy.zarr").index.commits) == len(shards), "what is there already takes no room"
