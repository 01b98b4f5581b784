"""The laws of a store in one HDF5 file: the same numbers, bytes and errors as the store's, there and back."""

import json
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest import mock

import h5py
import msgspec
import numpy as np
import pytest

from batcache.config.features import FRONT_END_VERSION
from batcache.config.settings import DataConfig
from batcache.errors import BatcacheError, StoreError
from batcache.progress import Progress
from batcache.store.format import commit as commits
from batcache.store.format.commit import CachedRecording, write_commit
from batcache.store.hdf5 import reader as hdf5
from batcache.store.hdf5.columns import Kind, read_column, write_column
from batcache.store.hdf5.export import _bytes_at_most, _choose, export
from batcache.store.hdf5.reader import HEAD_BYTES, Hdf5Store, Head
from batcache.store.hdf5.restore import Restored, restore
from batcache.store.open import open_store, read_settings
from batcache.store.reader import Store
from batcache.store.summary import summarise
from tests.store.faults import COUNTED, Fault, Outcome
from tests.store.project import Project, assert_equal_trees, copy, let_an_hour_pass, read_all, snapshot
from tests.store.test_faults import mounted, remount

LENGTHS = {"a.wav": 0.25, "b.wav": 0.08, "long.wav": 0.93, "übung/c.wav": 0.2, "d.wav": 0.15}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Seven shards of four instances: short recordings, one of three shards, a copy, one that failed, two rejects."""
    project = Project(tmp_path_factory.mktemp("hdf5") / "project")
    for name, seconds in LENGTHS.items():
        project.record(name, seconds)
    project.record("nan.wav", samples=[0.1] * 20_000 + [np.nan] * 1000)
    (project.root / "copy of a.wav").write_bytes((project.root / "a.wav").read_bytes())
    (project.root / "text.wav").write_text("no recording")
    project.list("missing.wav", *LENGTHS, "nan.wav", "copy of a.wav", "text.wav")
    project.build()
    return project


@pytest.fixture(scope="module")
def exported(sound: Project) -> Path:
    """Not to be changed."""
    return export_to(sound.cache, sound.root / "features.h5")


@pytest.fixture
def file(exported: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copy(exported, tmp_path / "features.h5"))


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A store built twice: a shard that is not full is followed by another, one row was renamed, one has new audio."""
    project = Project(tmp_path_factory.mktemp("grown") / "project")
    for name in ("a.wav", "b.wav", "c.wav"):
        project.record(name)
    project.list("a.wav", "b.wav", "c.wav")
    project.build()
    (project.root / "a.wav").rename(project.root / "renamed.wav")
    project.record("d.wav", 0.3)
    project.list("renamed.wav", "b.wav", "c.wav", "d.wav")
    project.build()
    return project


def export_to(cache: Path, target: Path, *, force: bool = False) -> Path:
    steps: list[Progress] = []
    outcome = export(cache, target, force=force, on_progress=steps.append)
    assert [step.total for step in steps] == [outcome.instances] * len(steps) and steps[-1].done == outcome.instances
    return outcome.path


def restore_to(file: Path, cache: Path) -> Restored:
    return restore(file, cache)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(file: Path, change: Callable[[h5py.File], None]) -> None:
    """Change a file on purpose, and seal it again, as someone could who means harm."""
    head = Head.read(file)
    with h5py.File(file, "r+", locking=False) as opened:
        change(opened)
        opened.flush()
    with file.open("r+b") as raw:
        Head(file.stat().st_size, head.start, head.stored, head.count).write(raw, file)


def replace_dataset(opened: h5py.File, name: str, **settings: object) -> None:
    del opened[name]
    opened.create_dataset(name, **settings)


def test_a_file_reads_as_its_store(sound: Project, exported: Path) -> None:
    store, file = sound.store(), open_store(exported)
    assert isinstance(file, Hdf5Store) and type(open_store(sound.cache)) is Store
    assert (file.features, file.layout, file.attributes) == (store.features, store.layout, store.attributes)
    assert read_settings(exported) == read_settings(sound.cache) == (store.features, store.layout)
    assert file.index == store.index
    theirs = read_all(store)
    for name, frames in read_all(file).items():
        np.testing.assert_array_equal(frames, theirs[name])
    assert file.find("nan.wav") is None and file.index.by_path["nan.wav"][0].failure
    assert file.find("copy of a.wav").first_instance == file.find("a.wav").first_instance
    assert file.last_build().rejected == store.last_build().rejected and "text.wav" in file.last_build().rejected
    assert summarise(file) | {"on disk": ""} == summarise(store) | {"on disk": ""}
    assert "one HDF5 file" in summarise(file)["on disk"]


