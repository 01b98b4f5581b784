"""What a run has judged, by ``batcache eval`` or by folds, as what a person is to look at."""

from pathlib import Path

import numpy as np

from batcache.errors import ReviewError
from batcache.evaluation.judged import read_judged
from batcache.reviewing.judged import Judged

NOTHING = "no species above threshold"


def read_run_judged(run: Path, split: str) -> Judged:
    """Read what a run judged under this name: its clips at the threshold that they were judged at.

    Raises:
        RunError: nothing was judged under this name, or it is damaged. ReviewError: it holds no clip.
    """
    outcome, predictions = read_judged(run, split)
    clips = len(predictions.filenames)
    if not clips:
        raise ReviewError(run, f"{split} holds no clip", "Pass another --split")
    thresholds = np.full(len(predictions.species), float(outcome["threshold"]))
    groups = tuple(map(str, predictions.groups)) if len(predictions.groups) else ("",) * clips
    everyone = np.ones(clips, bool)
    nothing = ("",) * clips
    return Judged(
        title=f"{run.name}: {split}",
        origin={"model": f"{run.name}, epoch {outcome.get('epoch', split)}", "root": split},
        folder=run,
        predictions=predictions,
        thresholds=thresholds,
        sites=nothing,
        nights=groups,
        groups=groups,
        times=nothing,
        says=(NOTHING,) * clips,
        is_vague=~everyone,
        notes=nothing,
        is_asked=everyone,
        is_drawn=everyone,
        has_spans=True,
    )
