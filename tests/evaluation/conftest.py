"""The small world's run, judged once for all, and copied to be judged anew."""

import shutil
from pathlib import Path

import pytest

from batcache.evaluation.evaluate import choose_clips, evaluate
from batcache.inference.predictions import Predictions
from batcache.training.clips.bags import Bag, join
from batcache.training.runs import BEST
from tests.small_world import CPU, SmallWorld


@pytest.fixture(scope="module")
def judged(small: SmallWorld, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Bag], Predictions]:
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("judged") / trained.name))
    report = evaluate(choose_clips(run / BEST, small.store, small.manifest, "test", as_trained=True), CPU)
    return list(join(small.manifest, small.store).bags), report.predictions


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, to write into."""
    return Path(shutil.copytree(trained, tmp_path / "runs" / trained.name))
