"""The laws of ``batcache.store.build``: equal bytes whatever the workers, the shards and the place."""

import errno
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import StoreError
from batcache.manifest.manifest import read_manifest
from batcache.progress import Progress
from batcache.store.build.build import build
from batcache.store.format.last_build import portable
from batcache.store.reader import Store
from tests.store import rebuilding
from tests.store.project import PER_SHARD, Project, assert_equal_trees, copy, few_a_shard, snapshot
from tests.store.rebuilding import LAST_BUILD, NAMES

built_once = rebuilding.built_once
project = rebuilding.project


# Equal bytes.


def test_two_builds_in_two_folders_are_equal_byte_for_byte(project, tmp_path):
    other = Project(copy(project.root, tmp_path / "elsewhere" / "deeper", LAST_BUILD))
    assert not other.cache.exists()
    other.build()
    assert_equal_trees(snapshot(other.root), snapshot(project.root))


@pytest.mark.parametrize("workers", [2, 3])
def test_bytes_do_not_depend_on_the_number_of_workers(project, tmp_path, workers):
    other = Project(copy(project.root, tmp_path / "other", LAST_BUILD))
    other.build(workers=workers)
    assert_equal_trees(snapshot(other.root), snapshot(project.root))


def test_frames_do_not_depend_on_the_size_of_shards_or_on_the_neighbours(project, tmp_path):
    other = Project(project.root, cache="other.zarr")
    other.list(*reversed(NAMES))
    other.build(per_shard=640)
    assert len(other.store().index.commits) == 1
    for name in NAMES:
        np.testing.assert_array_equal(other.frames(name), project.frames(name))


def test_a_store_keeps_the_shard_size_it_was_made_with(project):
    project.record("new.wav", 0.55)
    project.list(*NAMES, "new.wav")
    project.build(per_shard=640)
    store = project.store()
    row = store.find("new.wav")
    assert store.layout.instances_per_shard == PER_SHARD
    assert row.first_instance % PER_SHARD == 0 and row.instances == 6, "in two shards of its own"
    assert len(store.read_frames(row)) == 550


def test_a_second_build_changes_no_file_and_computes_nothing(project):
    before = {place: place.stat() for place in project.cache.rglob("*")}
    bytes_before = snapshot(project.root)
    second = project.build()
    assert (second.computed, second.report.computed, second.report.kept) == (set(), 0, len(NAMES))
    assert_equal_trees(snapshot(project.root), bytes_before)
    for place, stat in before.items():
        now = place.stat()
        assert (now.st_mtime_ns, now.st_ino) == (stat.st_mtime_ns, stat.st_ino), place


def test_a_second_build_imports_no_torch(project):
    code = (
        "import sys; from pathlib import Path; from batcache.config.settings import DataConfig;"
        "from batcache.manifest.manifest import read_manifest; from batcache.store.build.build import build;"
        "config = DataConfig(n_mels=16, instance_s=0.1);"
        "report = build(read_manifest([Path('clips.csv')]), Path('features.zarr'), config);"
        "assert report.kept == 5, report;"
        "print(*sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'torchaudio', 'nnAudio', 'zarr'}))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=project.root, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr


def test_recordings_are_computed_on_one_thread_and_the_number_is_put_back(project):
    import torch

    before = torch.get_num_threads()
    project.record("new.wav")
    project.list("new.wav")
    during: set[int] = set()

    def look(progress: Progress) -> None:
        if progress.stage == "build":
            during.add(torch.get_num_threads())

    torch.set_num_threads(3)
    try:
        manifest = read_manifest([project.csv])
        build(manifest, project.cache, project.config, device="cpu", workers=1, on_progress=look)
        assert (during, torch.get_num_threads()) == ({1}, 3)
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_a_build_does_not_depend_on_assertions_being_checked(project, tmp_path):
    code = (
        "from pathlib import Path; from tests.store.project import Project;"
        "import sys; project = Project(Path(sys.argv[1])); project.build()"
    )
    other = Project(copy(project.root, tmp_path / "other", LAST_BUILD))
    here = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-O", "-c", code, str(other.root)], cwd=here, check=True)
    assert_equal_trees(snapshot(other.root), snapshot(project.root))


def test_progress_counts_every_file_and_every_computed_recording(project):
    project.record("new.wav", 0.3)
    project.list(*NAMES, "new.wav")
    told: list[Progress] = []
    with few_a_shard():
        manifest = read_manifest([project.csv])
        build(manifest, project.cache, project.config, device="cpu", workers=2, on_progress=told.append)
    seen = [(progress.stage, progress.done, progress.total) for progress in told]
    assert seen == [("scan", n, 6) for n in range(1, 7)] + [("plan", 0, None), ("build", 1, 1)]


def test_the_store_knows_no_clock_and_no_host_and_the_log_beside_it_does(project):
    lines = (project.root / "features.zarr.log").read_text().splitlines()
    (entry,) = map(json.loads, lines)
    assert (entry["computed"], entry["kept"], entry["rejected"]) == (5, 0, 0)
    assert entry["began"].endswith("Z")
    held = b"".join(snapshot(project.cache).values())
    assert entry["host"].encode() not in held and str(project.root).encode() not in held


# Several writers.


@pytest.fixture
def slow_first_writer(monkeypatch):
    """Shard 0 reaches the disk once three later ones are there; ``outcome`` is then raised, if it is an error."""
    from batcache.store.build import writers as module

    outcome: list[BaseException] = []
    replacing = module.replacing

    @contextmanager
    def slowly(path):
        with replacing(path) as file:
            yield file
            if path.parts[-3] == "0":
                limit = time.monotonic() + 60
                while not all(path.parents[2].joinpath(k, "0", "0").exists() for k in "123"):
                    assert time.monotonic() < limit
                    time.sleep(0.01)
                time.sleep(0.3)
                if outcome:
                    raise outcome[0]

    monkeypatch.setattr(module, "replacing", slowly)
    return outcome


@pytest.fixture
def four_shards(tmp_path: Path) -> Project:
    project = Project(tmp_path / "four shards")
    names = [f"{i}.wav" for i in range(8)]
    for name in names:
        project.record(name, 0.15)
    project.list(*names)
    return project


def test_records_appear_in_order_though_the_first_shard_is_written_last(four_shards, slow_first_writer):
    four_shards.build(workers=4)
    times = [(four_shards.cache / "commits" / f"{k}.json").stat().st_mtime_ns for k in range(4)]
    assert times == sorted(times)
    shard = four_shards.cache / "instances" / "c" / "0" / "0" / "0"
    assert times[0] >= shard.stat().st_mtime_ns


def test_what_comes_behind_a_shard_that_cannot_be_written_does_not_count(four_shards, slow_first_writer):
    slow_first_writer.append(OSError(errno.EIO, os.strerror(errno.EIO)))
    with pytest.raises(StoreError, match=os.strerror(errno.EIO)):
        four_shards.build(workers=4)
    assert list(four_shards.store().index.recordings) == []
    slow_first_writer.clear()
    four_shards.build(workers=4)
    assert len(list(four_shards.store().index.recordings)) == 8


def interrupt_building(progress: Progress) -> None:
    """Press Ctrl-C at the first recording that is done."""
    if progress.stage == "build":
        raise KeyboardInterrupt


def test_stopped_while_shards_are_written_those_in_hand_are_finished_and_count(four_shards):
    with few_a_shard():
        manifest = read_manifest([four_shards.csv])
        with pytest.raises(KeyboardInterrupt):
            build(manifest, four_shards.cache, four_shards.config, "cpu", 4, on_progress=interrupt_building)
    written = len(list((four_shards.cache / "instances" / "c").iterdir()))
    assert 1 <= written == len(four_shards.store().index.commits)


# Other settings, other places.


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"n_mels": 20}, "n_mels is 16, asked for 20"),
        ({"fmin": 15_000.0}, "fmin is 10000.0, asked for 15000.0"),
        ({"instance_s": 0.2}, "an instance is 100 frames, asked for 200"),
        ({"hop_length": 128, "instance_s": 0.05}, "hop_length is 256, asked for 128"),
    ],
)
def test_a_store_of_other_settings_is_refused_naming_both_sides_and_stays(project, changed, said):
    before = snapshot(project.root)
    project.config = replace(project.config, **changed)
    with pytest.raises(StoreError, match=said) as caught:
        project.build()
    assert caught.value.place == str(project.cache)
    assert_equal_trees(snapshot(project.root), before)


