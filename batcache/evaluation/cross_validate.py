"""Judging on few clips: each fold by a model that was trained on the others, all of them as one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from batcache.config.settings import Config
from batcache.errors import ConfigError
from batcache.evaluation.calls import read_calls
from batcache.evaluation.evaluate import choose_clips, evaluate
from batcache.evaluation.metrics import Metrics, judge
from batcache.evaluation.outcomes import file_outcome
from batcache.inference.predictions import Predictions, write_predictions
from batcache.manifest.draw_splits import draw_names
from batcache.manifest.manifest import Manifest
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.store.reader import Store
from batcache.training.bags import join
from batcache.training.loop import train
from batcache.training.runs import BEST, read_run

FOLDS = "folds"
"""The name of the outcome in ``metrics.json``, and of the folder that the folds' runs lie in."""


@dataclass(frozen=True)
class FoldsReport:
    """What cross-validation came to.

    Attributes:
        run: the model that was trained on all clips.
        folds: how many parts the clips were judged in.
        metrics: of the out-of-fold predictions, all of them as one.
        predictions: out of fold, fold after fold.
        predictions_file: where they lie.
        metrics_file: of the run.
    """

    run: Path
    folds: int
    metrics: Metrics
    predictions: Predictions
    predictions_file: Path
    metrics_file: Path


def cross_validate(
    config: Config,
    store: Store,
    manifest: Manifest,
    device: torch.device,
    folds: int,
    *,
    on_progress: OnProgress = ignore_progress,
) -> FoldsReport:
    """Train a model on all clips but those of split test; judge its recipe on them fold by fold.

    The folds are whole groups, drawn so that each holds its share of every species. A clip's score is that of the
    model of its fold, which has not heard its group; a species that such a model was not taught leaves it without one.

    Raises:
        ConfigError: fewer than two folds.
        ManifestError: fewer groups than folds, and what ``train`` raises.
    """
    if folds < 2:
        raise ConfigError("--folds", f"{folds}, expected at least 2", "Pass 5")
    calls = read_calls(manifest.data_dir)
    bags = [bag for bag in join(manifest, store).bags if bag.clip.split != "test"]
    clips = tuple(replace(bag.clip, split=None) for bag in bags)
    names = [f"fold {i}" for i in range(1, folds + 1)]
    contents = {bag.clip.filename: bag.row.content for bag in bags}
    fold_of = draw_names(clips, dict.fromkeys(names, 1 / folds), config.training.seed, contents)
    everything = replace(manifest, clips=tuple(replace(clip, split="train") for clip in clips))
    whole = train(config, store, everything, device, on_progress=on_progress)
    on_progress(Progress("train", result=whole))
    run = whole.run
    settings = replace(config, training=replace(config.training, run_dir=run / FOLDS))
    parts = []
    for name in names:
        splits = ["test" if fold == name else "train" for fold in fold_of]
        part = replace(manifest, clips=tuple(replace(c, split=s) for c, s in zip(clips, splits, strict=True)))
        on_progress(Progress(name))
        report = train(settings, store, part, device)
        chosen = choose_clips(report.run / BEST, store, part, "test", as_trained=False)
        parts.append(evaluate(chosen, device).predictions)
        on_progress(Progress(FOLDS, len(parts), folds))
    predictions = _chain(parts)
    metrics = judge(predictions, calls)
    place = run / "logs" / f"{FOLDS}_predictions.npz"
    write_predictions(place, predictions)
    about = {name: read_run(run)[name] for name in ("cache", "csvs", "split_of", "data_dir", "inputs")}
    summary = file_outcome(run, FOLDS, about | {"checkpoint": BEST.name, "folds": folds} | metrics.to_plain())
    return FoldsReport(run, folds, metrics, predictions, place, summary)


def _chain(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of several parts as one. Where a part's model has no score, the label counts as unknown."""
    offsets = [0]
    for part in parts:
        offsets += (offsets[-1] + part.offsets[1:]).tolist()
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in vars(parts[0])
        if name not in ("species", "offsets")
    }
    joined["labels"] = np.where(np.isnan(joined["scores"]), np.int8(-1), joined["labels"])
    return Predictions(**joined, species=parts[0].species, offsets=np.array(offsets, np.int64))
