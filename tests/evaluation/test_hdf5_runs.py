"""Training and judging on an exported file give the numbers of the store, to the last bit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from batcache.errors import ManifestError
from batcache.evaluation.evaluate import choose_clips, evaluate
from batcache.manifest.manifest import read_manifest
from batcache.model.checkpoint import load_checkpoint
from batcache.store.hdf5.export import export
from batcache.store.hdf5.restore import restore
from batcache.store.open import open_store
from batcache.store.reader import Store
from batcache.training.clips.bags import join, read_bag, whole_recordings
from batcache.training.runs import BEST, read_run
from tests.small_world import CPU, SmallWorld, train_fully


@pytest.fixture(scope="module")
def exported(small: SmallWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("exported") / "features.h5"
    export(small.store.path, target)
    return target


def judge(run: Path, small: SmallWorld, store: Store) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    report = evaluate(choose_clips(run / BEST, store, small.manifest, "test", as_trained=True), CPU)
    with np.load(report.predictions_file) as predictions:
        return json.loads((run / "metrics.json").read_text())["test"], dict(predictions)


def assert_same_run(run: Path, other: Path, small: SmallWorld, store: Store) -> None:
    ours, theirs = (load_checkpoint(folder / BEST).weights for folder in (run, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    (metrics, predictions), (expected, scores) = judge(run, small, store), judge(other, small, small.store)
    apart = {"inputs": "", "cache": ""}  # which name the run and its cache
    assert metrics | apart == expected | apart
    assert all(predictions[name].tobytes() == scores[name].tobytes() for name in scores)


def test_the_file_trains_and_judges_to_the_same_numbers_as_its_store(small, exported, tmp_path) -> None:
    file = open_store(exported)
    other, _ = train_fully(small.config, small.store, small.manifest, tmp_path / "zarr")
    run, events = train_fully(small.config, file, small.manifest, tmp_path / "hdf5")
    assert any("broken.wav" in note for note in events[0].notes)
    assert_same_run(run, other, small, file)
    assert open_store((run / read_run(run)["cache"]).resolve()).path == exported.resolve()


def test_every_bag_is_the_same(small: SmallWorld, exported: Path) -> None:
    file = open_store(exported)
    ours, theirs = join(small.manifest, file), join(small.manifest, small.store)
    assert ours == theirs and ours.left_out
    for bag in ours.bags:
        for cut in (250, 77):
            assert torch.equal(read_bag(file, bag, cut), read_bag(small.store, bag, cut))


def test_a_restored_store_joins_the_same_bags(small: SmallWorld, exported: Path, tmp_path: Path) -> None:
    restore(exported, tmp_path / "again.zarr")
    again = Store(tmp_path / "again.zarr")
    assert join(small.manifest, again) == join(small.manifest, small.store)


def test_what_was_never_built_is_not_in_the_file_either(small: SmallWorld, exported: Path) -> None:
    csv = small.folder / "never.csv"
    csv.write_text("filename,Low,High,Sweep\nnever.wav,1,0,0\n")
    manifest = read_manifest([csv], small.folder)
    with pytest.raises(ManifestError, match=r"not in .*features.h5: never.wav"):
        join(manifest, open_store(exported))


def test_without_a_csv_every_recording_is_a_bag_without_labels(small: SmallWorld, exported: Path) -> None:
    bags = whole_recordings(open_store(exported))
    assert {bag.clip.filename for bag in bags} == {row.path for row in small.store.index.recordings}
    assert {bag.clip.labels for bag in bags} == {()}
