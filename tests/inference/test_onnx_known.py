"""What a checkpoint knows of clips its ONNX file knows too: thresholds, probabilities, groups, and without torch."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batcache.inference.calibration.of_model import calibrate_model
from batcache.inference.calibration.profile import profile_path
from batcache.inference.model_file import open_model
from batcache.inference.onnx.export import export_model
from batcache.inference.predict import PredictReport, predict
from batcache.inference.recordings.journal import NAME
from batcache.inference.torch_model import open_checkpoint
from batcache.inference.verdicts import LEARNT, VALIDATED
from batcache.manifest.find_recordings import find_recordings
from batcache.model.checkpoint import save_checkpoint
from batcache.model.provenance import TrainedOn, shorten_content
from tests.conftest import noise, tone
from tests.features.whole import WriteWav
from tests.inference.calibration.models import held_out
from tests.inference.exported import TORCH, assert_alike, draw_model, run_without

RATE = 96_000
NAMES = [f"MILL_20240412_22{i:02d}00.wav" for i in range(12)]


@pytest.fixture
def sounds(write_wav: WriteWav) -> Path:
    """A night's recordings: tones, noise, and clicks that count as pulses."""
    for i, name in enumerate(NAMES):
        samples = noise(1.2, RATE) + tone(20_000 + 1500 * i, 1.2, RATE, 0.02 * i)
        samples[5000 : 5000 * (i + 1) : 5000] += 0.5
        path = write_wav(f"night/{name}", samples, RATE)
    return path.parent


@pytest.fixture
def reports(sounds: Path, tmp_path: Path) -> dict[str, PredictReport]:
    """What is said by the ONNX file and by its checkpoint, ``known``, which has learnt from the first recording.

    It was validated on the second.
    """
    drawn = draw_model(tmp_path / "drawn.pt", species_groups={"tones": ("Low", "High")})
    before = predict(find_recordings([sounds]), drawn, tmp_path / "before", "cpu")
    rows = [json.loads(line)["row"] for line in (tmp_path / "before" / NAME).read_text().splitlines()[1:]]
    learnt, validated = (
        tuple(shorten_content(row["content"]) for row in rows if row["path"].endswith(name)) for name in NAMES[:2]
    )
    scores = before.predictions.scores
    centred = held_out()  # so that thresholds part these recordings
    logits = (centred.logits + np.log(scores / (1 - scores)).mean(0)).astype(np.float32)
    checkpoint = replace(drawn.checkpoint, trained_on=TrainedOn(1, 1, (1, 0, 0), (0, 1, 1), learnt, validated))
    save_checkpoint(tmp_path / "known.pt", replace(checkpoint, held_out=replace(centred, logits=logits)))
    export_model(open_checkpoint(tmp_path / "known.pt"), tmp_path / "known.onnx", RATE)
    return {
        name: predict(find_recordings([sounds]), open_model(tmp_path / f"known{name}"), tmp_path / name[1:], "cpu")
        for name in (".onnx", ".pt")
    }


def test_tables_are_the_same_with_thresholds_probabilities_groups_bats_and_pulses(
    reports: dict[str, PredictReport],
) -> None:
    made, expected = reports.values()
    assert_alike(made, expected)
    with made.table_file.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"probability Low", "probability High", "probability tones"} <= rows[0].keys()
    assert all(0 < float(row["bat"]) < 1 for row in rows) and len({row["pulses"] for row in rows}) > 1
    assert [LEARNT in row["notes"] for row in rows] == [True] + [False] * 11
    assert [VALIDATED in row["notes"] for row in rows] == [False, True] + [False] * 10
    assert made.calibration.clips == 600 and len(set(made.calibration.values.tolist())) == 3


def test_what_is_known_is_told_calibrated_and_surveyed_without_torch(
    reports: dict[str, PredictReport], tmp_path: Path
) -> None:
    model, folder = reports[".onnx"].model.path, reports[".onnx"].folder
    told = run_without(TORCH, "info", str(model))
    assert told.returncode == 0, told.stderr
    assert "600 clips" in told.stdout and "ONNX file for recordings of 96,000 Hz" in told.stdout
    survey = run_without(TORCH, "presence", str(folder), "--model", str(model), "--draws", "5")
    assert survey.returncode == 0, survey.stderr
    assert (folder / "presence.csv").exists() and survey.stdout.splitlines()[-1] == "there:"
    paths = [str(path) for path in reports[".onnx"].columns["path"]]
    lines = [f"{path},{int(i % 2 == 0)}" for i, path in enumerate(paths)]
    (tmp_path / "reviewed.csv").write_text("\n".join(["path,Low", *lines]))
    calibrated = run_without(
        TORCH, "calibrate", str(model), str(tmp_path / "reviewed.csv"), "--predictions", str(folder)
    )
    assert calibrated.returncode == 0, calibrated.stderr
    assert profile_path(model).exists() and calibrated.stdout.splitlines()[-1] == "there:"
    notes = "; ".join(calibrate_model(open_model(model)).notes)
    assert "recalibrated on 11 reviewed rows" in notes, "from one of the twelve it has learnt"
