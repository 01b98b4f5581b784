"""The laws of ``batcache.bench.planning``: what it measures is a build that finds everything done."""

import os
from types import SimpleNamespace

import pytest

from batcache.bench import planning
from batcache.bench.planning import make_up, measure_planning, planning_rows
from batcache.config.settings import DataConfig
from batcache.manifest.manifest import read_manifest
from batcache.store.build.build import build
from batcache.store.reader import Store
from tests.store.project import assert_equal_trees, snapshot


def test_a_planning_keeps_every_recording_computes_none_and_leaves_nothing_behind(tmp_path):
    result = measure_planning(2000, tmp_path)
    assert (result.recordings, result.kept, result.computed) == (2000, 2000, 0)
    assert result.shards == 32, "of 64 recordings, ten instances each; the last of 16"
    assert result.open_seconds > 0 and result.seconds > 0
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


def test_a_disk_without_sparse_files_is_not_filled_and_a_row_says_so(tmp_path, monkeypatch):
    assert planning._keeps_holes(tmp_path) or os.name == "nt"
    windows = SimpleNamespace(fstat=lambda handle: SimpleNamespace(st_size=1 << 20))  # no st_blocks
    monkeypatch.setattr(planning, "os", windows)
    (row,) = planning_rows(20_000, tmp_path)
    assert row.ours is None and "no sparse files" in row.note and list(tmp_path.iterdir()) == []
