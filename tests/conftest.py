"""What several rooms' tests share: real recordings, and small ones made on the spot."""

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("WANDB_MODE", "offline")

import numpy as np
import pytest
import soundfile

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
