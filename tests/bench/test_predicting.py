"""The rows of predict: the same recordings for us and for the peer, and memory of a process of its own."""

import os
import sys
from pathlib import Path

import pytest

from batcache.bench.predicting import find_peer, measure_predict, write_model
from batcache.bench.recordings import Sample
from batcache.config.settings import Config
from batcache.errors import ConfigError
from batcache.model.checkpoint import load_checkpoint
from batcache.training.kernel import MOST_CENTRES

BATDETECT2 = os.environ.get("BATDETECT2_PYTHON")
"""The Python of an environment that has BatDetect2."""


@pytest.mark.slow
def test_without_its_peer_predict_is_measured_alone_and_says_so(sample: Sample, config: Config, tmp_path: Path) -> None:
    speed, memory = measure_predict(sample.first(2), config, tmp_path / "predict", 1, 0.02, None)
    assert speed.ours and speed.mark and speed.mark.limit == 20
    assert speed.theirs is None and "--batdetect2" in speed.note
    assert memory.ours and memory.ours > 0.1 and memory.is_met
    assert not (tmp_path / "predict").exists()


@pytest.mark.slow
@pytest.mark.skipif(BATDETECT2 is None, reason="BATDETECT2_PYTHON names no environment that has BatDetect2")
def test_the_peer_judges_the_same_recordings(sample: Sample, config: Config, tmp_path: Path) -> None:
    found = find_peer(Path(str(BATDETECT2)))
    _, row = measure_predict(sample.first(2), config, tmp_path / "predict", 1, 0, found)
    assert row.theirs and row.ratio and found and found.version in row.peer


def test_the_model_that_is_measured_has_the_parts_of_one_that_is_trained(tmp_path: Path) -> None:
    write_model(tmp_path / "model.pt", Config())
    model = load_checkpoint(tmp_path / "model.pt")
    assert model.trunk and model.hears_bats and model.centres == MOST_CENTRES


def test_an_environment_without_the_peer_is_refused() -> None:
    assert find_peer(None) is None
    for python in (Path(sys.executable), Path("no/such/python")):
        with pytest.raises(ConfigError, match="cannot import batdetect2"):
            find_peer(python)
