"""A model that carries held-out scores."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from batcache.inference.model_file import ModelFile, open_model
from batcache.model.checkpoint import save_checkpoint
from batcache.model.provenance import HeldOut
from tests.inference.calibration.simulated import draw


def held_out(source: str = "folds", clips: int = 600, seed: int = 0) -> HeldOut:
    """Clips of as many recordings; Low and High tell their species well, of Sweep one clip alone is known to be."""
    rng = np.random.default_rng(seed)
    columns = [draw(rng, clips, -1.0, 2.0) for _ in range(2)]
    sweep = rng.normal(-3, 1, clips), np.where(np.arange(clips) == 0, 1, 0).astype(np.int8)
    logits, labels = (np.stack([column[i] for column in (*columns, sweep)], 1) for i in (0, 1))
    return HeldOut(source, logits.astype(np.float32), labels, np.arange(clips))


def carrying(model: ModelFile, path: Path, carried: HeldOut | None, **others: Any) -> ModelFile:
    """A copy of a model that carries these scores, and ``others``."""
    save_checkpoint(path, replace(model.checkpoint, held_out=carried, **others))
    return open_model(path)
