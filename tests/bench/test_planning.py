"""The laws of ``batcache.bench.planning``: what it measures is a build that finds everything done."""

import os
from types import SimpleNamespace

import pytest

from batcache.bench import planning
from batcache.bench.planning import begin_training, make_up, measure_planning, planning_rows
from batcache.config.settings import DataConfig
from batcache.manifest.manifest import read_manifest
from batcache.store.build.build import build
from batcache.store.reader import Store
from tests.store.project import assert_equal_trees, snapshot


def test_a_planning_keeps_every_recording_computes_none_and_leaves_nothing_behind(tmp_path):
    result = measure_planning(2000, tmp_path)
    assert (result.recordings, result.kept, result.computed) == (2000, 2000, 0)
    assert result.shards == 32, "of 64 recordings, ten instances each; the last of 16"
    assert min(result.open_seconds, result.seconds) > 0
    assert result.train_seconds is None, "nothing to validate on"
    assert 2000 * 200 < result.bytes_on_disk < 2000 * 2000
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell what a process had resident at most")
def test_the_peak_is_that_of_the_build_and_not_of_the_process_that_asks(tmp_path):
    here = bytearray(os.urandom(1024)) * (1 << 19)
    result = measure_planning(100, tmp_path)
    assert 10e6 < result.open_peak_bytes < len(here) and 10e6 < result.peak_bytes < len(here)


def test_a_made_up_store_is_one_that_a_build_has_nothing_to_add_to(tmp_path):
    csv, cache = make_up(130, tmp_path)
    before = snapshot(cache / "commits") | {"array": (cache / "instances" / "zarr.json").read_bytes()}
    report = build(read_manifest([csv]), cache, DataConfig())
    after = snapshot(cache / "commits") | {"array": (cache / "instances" / "zarr.json").read_bytes()}
    assert_equal_trees(after, before)
    assert (report.recordings, report.instances, report.audio_s) == (130, 1300, 650.0)
    first = {row.path: row.first_instance for row in Store(cache).index.recordings}
    assert [first[f"site-00000/20240601_{n:06}T.wav"] for n in (0, 63, 64, 129)] == [0, 630, 640, 1290]


def test_of_enough_nights_a_training_is_begun_too(tmp_path):
    rows = list(planning_rows(4500, tmp_path))
    begun = [row for row in rows if row.section == "a training's start, 4,500 recordings"]
    assert [row.what for row in begun][:1] == ["time"] and all(row.ours > 0 and row.mark is None for row in begun)
    assert list(tmp_path.iterdir()) == []


def test_the_frames_of_a_made_up_store_are_verified_zeros(tmp_path):
    _, cache = make_up(70, tmp_path, DataConfig(instance_s=0.01), seconds=0.095)
    store = Store(cache)
    for row in store.index.recordings:
        assert (
            row.duration_s == 0.095 and store.read_frames(row).shape == (95, 128) and not store.read_frames(row).any()
        )


def test_a_training_of_a_made_up_store_begins_and_leaves_nothing(tmp_path):
    csv, cache = make_up(6500, tmp_path)
    build(read_manifest([csv]), cache, DataConfig())
    assert begin_training(csv, cache, tmp_path / "runs") == 4500, "nights 0 to 3 and 6, which is half a one"
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_disk_without_sparse_files_is_not_filled_and_a_row_says_so(tmp_path, monkeypatch):
    assert planning._keeps_holes(tmp_path) or os.name == "nt"
    windows = SimpleNamespace(fstat=lambda handle: SimpleNamespace(st_size=1 << 20))  # no st_blocks
    monkeypatch.setattr(planning, "os", windows)
    (row,) = planning_rows(20_000, tmp_path)
    assert row.ours is None and "no sparse files" in row.note and list(tmp_path.iterdir()) == []
