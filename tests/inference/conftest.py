"""Recordings and a model that has been trained on their like."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from batcache.inference.model_file import ModelFile, open_model
from batcache.inference.predict import PredictReport, predict
from batcache.manifest.find_recordings import find_recordings
from tests.small_world import write_recordings

CPU = torch.device("cpu")
Judge = Callable[..., PredictReport]


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recordings of the small world, 27 files of which one is broken and one a copy. To be copied."""
    folder = tmp_path_factory.mktemp("sounds")
    write_recordings(folder)
    return folder


@pytest.fixture
def folder(sounds: Path, tmp_path: Path) -> Path:
    """A copy of the recordings to spoil."""
    return Path(shutil.copytree(sounds, tmp_path / "sounds"))


@pytest.fixture(scope="session")
def model(trained: Path) -> ModelFile:
    return open_model(trained)


@pytest.fixture
def judged(model: ModelFile, tmp_path: Path) -> Judge:
    """Judge a folder's recordings into ``out``, beside it by default."""

    def call(folder: Path, out: str = "out", **others: object) -> PredictReport:
        given = {"model": model, **others}
        return predict(find_recordings([folder]), given.pop("model"), tmp_path / out, CPU, workers=2, **given)  # type: ignore[arg-type]

    return call


@pytest.fixture(scope="session")
def undisturbed(sounds: Path, model: ModelFile, tmp_path_factory: pytest.TempPathFactory) -> PredictReport:
    """What a call makes of the recordings that nothing stops. Not to be changed."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    return predict(find_recordings([sounds]), model, out, CPU, workers=2)


def files_of(report: PredictReport) -> list[bytes]:
    """All that a call leaves, but for what is only needed to go on."""
    named = {".lock", "instances.npz", "predictions.csv", "scored.jsonl", "thresholds.csv"}
    assert {p.name for p in report.folder.iterdir()} == named
    return [f.read_bytes() for f in (report.table_file, report.thresholds_file, report.instances_file)]
