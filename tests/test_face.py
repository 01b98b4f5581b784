"""The Python face: build, train, evaluate, draw, as a notebook would."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import batcache
from batcache.progress import Progress
from tests.small_world import SETTINGS, SmallWorld, write_recordings


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recordings and their manifest, not built. To be copied."""
    folder = tmp_path_factory.mktemp("face")
    write_recordings(folder)
    return folder


def test_a_notebook_builds_trains_judges_and_draws(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(project, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    told: list[Progress] = []
    built = batcache.build("manifest.csv", config=SETTINGS, device="cpu", on_progress=told.append)
    assert list(built.rejected) == ["broken.wav"] and built.computed == 24
    assert {progress.stage for progress in told} == {"scan", "plan", "build"}
    told.clear()
    trained = batcache.train(config=SETTINGS, device="cpu", on_progress=told.append)
    assert trained.epochs == 2 and {"epoch 1", "epoch 2, validating"} <= {progress.stage for progress in told}
    report = batcache.evaluate(trained.run, device="cpu")
    table = report.predictions.table()
    assert list(table) == ["filename", "start_s", "duration_s", "Low", "High", "Sweep"]
    assert {len(column) for column in table.values()} == {6}
    np.testing.assert_array_equal(table["High"], report.predictions.scores[:, 1])
    judged = batcache.predict(["night0", "late.wav"], trained.run, "judged", device="cpu")
    rows = judged.table()
    assert rows["path"].tolist() == ["late.wav", "night0/0.wav", "night0/1.wav", "night0/2.wav"]
    np.testing.assert_array_equal(rows["High"], judged.predictions.scores[:, 1])
    assert batcache.predict("features.zarr", trained.run, "cached", device="cpu").judged == 24
    for target in (trained.run, "features.zarr"):
        assert batcache.draw(target, "page.png").read_bytes().startswith(b"\x89PNG")


def test_settings_are_compared_from_python(small: SmallWorld, tmp_path: Path) -> None:
    config = {**SETTINGS, "training": {**SETTINGS["training"], "epochs": 1}}
    csv, cache = small.folder / "manifest.csv", small.folder / "features.zarr"
    told: list[Progress] = []
    report = batcache.sweep(
        {"training.seed": range(1)}, tmp_path / "out", csv, cache, folds=2, config=config, device="cpu",
        on_progress=told.append,
    )  # fmt: skip
    (row,), (standing,) = report.rows, report.standings
    assert standing.mean == row.macro_average_precision and 0 < row.macro_average_precision <= 1
    assert {progress.stage for progress in told} >= {"sweep", "combination 1 of 1, fold 2"}


def test_a_store_gives_frames_bags_and_its_index_as_arrays(small: SmallWorld) -> None:
    store = batcache.open_store(small.folder / "features.zarr")
    row = store.find("night0/0.wav")
    assert row is not None
    frames = store.frames("night0/0.wav")
    np.testing.assert_array_equal(frames, store.read_frames(row))
    bag, mask = store.bag("night0/0.wav", instance_s=0.2)
    assert bag.shape == (*mask.shape, 64) and mask.shape[1] == 100 and mask.sum() == len(frames)
    np.testing.assert_array_equal(bag.reshape(-1, 64)[: len(frames)], frames)
    assert not bag.reshape(-1, 64)[len(frames) :].any()
    table = store.table()
    assert table["path"].tolist() == [row.path for row in store.index.recordings]
    assert table["duration_s"].dtype == np.float64 and table["frames"].dtype == np.int64


def test_what_is_wrong_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(batcache.BatcacheError, match=r"no cache here\. Run `batcache build"):
        batcache.open_store(tmp_path / "none.zarr")


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, batcache; print(*{'torch', 'numpy', 'zarr', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.strip()


def test_it_is_typed() -> None:
    assert (Path(batcache.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize("what", ["build", "prune", "export"])
def test_what_a_listener_raises_comes_out_as_it_is(small: SmallWorld, project: Path, tmp_path: Path, what: str) -> None:
    """It is no error of the disk, and nothing is lost: the same call does what was left."""
    from batcache.store.hdf5.export import export
    from batcache.store.upkeep.prune import prune

    shutil.copytree(project, tmp_path / "project")
    shutil.copytree(small.folder / "features.zarr", tmp_path / "features.zarr")

    def build(**told: object) -> object:
        config = {**SETTINGS, "data": {**SETTINGS["data"], "cache": str(tmp_path / "new.zarr")}}
        return batcache.build(tmp_path / "project" / "manifest.csv", config=config, device="cpu", **told)

    calls = {
        "build": build,
        "prune": lambda **told: prune(tmp_path / "features.zarr", small.read(small.rows()[:5]), **told),
        "export": lambda **told: export(tmp_path / "features.zarr", tmp_path / "features.h5", **told),
    }

    def break_off(progress: Progress) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        calls[what](on_progress=break_off)
    assert calls[what]()


@pytest.mark.parametrize("config", [{"training": 3}, {"data": None}, {"training": {"epoch": 3}}])
def test_settings_of_any_shape_are_taken_or_refused_in_our_words(small: SmallWorld, config: dict[str, object]) -> None:
    if config == {"data": None}:
        with pytest.raises(batcache.BatcacheError, match="no cache here"):
            batcache.train(small.folder / "manifest.csv", "no.zarr", config=config)
    else:
        with pytest.raises(batcache.BatcacheError, match="training"):
            batcache.train(small.folder / "manifest.csv", small.folder / "features.zarr", config=config)


def test_a_device_of_another_name_is_refused(small: SmallWorld) -> None:
    with pytest.raises(batcache.BatcacheError, match="'gpu', expected auto, cpu or cuda"):
        batcache.train(small.folder / "manifest.csv", small.folder / "features.zarr", device="gpu")