def test_settings_that_change_no_number_are_not_compared(project):
    project.config = replace(project.config, sample_rate=250_000, bag_size=3)
    assert project.build().computed == set()


def test_what_a_file_manager_left_in_the_store_is_left_alone(project):
    for folder in ("", "instances", "instances/c"):
        (project.cache / folder / ".DS_Store").write_bytes(b"Bud1")
    assert project.build().computed == set()
    assert (project.cache / "instances" / "c" / ".DS_Store").exists()


def test_the_store_remembers_its_manifest_by_relative_posix_paths(project):
    note = json.loads((project.cache / "last_build.json").read_bytes())
    assert note == {"csvs": ["../clips.csv"], "split_of": {}, "data_dir": "..", "allow_outside": False, "rejected": {}}
    (project.root / "list").mkdir()
    moved = (project.root / "clips.csv").rename(project.root / "list" / "x y.csv")
    manifest = read_manifest([moved], project.root, split_of={moved: "test"})
    build(manifest, project.cache, project.config)
    note = json.loads((project.cache / "last_build.json").read_bytes())
    assert (note["csvs"], note["split_of"]) == (["../list/x y.csv"], {"../list/x y.csv": "test"})


def test_a_project_that_moves_keeps_working(project, tmp_path):
    moved = Project(project.root.rename(tmp_path / "moved"))
    sources = moved.store().last_build()
    assert (sources.csvs, sources.data_dir) == ((moved.csv.resolve(),), moved.root.resolve())
    assert read_manifest(sources.csvs, sources.data_dir).species == ("Myotis",)
    assert moved.build().computed == set()


def test_paths_given_relative_to_the_working_folder_are_found_from_any_other(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project.root)
    build(read_manifest([Path("clips.csv")]), Path("features.zarr"), project.config)
    monkeypatch.chdir(tmp_path)
    assert project.store().last_build().csvs == (project.csv.resolve(),)


@pytest.mark.skipif(os.name == "nt", reason="making links needs privileges on Windows")
def test_a_store_behind_a_link_finds_its_manifest(project, tmp_path):
    (tmp_path / "big disk").mkdir()
    project.cache.rename(tmp_path / "big disk" / "features.zarr")
    project.cache.symlink_to(tmp_path / "big disk" / "features.zarr", target_is_directory=True)
    project.build()
    assert project.store().last_build().csvs == (project.csv.resolve(),)
    assert Store(tmp_path / "big disk" / "features.zarr").last_build().data_dir == project.root.resolve()


def test_portable_paths_are_posix_and_relative(tmp_path):
    assert portable(tmp_path / "a" / "b.csv", tmp_path / "c" / "f.zarr") == "../../a/b.csv"
    assert portable(tmp_path, tmp_path) == "."
