"""One small sample, and a store of it, for all tests of the benchmark."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from batcache.bench.building import Builder
from batcache.bench.recordings import Sample, choose
from batcache.config.load import load_config
from batcache.config.settings import Config, DataConfig
from batcache.manifest.manifest import read_manifest
from tests.conftest import noise, tone

RATES = (256_000, 384_000, 384_000, 250_000, 192_000, 384_000)
SMALL = load_config(
    base={
        "data": {"instance_s": 0.1},
        "model": {"conv_layers": [4, 8], "rnn_hidden_size": 8},
        "training": {"batch_size": 2},
    }
)


@pytest.fixture(scope="session")
def config() -> Config:
    return SMALL


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Six recordings of 0.6 s at four rates, each another tone in noise; the manifest also lists a copy and a wreck."""
    folder = tmp_path_factory.mktemp("bench")
    rows = ["filename,split,group,Bat"]
    for i, rate in enumerate(RATES):
        samples = noise(0.6, rate, 0.01, seed=i) + tone(30_000 + 8_000 * i, 0.6, rate)
        soundfile.write(folder / f"{i}.wav", samples, rate, subtype="PCM_16")
        rows.append(f"{i}.wav,{('train', 'val', 'test')[i % 3]},night {i},{i % 2}")
    (folder / "copy.wav").write_bytes((folder / "0.wav").read_bytes())
    (folder / "wreck.wav").write_bytes(b"RIFF, but no more")
    (folder / "all.csv").write_text("\n".join([*rows, "copy.wav,train,night 0,0", "wreck.wav,train,night 9,0"]) + "\n")
    return choose(read_manifest([folder / "all.csv"]), 64, DataConfig())


@pytest.fixture(scope="session")
def built(sample: Sample, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the sample."""
    builder = Builder(sample, config.data, tmp_path_factory.mktemp("built"), "cpu")
    builder()
    return builder.store


@pytest.fixture(scope="session")
def frames(sample: Sample, config: Config) -> list[np.ndarray]:
    """The features of each recording by the front end."""
    from batcache.bench.epochs import compute_all
    from batcache.features.frontend import FrontEnd

    return compute_all(FrontEnd(config.data.features), sample)
