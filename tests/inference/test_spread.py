"""Recordings judged by the workers of a cluster get the rows and scores that one machine gives them."""

import importlib.util
from pathlib import Path

import pytest

from batcache.cluster import open_cluster
from batcache.inference.predict import PredictReport
from batcache.store.reader import Store
from tests.command import batcache
from tests.inference.conftest import Judge, files_of
from tests.store.dask_cluster import dask_cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="pip install 'batcache[cluster]'"),
]


def test_local_workers_write_the_same_files_and_a_call_that_was_stopped_goes_on(
    undisturbed: PredictReport, folder: Path, judged: Judge
) -> None:
    """The broken recording, and the copy, are told as they are by one machine."""

    def stop(progress: object) -> None:
        if getattr(progress, "done", 0) == 9:
            raise KeyboardInterrupt

    with open_cluster(None, 2) as workers:
        with pytest.raises(KeyboardInterrupt):
            judged(folder, cluster=workers, on_progress=stop)
        report = judged(folder, cluster=workers)
    assert 0 < report.judged < undisturbed.judged
    assert files_of(report) == files_of(undisturbed)


def test_the_command_judges_by_a_scheduler_and_keeps_features_by_it(
    undisturbed: PredictReport, folder: Path, trained: Path, tmp_path: Path
) -> None:
    with dask_cluster(tmp_path / "dask", 2) as (cluster, _):
        given = ("predict", str(folder), "--model", str(trained), "--device", "cpu", "--scheduler", cluster.address)
        done = batcache(*given, "--out", str(tmp_path / "out"), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        kept = batcache(*given, "--out", str(tmp_path / "kept"), "--cache", "kept.zarr", cwd=tmp_path)
        assert kept.returncode == 0, kept.stderr
    for name in ("predictions.csv", "instances.npz"):
        assert (tmp_path / "out" / name).read_bytes() == (undisturbed.folder / name).read_bytes()
    rows = {row.path for row in Store(tmp_path / "kept.zarr").index.recordings if not row.failure}
    assert len(rows) == len(undisturbed.predictions.filenames)
    assert (tmp_path / "kept" / "instances.npz").read_bytes() == undisturbed.instances_file.read_bytes()
