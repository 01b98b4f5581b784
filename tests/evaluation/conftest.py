"""The small world's run, judged once for all, and copied to be judged anew."""

import shutil
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from batcache.config.load import Layer
from batcache.evaluation.evaluate import choose_clips, evaluate
from batcache.inference.predictions import Predictions
from batcache.model.pretrained import save_pretrained
from batcache.model.start import find_trunk
from batcache.training.clips.bags import Bag, join
from batcache.training.runs import BEST
from tests.small_world import CPU, SETTINGS, SmallWorld


@pytest.fixture(scope="module")
def judged(small: SmallWorld, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Bag], Predictions]:
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("judged") / trained.name))
    report = evaluate(choose_clips(run / BEST, small.store, small.manifest, "test", as_trained=True), CPU)
    return list(join(small.manifest, small.store).bags), report.predictions


@pytest.fixture(scope="module")
def small_heads(small: SmallWorld, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Layer:
    """Settings of small heads on the small world's trunk, for an epoch."""
    trunk = tmp_path_factory.mktemp("trunk") / "trunk.pt"
    save_pretrained(trunk, find_trunk(trained))  # a trunk's file does not say what it has heard
    data = {**SETTINGS["data"], "cache": str(small.folder / "features.zarr")}
    model = {"init": str(trunk), "pooling_type": "max", "heads": 1, "head_size": 4, "rnn_hidden_size": 4}
    return {"data": data, "model": model, "training": {"epochs": 1, "simulated_sounds": 3}}


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, to write into."""
    return Path(shutil.copytree(trained, tmp_path / "runs" / trained.name))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved, to look into."""
    figures: list[Figure] = []
    save = Figure.savefig

    def note(figure: Figure, *arguments: object, **options: object) -> None:
        figures.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", note)
    return figures
