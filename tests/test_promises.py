"""What was made by front end 2 is there for good: it opens, is verified, exported, learnt from and judged; never mixed.

``frozen/front_end_2`` holds a store, its CSV, a finished run and an exported file, as batcache 0.1.0 wrote them. Its
recordings are gone. Nothing in it is ever changed, but for a new format version.
"""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import batcache
from batcache.config.features import FRONT_END_VERSION
from batcache.config.load import load_config
from batcache.config.settings import DataConfig
from batcache.config.yaml import read_sections
from batcache.errors import BatcacheError, RunError, StoreError
from batcache.manifest.manifest import read_manifest
from batcache.model.checkpoint import load_checkpoint
from batcache.storage.disk import write_file
from batcache.store.build.build import plan_build
from batcache.store.format.attributes import create_store
from batcache.store.format.commit import commit_path
from batcache.store.hdf5.export import export
from batcache.store.hdf5.restore import restore
from batcache.store.reader import Store
from batcache.store.summary import summarise
from batcache.store.upkeep.prune import prune
from batcache.store.upkeep.repair import repair
from batcache.store.upkeep.verify import verify
from batcache.training.runs import BEST, LAST

FROZEN = Path(__file__).parent / "frozen" / "front_end_2"
FINGERPRINT = "aa47addd648c206c95de523ed33c0f940e7688fdb4ea9e511e463a3441ff27a0"
BY_TWO = f"computed by front end 2, this batcache computes by front end {FRONT_END_VERSION}"
CPU = torch.device("cpu")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of all that front end 2 left."""
    return Path(shutil.copytree(FROZEN, tmp_path / "old"))


@pytest.fixture
def config(old: Path) -> DataConfig:
    """The settings that the store was built with."""
    return load_config(base={"data": read_sections(old / "settings.yaml")["data"]}).data


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def record(path: Path, rate: int = 256_000) -> None:
    samples = 0.02 * np.random.default_rng(0).standard_normal(rate)
    soundfile.write(path, samples, rate, subtype="PCM_16")


def test_front_end_2_is_not_the_one_of_today(config: DataConfig) -> None:
    assert config.fingerprint_by(2) == FINGERPRINT != config.fingerprint


@pytest.mark.parametrize("name", ["store", "store.h5"])
def test_an_old_store_opens_and_says_by_which_front_end_it_was_computed(old: Path, name: str) -> None:
    store = batcache.open_store(old / name)
    assert (store.fingerprint, store.front_end_version) == (FINGERPRINT, 2)
    said = summarise(store)
    assert said["front end"].startswith(BY_TWO) and said["fingerprint"] == FINGERPRINT
    assert said["recordings"].startswith("12 ")
    frames = store.read_frames(store.find("night0_0.wav"))
    assert frames.shape == (150, 8) and np.isfinite(frames).all() and frames.any()
    assert {row.overscale for row in store.index.recordings} == {0}  # which nobody looked for


def test_an_old_store_is_verified_but_not_beside_features_of_today(old: Path) -> None:
    report = verify(old / "store", workers=1)
    assert not report.damages and report.instances == 26
    with pytest.raises(StoreError, match=rf"{BY_TWO}: nothing to compare\. Run it without --deep"):
        verify(old / "store", sample=1, data_dir=old, workers=1)


def test_an_old_store_is_exported_and_restored_to_what_it_was(old: Path) -> None:
    export(old / "store", old / "again.h5")
    restore(old / "again.h5", old / "from-again")
    restore(old / "store.h5", old / "from-then")
    for name in ("from-again", "from-then"):
        there, expected = Store(old / name), Store(old / "store")
        assert there.fingerprint == FINGERPRINT and there.index == expected.index
        np.testing.assert_array_equal(there.read_instances(0, 26), expected.read_instances(0, 26))
        assert (old / name / "zarr.json").read_bytes() == (old / "store" / "zarr.json").read_bytes()


def test_an_old_model_gives_the_scores_that_it_gave(old: Path) -> None:
    expected = (old / "run/logs/test_predictions.csv").read_text().splitlines()
    before = np.array([row[3:] for row in csv.reader(expected[1:])], float)
    made = batcache.evaluate(old / "run", device="cpu")
    with np.load(old / "run/logs/test_predictions.npz") as now:
        assert now["filenames"].tolist() == [row.split(",")[0] for row in expected[1:]]
        np.testing.assert_allclose(now["scores"], before, rtol=0, atol=1e-4)  # the CSV has four decimals
    assert made.epoch == 1
    assert [load_checkpoint(old / "run" / name).front_end_version for name in (BEST, LAST)] == [2, 2]


def test_models_are_trained_on_an_old_store_and_judged_there(old: Path) -> None:
    settings = {
        "data": {"instance_s": 0.25, "bag_size": 2},
        "model": {"conv_layers": [2], "rnn_hidden_size": 2, "rnn_layers": 1},
        "training": {"epochs": 1, "batch_size": 4, "run_dir": str(old / "runs")},
    }
    run = batcache.train(old / "clips.csv", old / "store", config=settings, device="cpu").run
    assert load_checkpoint(run / BEST).fingerprint == FINGERPRINT
    assert batcache.evaluate(run, device="cpu").metrics.clips == 4


def test_an_old_store_is_pruned(old: Path) -> None:
    rows = (old / "clips.csv").read_text().splitlines()
    (old / "fewer.csv").write_text("\n".join(rows[:-4]) + "\n")
    prune(old / "store", read_manifest([old / "fewer.csv"]))
    store = Store(old / "store")
    assert len(store.index.by_path) == 8 and {c.fingerprint for c in store.index.commits.values()} == {FINGERPRINT}
    assert not verify(old / "store", workers=1).damages


# --- never mixed ---


def test_nothing_is_built_into_an_old_store(old: Path, config: DataConfig) -> None:
    record(old / "new.wav")
    (old / "new.csv").write_text("filename,Myotis myotis,Nyctalus noctula\nnew.wav,1,0\n")
    before = files_of(old / "store")
    settings = {"data": read_sections(old / "settings.yaml")["data"]}
    for act in (
        lambda: batcache.build(old / "new.csv", old / "store", config=settings, device="cpu"),
        lambda: plan_build(read_manifest([old / "new.csv"]), old / "store", config, workers=1),
    ):
        with pytest.raises(StoreError, match=rf"store: {BY_TWO}\. Build into a new --cache"):
            act()
    assert files_of(old / "store") == before
    batcache.build(old / "new.csv", old / "new.zarr", config=settings, device="cpu")
    assert Store(old / "new.zarr").front_end_version == FRONT_END_VERSION


def test_an_old_model_is_not_judged_on_features_of_today_nor_a_new_one_on_old_features(
    old: Path, config: DataConfig
) -> None:
    create_store(old / "new.zarr", config.features, Store(old / "store").layout)
    said = f"holds other features than the model knows: front end {FRONT_END_VERSION}, trained on 2"
    with pytest.raises(BatcacheError, match=said):
        batcache.evaluate(old / "run", cache=old / "new.zarr", device="cpu")
    document = torch.load(old / "run" / BEST, weights_only=True)
    torch.save(document | {"fingerprint": config.fingerprint}, old / "run" / BEST)
    with pytest.raises(BatcacheError, match=f"front end 2, trained on {FRONT_END_VERSION}"):
        batcache.evaluate(old / "run", device="cpu")


def test_damage_of_an_old_store_is_mended_only_where_nothing_is_computed(old: Path) -> None:
    cache = old / "store"
    for row in Store(cache).index.recordings:
        record(old / row.path)
    whole = files_of(cache)
    write_file(cache / "instances/zarr.json", b"{}")
    assert not repair(cache, verify(cache, workers=1), old, 1).left
    assert files_of(cache) == whole

    shard = cache / "instances/c/0/0/0"
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    report = repair(cache, verify(cache, workers=1), old, 1)
    assert set(report.impossible.values()) == {BY_TWO} and report.left and not report.recomputed
    assert shard.read_bytes() == content

    commit_path(cache, 0).write_bytes(b"{")
    report = repair(cache, verify(cache, workers=1), old, 1)
    assert report.impossible == {"commits/0.json": f"what it held cannot be built again: {BY_TWO}"}
    assert commit_path(cache, 0).read_bytes() == b"{" and shard.read_bytes() == content


def test_a_store_of_a_front_end_that_is_not_known_is_refused(old: Path) -> None:
    document = json.loads((old / "store/zarr.json").read_bytes())
    document["attributes"]["fingerprint"] = DataConfig().fingerprint
    (old / "store/zarr.json").write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"computed by another front end .*Upgrade batcache, or build into a new"):
        batcache.open_store(old / "store")


def test_a_model_of_a_front_end_that_is_not_known_is_refused(old: Path) -> None:
    document = torch.load(old / "run" / BEST, weights_only=True)
    torch.save(document | {"fingerprint": "0" * 64}, old / "run" / BEST)
    with pytest.raises(RunError, match=r"a front end that this batcache does not know\. Upgrade batcache"):
        batcache.evaluate(old / "run", device="cpu")
