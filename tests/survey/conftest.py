"""Recordings of two sites and nights, judged by a model that carries what it said of held-out clips."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batcache.evaluation.evaluate import choose_clips, evaluate
from batcache.inference.calibration.platt import logits_of
from batcache.inference.model_file import ModelFile, open_model
from batcache.inference.predict import predict
from batcache.manifest.find_recordings import find_recordings
from batcache.model.checkpoint import load_checkpoint, save_checkpoint
from batcache.model.provenance import HeldOut
from tests.small_world import CPU, SmallWorld, write_recordings

THRESHOLD = 0.4


@pytest.fixture(scope="session")
def model(small: SmallWorld, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """The small world's model, with what it says of the clips of splits val and test."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("held") / "run"))
    best = run / "checkpoints" / "best_model.pt"
    said = [
        evaluate(
            choose_clips(best, small.store, small.manifest, split, as_trained=True), CPU, in_full=False
        ).predictions
        for split in ("val", "test")
    ]
    scores, labels = (np.concatenate([getattr(p, name) for p in said]) for name in ("scores", "labels"))
    held_out = HeldOut("validation", logits_of(scores).astype(np.float32), labels, np.arange(len(scores)))
    save_checkpoint(run.parent / "model.pt", replace(load_checkpoint(best), held_out=held_out))
    return open_model(run.parent / "model.pt")


@pytest.fixture(scope="session")
def judged_once(model: ModelFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of predictions. To be copied."""
    folder = tmp_path_factory.mktemp("surveyed")
    (folder / "sounds").mkdir()
    write_recordings(folder / "sounds")
    cards = folder / "cards"
    for i, wav in enumerate(sorted((folder / "sounds").glob("night*/*.wav"))):
        site, hour = ("MILL", "=MEADOW")[i % 2], 22 + i // 12  # the later ones after midnight
        (cards / site).mkdir(parents=True, exist_ok=True)
        date = "20240412" if hour < 24 else "20240413"
        shutil.copy(wav, cards / site / f"{site}_{date}_{hour % 24:02d}{i:02d}00.wav")
    shutil.copy(folder / "sounds" / "late.wav", cards / "late.wav")  # no site, no time
    first = min((cards / "MILL").iterdir())
    shutil.copy(first, cards / "MILL" / "MILL_20240414_010000.wav")  # of the night after, but the same audio
    (cards / "broken.wav").write_bytes(b"RIFF, but no more")
    predict(find_recordings([cards]), model, folder / "predictions", CPU, threshold=THRESHOLD, workers=1)
    return folder / "predictions"


@pytest.fixture
def predictions(judged_once: Path, tmp_path: Path) -> Path:
    """A copy of the folder of predictions to spoil."""
    return Path(shutil.copytree(judged_once, tmp_path / "predictions"))