def test_parts_of_a_recording_are_read_into_place(sound: Project, exported: Path) -> None:
    file, whole = Hdf5Store(exported), sound.frames("long.wav")
    row = file.find("long.wav")
    for start, stop in ((0, None), (50, 250), (399, 401), (930, 940)):
        np.testing.assert_array_equal(file.read_frames(row, start, stop), whole[start:stop])
    out = np.zeros((200, 16), np.float16)
    assert file.read_frames(row, 350, 550, out) is out
    np.testing.assert_array_equal(out, whole[350:550])


def test_others_read_what_the_file_holds(sound: Project, exported: Path) -> None:
    """h5py alone, as R and MATLAB would; rows count instances from 0 in the file, and slots nobody uses are gone."""
    store = sound.store()
    with h5py.File(exported) as file:
        names = [name.decode() for name in file["recordings/path"]]
        assert names == [row.path for row in store.index.recordings]
        firsts, frames = file["recordings/first_instance"][()], file["recordings/frames"][()]
        assert sorted(set(firsts))[0] == 0
        for name, first, count in zip(names, firsts, frames, strict=True):
            if store.find(name):
                stored = file["instances"][first : first - (-count // 100)].reshape(-1, 16)[:count]
                np.testing.assert_array_equal(stored, store.read_frames(store.find(name)))
        assert file["instances"].fletcher32 and file["instances"].chunks == (1, 100, 16)
        live = {(row.first_instance, row.instances) for row in store.index.recordings}
        assert len(file["instances"]) == len(file["crc32c"]) == sum(count for _, count in live)
        assert set(file["recordings"]) == set(CachedRecording.__struct_encode_fields__)
        assert file.attrs["n_mels"] == 16 and file.attrs["fingerprint"] == store.features.fingerprint
        assert json.loads(file.attrs["settings"]) == store.attributes


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


def test_two_exports_are_equal_byte_for_byte(sound: Project, exported: Path, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from batcache.store.hdf5.export import export\n"
    code += "export(Path(sys.argv[1]), Path(sys.argv[2]))"
    other = tmp_path / "another.h5"
    subprocess.run([sys.executable, "-c", code, sound.cache, other], check=True, timeout=100)
    assert other.read_bytes() == exported.read_bytes()


@pytest.mark.parametrize("which", ["sound", "grown"])
def test_there_and_back_is_the_same_store_byte_for_byte(which, request, tmp_path: Path) -> None:
    project = request.getfixturevalue(which)
    file = export_to(project.cache, tmp_path / "first.h5")
    outcome = restore_to(file, tmp_path / "again.zarr")
    assert outcome.recordings == sum(1 for _ in project.store().index.recordings)
    before, after = snapshot(project.cache), snapshot(tmp_path / "again.zarr")
    before.pop("last_build.json"), after.pop("last_build.json")
    assert_equal_trees(before, after)
    assert Store(tmp_path / "again.zarr").last_build().rejected == project.store().last_build().rejected
    assert Store(tmp_path / "again.zarr").last_build().csvs == ()
    again = export_to(tmp_path / "again.zarr", tmp_path / "second.h5")
    assert again.read_bytes() == file.read_bytes()


def test_the_grown_store_is_what_it_should_be(grown: Project) -> None:
    commits = grown.store().index.commits
    assert [commits[shard].generation for shard in sorted(commits)][:1] == [1]
    assert any(len(commit.crc32c) < 4 for shard, commit in commits.items() if shard != max(commits))


def test_slots_that_nobody_uses_are_left_out(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    for name in ("a.wav", "b.wav", "c.wav"):
        project.record(name)
    project.list("a.wav", "b.wav", "c.wav")
    project.build()
    project.record("a.wav", seed=77)
    project.record("c.wav", seed=78)
    project.build()
    file = export_to(project.cache, tmp_path / "features.h5")
    assert len(h5py.File(file)["instances"]) == 6
    restore_to(file, tmp_path / "again.zarr")
    store, again = project.store(), Store(tmp_path / "again.zarr")
    assert "instances no longer used" in summarise(store) and "instances no longer used" not in summarise(again)
    for name, frames in read_all(store).items():
        np.testing.assert_array_equal(again.read_frames(again.find(name)), frames)
    assert export_to(tmp_path / "again.zarr", tmp_path / "second.h5").read_bytes() == file.read_bytes()


def test_a_restored_store_takes_the_next_build(sound: Project, exported: Path, tmp_path: Path) -> None:
    project = Project(copy(sound.root, tmp_path / "project"))
    shutil.rmtree(project.cache)
    restore_to(exported, project.cache)
    project.record("new.wav")
    project.list(*LENGTHS, "copy of a.wav", "new.wav")
    assert project.build().computed == {"new.wav"}
    assert project.store().last_build().csvs == (project.csv.resolve(),)


@pytest.mark.parametrize("committed", [[0], [0, 1], [1, 2, 3, 4, 5], []])
def test_a_stopped_restore_goes_on_and_ends_as_if_undisturbed(exported: Path, tmp_path: Path, committed) -> None:
    whole, stopped = tmp_path / "whole.zarr", tmp_path / "stopped.zarr"
    restore_to(exported, whole)
    shutil.copytree(whole, stopped)
    (stopped / "last_build.json").unlink()
    for record in (stopped / "commits").glob("*.json"):
        if int(record.stem) not in committed:
            record.unlink()
    (stopped / "commits" / f"6.json.{'0a' * 16}.partial").write_bytes(b"{")
    with (stopped / "instances" / "c" / "5" / "0" / "0").open("r+b") as shard:
        shard.truncate(100) if 5 not in committed else None
    assert restore_to(exported, stopped).already_there <= len(committed)
    assert_equal_trees(snapshot(whole), snapshot(stopped))
    assert restore_to(exported, stopped).already_there == len(Store(whole).index.commits)
    assert_equal_trees(snapshot(whole), snapshot(stopped))


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither SIGKILL nor fork")
@pytest.mark.parametrize("others", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_restore_that_dies_reads_true_or_not_at_all_and_ends_as_if_undisturbed(
    others, exported, commander, tmp_path
) -> None:
    """Before every third rename, half-done write and new folder; then before all other operations on the disk."""

    def restore_by_command(name: str, fault: Fault) -> tuple[Path, Outcome]:
        folder = tmp_path / name
        folder.mkdir()
        words = ["build", "--from", str(exported), "--cache", str(folder / "features.zarr")]
        return folder, commander.run(folder, words, fault)

    whole, outcome = restore_by_command("whole", COUNTED)
    assert outcome.status == 0, outcome.text
    expected, truth = snapshot(whole), read_all(Store(whole / "features.zarr"))
    operations = outcome.operations
    telling = [i for i, (kind, _) in enumerate(operations, 1) if kind in ("rename", "half of write", "mkdir")]
    assert len(telling) > 30
    with mock.patch("os.fsync", lambda handle: None):
        for at in sorted({*range(1, len(operations) + 1)} - {*telling[::3]}) if others else telling[::3]:
            said = f"dead before operation {at}, {operations[at - 1]}"
            folder, outcome = restore_by_command(f"{at}", Fault(at))
            assert outcome.died, said
            cache = folder / "features.zarr"
            if cache.exists():
                for name, frames in read_all(Store(cache)).items():
                    np.testing.assert_array_equal(frames, truth[name])
            let_an_hour_pass(folder)
            restore_to(exported, cache)
            assert_equal_trees(snapshot(folder), expected, said)
            shutil.rmtree(folder)


def test_a_cache_that_holds_something_else_is_left_alone(exported: Path, grown: Project, tmp_path: Path) -> None:
    cache = Path(shutil.copytree(grown.cache, tmp_path / "other.zarr"))
    before = snapshot(cache)
    assert "holds something else" in refusal(lambda: restore_to(exported, cache))
    assert_equal_trees(snapshot(cache), before)
    (tmp_path / "text").write_text("x")
    assert "not a batcache store" in refusal(lambda: restore_to(exported, tmp_path / "text"))


def test_a_file_is_replaced_only_when_asked(sound: Project, tmp_path: Path) -> None:
    target = tmp_path / "new" / "features.h5"
    export_to(sound.cache, target)
    content = target.read_bytes()
    target.write_bytes(b"mine")
    assert "is there already" in refusal(lambda: export_to(sound.cache, target))
    assert target.read_bytes() == b"mine"
    assert export_to(sound.cache, target, force=True).read_bytes() == content
    assert "Name a file" in refusal(lambda: export_to(sound.cache, tmp_path, force=True))
    assert [place.name for place in target.parent.iterdir()] == ["features.h5"]


def test_a_damaged_or_empty_store_leaves_no_file(sound: Project, tmp_path: Path) -> None:
    cache = Path(shutil.copytree(sound.cache, tmp_path / "features.zarr"))
    shard = cache / "instances" / "c" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[4000] ^= 1
    shard.write_bytes(content)
    assert "instance 1 of a.wav is damaged" in refusal(lambda: export_to(cache, tmp_path / "features.h5"))
    project = Project(tmp_path / "empty")
    (project.root / "x.wav").write_text("no recording")
    project.list("x.wav")
    project.build()
    assert "holds no recording" in refusal(lambda: export_to(project.cache, tmp_path / "features.h5"))
    assert "no cache here" in refusal(lambda: export_to(tmp_path / "none", tmp_path / "features.h5"))
    assert not list(tmp_path.glob("features.h5*"))


def test_damage_names_recording_and_instance(file: Path) -> None:
    head = Head.read(file)
    instance = next(row for row in Hdf5Store(file).index.recordings if row.path == "long.wav")
    content = bytearray(file.read_bytes())
    with h5py.File(file) as opened:
        first = int(
            opened["recordings/first_instance"][opened["recordings/path"].asstr()[()].tolist().index("long.wav")]
        )
    content[head.start + (first + 5) * head.stored + 17] ^= 0x10
    file.write_bytes(content)
    store = Hdf5Store(file)
    assert "instance 5 of long.wav is damaged" in refusal(lambda: store.read_frames(instance))
    store.read_frames(instance, 0, 500)


def read_everything(file: Path) -> tuple[object, list[bytes], dict[str, str]]:
    store = Hdf5Store(file)
    rows = list(store.index.recordings)
    frames = [store.read_instances(row.first_instance, row.instances).tobytes() for row in rows]
    return store.index, frames, store.last_build().rejected


def flip_some(exported: Path, file: Path, places: Iterator[int], count: int) -> tuple[int, int]:
    """Flip one byte after the other; returns how many were refused, and how many did not matter."""
    truth, content, refused, harmless = read_everything(exported), exported.read_bytes(), 0, 0
    with file.open("r+b", buffering=0) as raw:
        for _, place in zip(range(count), places, strict=False):
            raw.seek(place)
            raw.write(bytes([content[place] ^ random.Random(place).randrange(1, 256)]))
            try:
                assert read_everything(file) == truth, f"wrong numbers, byte {place} flipped"
                harmless += 1
            except BatcacheError:
                refused += 1
            raw.seek(place)
            raw.write(content[place : place + 1])
    return refused, harmless


def test_a_flipped_byte_gives_the_same_numbers_or_our_error(exported: Path, file: Path) -> None:
    size, draw = exported.stat().st_size, random.Random(0)
    refused, harmless = flip_some(exported, file, (draw.randrange(size) for _ in range(300)), 300)
    assert refused > 290 and harmless <= 10
    head = [*range(HEAD_BYTES)]
    refused, harmless = flip_some(exported, file, iter(head), HEAD_BYTES)
    assert harmless == 0


@pytest.mark.slow
def test_every_byte_outside_the_instances_and_thousands_within(exported: Path, file: Path) -> None:
    head, draw = Head.read(exported), random.Random(1)
    outside = [*range(head.start), *range(head.stop, head.size)]
    assert flip_some(exported, file, iter(outside), len(outside)) == (len(outside), 0)
    within = [draw.randrange(head.start, head.stop) for _ in range(2000)]
    refused, harmless = flip_some(exported, file, iter(within), len(within))
    fletcher = sum((place - head.start) % head.stored >= head.stored - 4 for place in within)
    assert (refused, harmless) == (2000 - fletcher, fletcher), "our reader needs no Fletcher-32, HDF5 does"


def test_a_file_cut_short_or_lengthened_is_an_error(exported: Path, file: Path) -> None:
    content = exported.read_bytes()
    for size in (0, 1, 14, 100, 511, 512, 513, 5000, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:size])
        refusal(lambda: Hdf5Store(file))
        refusal(lambda: restore_to(file, file.with_name("new.zarr")))
    file.write_bytes(content + b"\0")
    assert "exported with" in refusal(lambda: Hdf5Store(file))
    assert not file.with_name("new.zarr").exists()


@pytest.mark.parametrize("read_before", [False, True])
def test_a_file_that_shrinks_after_opening_is_named_at_reading(file: Path, read_before: bool) -> None:
    store = Hdf5Store(file)
    if read_before:
        read_all(store)
    os.truncate(file, store._head.start + 100)
    assert "features.h5: cannot be read" in refusal(lambda: store.read_frames(store.find("d.wav")))


def test_other_files_are_refused_by_what_they_are(file: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["instances"] = np.zeros(3)
    assert "an HDF5 file, but not by `batcache export`" in refusal(lambda: open_store(tmp_path / "other.h5"))
    (tmp_path / "text").write_text("filename,Myotis\n")
    assert "no cache" in refusal(lambda: open_store(tmp_path / "text"))
    assert "cannot be read" in refusal(lambda: restore_to(tmp_path / "none.h5", tmp_path / "new.zarr"))
    content = file.read_bytes()
    file.write_bytes(content.replace(b"batcache-hdf5 1 ", b"batcache-hdf5 2 ", 1))
    assert "format version 2, this batcache reads 1" in refusal(lambda: open_store(file))
    for text in ('{"size": 1}', "[1]", "[" * 400, '{"size":1e9,"start":512,"stored":5,"count":1}', "NaN", ""):
        file.write_bytes(f"batcache-hdf5 1 {text}\n{'0' * 64}\n".encode().ljust(512) + content[512:])
        assert "damaged" in refusal(lambda: open_store(file))


def test_what_an_earlier_front_end_computed_is_restored_as_such(
    exported: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = open_store(exported).fingerprint
    monkeypatch.setattr("batcache.config.features.FRONT_END_VERSION", 99)
    restore_to(exported, tmp_path / "new.zarr")
    for place in (exported, tmp_path / "new.zarr"):
        store = open_store(place)
        assert (store.fingerprint, store.front_end_version) == (expected, FRONT_END_VERSION)
        assert {commit.fingerprint for commit in store.index.commits.values()} == {expected}


def change_settings(**changes: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        settings = json.loads(file.attrs["settings"])
        file.attrs["settings"] = json.dumps(settings | changes)

    return change


def set_values(name: str, value: float) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][0] = value

    return change


def remake(name: str, **settings: object) -> Callable[[h5py.File], None]:
    return lambda file: replace_dataset(file, name, **settings)


class Pickled:
    def __reduce__(self):
        return os.mkdir, ("executed",)


HUGE = 10**15
HOSTILE = {
    "settings pickled": lambda file: file.attrs.__setitem__("settings", np.void(pickle.dumps(Pickled()))),
    "settings a number": lambda file: file.attrs.__setitem__("settings", 3),
    "settings no JSON": lambda file: file.attrs.__setitem__("settings", "{"),
    "settings a list": lambda file: file.attrs.__setitem__("settings", "[]"),
    "settings very deep": lambda file: file.attrs.__setitem__("settings", "[" * 60_000),
    "no settings": lambda file: file.attrs.pop("settings"),
    "other format": change_settings(format="other"),
    "newer store": change_settings(format_version=2),
    "other fingerprint": change_settings(fingerprint="0"),
    "layout of text": change_settings(layout={"frames_per_instance": "x", "n_mels": 16, "instances_per_shard": 4}),
    "layout of 0": change_settings(layout={"frames_per_instance": 100, "n_mels": 16, "instances_per_shard": 0}),
    "layout of other shape": change_settings(
        layout={"frames_per_instance": 50, "n_mels": 32, "instances_per_shard": 4}
    ),
    "unknown feature": change_settings(features={"n_mels": 16, "colour": 3}),
    "absurd instances": remake("instances", shape=(HUGE, 100, 16), dtype="<f2", chunks=(1, 100, 16)),
    "wider instances": remake("instances", shape=(17, 100, 16), dtype="<f4", chunks=(1, 100, 16)),
    "instances of objects": remake("instances", shape=(3,), dtype=h5py.vlen_dtype(np.float16)),
    "absurd column": remake("recordings/size", shape=(HUGE,), dtype="<i8", chunks=(1000,)),
    "absurd contiguous column": remake("recordings/size", shape=(HUGE,), dtype="<i8"),
    "column of references": remake("recordings/size", shape=(7,), dtype=h5py.ref_dtype),
    "column of lists": remake("recordings/path", shape=(7,), dtype=h5py.vlen_dtype(np.int8)),
    "column of another length": remake("recordings/size", data=np.arange(3)),
    "scalar first column": remake("recordings/channels", data=3),
    "paths not UTF-8": remake("recordings/path", data=[b"\xff\xfe"] * 7, dtype=h5py.string_dtype("utf-8")),
    "external column": remake("recordings/size", shape=(7,), dtype="<i8", external=[("/etc/passwd", 0, 56)]),
    "column elsewhere": lambda file: (
        file.move("recordings/size", "size")
        or file.__setitem__("recordings/size", h5py.ExternalLink("/etc/hosts", "x"))
    ),
    "soft column": lambda file: (
        file.move("recordings/size", "size") or file.__setitem__("recordings/size", h5py.SoftLink("/size"))
    ),
    "column a group": lambda file: file.__delitem__("recordings/size") or file.create_group("recordings/size"),
    "recordings a dataset": lambda file: file.__delitem__("recordings") or file.create_dataset("recordings", data=1),
    "no recordings": lambda file: file.__delitem__("recordings"),
    "empty recordings": lambda file: file.__delitem__("recordings") or file.create_group("recordings"),
    "a column less": lambda file: file.__delitem__("recordings/true_rate"),
    "a column more": lambda file: file.create_dataset("recordings/colour", data=[1] * 7),
    "no checksums": lambda file: file.__delitem__("crc32c"),
    "recording before the first": set_values("recordings/first_instance", -1),
    "recording behind the last": set_values("recordings/first_instance", 2**62),
    "too many instances": set_values("recordings/instances", 2**62),
    "no instances": set_values("recordings/instances", 0),
    "too many frames": set_values("recordings/frames", 10_000),
    "fewer in a shard": set_values("shards/instances", 1),
    "too many in a shard": set_values("shards/instances", 2**62),
    "a shard that goes on": set_values("shards/continues", 1),
    "rejects of objects": remake("rejected/reason", shape=(2,), dtype=h5py.vlen_dtype(np.int8)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_file_made_on_purpose_is_refused_and_nothing_executed(what, file, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    edit(file, HOSTILE[what])
    said = refusal(lambda: open_store(file))
    assert "features.h5" in said and len(said) < 500, said
    assert "made sense" not in said and "digest" not in said
    refusal(lambda: restore_to(file, tmp_path / "new.zarr"))
    assert {place.name for place in tmp_path.iterdir()} == {"features.h5"}


def test_wrong_checksums_are_found_on_reading(file: Path) -> None:
    edit(file, set_values("crc32c", 1))
    store = Hdf5Store(file)
    assert "instance 0 of a.wav is damaged" in refusal(lambda: store.read_frames(store.find("a.wav")))


def test_threads_and_other_processes_may_share_a_file(sound: Project, exported: Path) -> None:
    truth, store = read_all(sound.store()), Hdf5Store(exported)
    rows = [store.find(name) for name in LENGTHS] * 40
    with ThreadPoolExecutor(8) as pool:
        for row, frames in zip(rows, pool.map(store.read_frames, rows), strict=True):
            np.testing.assert_array_equal(frames, truth[row.path])
    moved = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(moved.read_frames(moved.find("a.wav")), truth["a.wav"])


def test_every_field_of_a_recording_has_a_column() -> None:
    assert list(hdf5.RECORDING_KINDS) == [*CachedRecording.__struct_encode_fields__]
    assert hdf5.RECORDING_KINDS["path"] == Kind(str) and hdf5.RECORDING_KINDS["mtime_ns"] == Kind(int)
    assert Kind.of(str | None) == Kind(str, True) and Kind.of(float | None) == Kind(float, True)


@pytest.mark.parametrize(
    ("annotation", "values"),
    [
        (str, ["", "a", "Größe, \u65e5\u672c 🦇", "a\nb", "'\"\\"]),
        (str | None, [None, "", "a", None, ""]),
        (str | None, [None, None]),
        (float, [0.0, -0.0, 1e-310, 1e300, 1 / 3]),
        (float | None, [None, 0.0, 1 / 3]),
        (int, [0, -1, 2**63 - 1, -(2**63), 1_600_000_000_123_456_789]),
        (str, []),
        (float | None, []),
    ],
)
def test_a_column_there_and_back_is_the_same(annotation, values, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_column(file.create_group("g"), "column", Kind.of(annotation), values)
    with h5py.File(tmp_path / "a.h5") as file:
        back = read_column(file["g"], "column", Kind.of(annotation), len(values), 1 << 20)
    assert [(type(value), repr(value)) for value in back] == [(type(value), repr(value)) for value in values]


def test_later_columns_come_along_and_their_lack_is_their_default(sound, exported, tmp_path, monkeypatch) -> None:
    """A batcache that knows more of a recording reads older files, and an older one refuses newer files."""
    later = msgspec.defstruct(
        "CachedRecording",
        [("site", str | None, None), ("height", float | None, None), ("serial", str, ""), ("gain", int, 7)],
        bases=(CachedRecording,),
        frozen=True,
    )
    kinds = {field.encode_name: Kind.of(field.type) for field in msgspec.structs.fields(later)}
    cache = Path(shutil.copytree(sound.cache, tmp_path / "features.zarr"))
    for module in ("format.commit", "hdf5.reader", "hdf5.export"):
        monkeypatch.setattr(f"batcache.store.{module}.CachedRecording", later)
    for module in ("hdf5.reader", "hdf5.export"):
        monkeypatch.setattr(f"batcache.store.{module}.RECORDING_KINDS", kinds)
    old = Hdf5Store(exported)
    assert {(row.site, row.gain) for row in old.index.recordings} == {(None, 7)}

    monkeypatch.setattr("batcache.store.format.commit._Columns", commits._columns_of(later))
    told = iter([(None, None), ("", 51.5), ("Wald", -0.25), *[("Größe", None)] * 9])
    for commit in old.index.commits.values():
        rows = [
            msgspec.structs.replace(row, site=site, height=height)
            for row, (site, height) in zip(commit.recordings, told, strict=False)
        ]
        write_commit(cache, type(commit)(**vars(commit) | {"recordings": tuple(rows)}))
    new = export_to(cache, tmp_path / "new.h5")
    assert Hdf5Store(new).index == Store(cache).index
    restore_to(new, tmp_path / "again.zarr")
    assert_equal_trees(snapshot(cache / "commits"), snapshot(tmp_path / "again.zarr" / "commits"))
    monkeypatch.undo()
    assert "unknown columns: gain, height, serial and 1 more" in refusal(lambda: Hdf5Store(new))


def test_text_that_hdf5_cannot_hold_is_an_error_and_leaves_no_file(sound: Project, tmp_path: Path) -> None:
    cache = Path(shutil.copytree(sound.cache, tmp_path / "features.zarr"))
    commit = Store(cache).index.commits[0]
    rows = (msgspec.structs.replace(commit.recordings[0], expansion_source="a\0b"), *commit.recordings[1:])
    write_commit(cache, type(commit)(**vars(commit) | {"recordings": rows}))
    assert "ground of a recording holds a NUL character" in refusal(lambda: export_to(cache, tmp_path / "a.h5"))
    assert not list(tmp_path.glob("a.h5*"))


def test_progress_counts_instances(exported: Path, tmp_path: Path) -> None:
    steps: list[Progress] = []
    outcome = restore(exported, tmp_path / "new.zarr", on_progress=steps.append)
    assert steps[-1] == Progress("restore", outcome.instances, outcome.instances)
    assert [step.done for step in steps] == sorted({step.done for step in steps})


@pytest.mark.parametrize("count", [1, 1024, 1025, 2100])
def test_any_number_of_instances_lies_in_one_row(count: int, tmp_path: Path) -> None:
    """HDF5 indexes chunks in other ways from 1,025 on."""
    project = Project(tmp_path / "project", config=DataConfig(n_mels=16, instance_s=0.005))
    project.record("a.wav", count * 0.005)
    project.list("a.wav")
    project.build(per_shard=640)
    file = export_to(project.cache, tmp_path / "features.h5")
    assert Head.read(file).count == count
    np.testing.assert_array_equal(read_all(Hdf5Store(file))["a.wav"], project.frames("a.wav"))
    with h5py.File(file) as opened:
        np.testing.assert_array_equal(opened["instances"][()].reshape(-1, 16), project.frames("a.wav"))
