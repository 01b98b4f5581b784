"""What several rooms' tests share: real recordings, and small ones made on the spot."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("WANDB_MODE", "offline")

import numpy as np
import pytest
import soundfile

if TYPE_CHECKING:
    from tests.small_world import SmallWorld

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background begins deaf to Ctrl-C

REAL = Path(__file__).parents[1] / ".." / "shared" / "data" / "bats"


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real recordings, outside the repo."""
    if not REAL.is_dir():
        pytest.skip("the real recordings are not beside this repo (../shared/data/bats)")
    return REAL.resolve()


def tone(hz: float, seconds: float, rate: int, amplitude: float = 0.1) -> np.ndarray:
    """A sine, float64 in -1..1."""
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def noise(seconds: float, rate: int, deviation: float = 0.01, seed: int = 0) -> np.ndarray:
    """White noise, float64."""
    return deviation * np.random.default_rng(seed).standard_normal(round(seconds * rate))


@pytest.fixture
def write_wav(tmp_path: Path) -> Callable[..., Path]:
    """Write samples under ``tmp_path / name`` and return the path. ``format`` and ``subtype`` as in soundfile."""

    def write(name: str, samples: np.ndarray, rate: int = 384_000, subtype: str = "PCM_16", **options: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate, subtype=subtype, **options)
        return path

    return write


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SmallWorld]":
    """The small store that most tests of training and evaluation share. Its WAVs are gone."""
    import torch

    from tests.small_world import build_small_world

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield build_small_world(tmp_path_factory.mktemp("small"))
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def trained(small: "SmallWorld", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the small world's manifest. Not to be changed: copy it."""
    from tests.small_world import train_fully

    run, _ = train_fully(small.config, small.store, small.manifest, tmp_path_factory.mktemp("runs"))
    return run
