"""Predictions of four recordings that are there, one of them expanded ten times."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from batcache.survey.judged import Judged, read_judged
from tests.survey.predicted_folder import Said, write_predicted

FOUND = "=MILL/MILL_20241231_235900.wav"
TWO = "=MILL/MILL_20250101_000100.wav"
GROUP = "=MILL/slow_20250101_010000.wav"
NOTHING = "quiet.wav"
SAID = {
    FOUND: Said(
        scores=(0.9, 0.1, 0.1),
        evidence=((0.8, 0, 0), (0.75, 0, 0), (0.1, 0, 0), (0.6, 0, 0)),
        bat=0.99,
        duration_s=1.75,
        recorded_at="2024-12-31T23:59:00+01:00",
        place=(52.5, 13.4),
        recorder="Open Acoustic Devices AudioMoth",
    ),
    TWO: Said(scores=(0.6, 0.8, 0.1), evidence=((0.2, 0.3, 0),) * 3 + ((0.2, 0.35, 0),), bat=0.99),
    GROUP: Said(scores=(0.1, 0.45, 0.2), bat=0.9, expansion=10.0, duration_s=2.0),
    NOTHING: Said(calls=None, bat=0.01, evidence=((0, 0, 0),), duration_s=0.5),
}


def write_recordings(root: Path) -> None:
    for name, one in SAID.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        samples = np.random.default_rng(0).standard_normal(round(384_000 * one.duration_s)) * 0.01
        soundfile.write(root / name, samples, round(384_000 / one.expansion), subtype="PCM_16")


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """The folder of predictions, beside ``recordings``."""
    write_recordings(tmp_path / "recordings")
    rejected = {"broken.wav": "empty file (0 bytes)"}
    return write_predicted(tmp_path / "predictions", tmp_path / "recordings", SAID, rejected)


@pytest.fixture
def judged(predictions: Path) -> Judged:
    return read_judged(predictions)
