"""Judging on few clips: each fold by a model that was trained on the others, all of them as one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from batcache.config.settings import Config
from batcache.errors import ConfigError, ManifestError, RunError, count
from batcache.evaluation.evaluate import choose_clips, evaluate
from batcache.evaluation.metrics import Metrics, compute_metrics
from batcache.evaluation.outcomes import file_outcome
from batcache.inference.predictions import Predictions, write_predictions
from batcache.manifest.draw_splits import draw_names
from batcache.manifest.manifest import Clip, Manifest
from batcache.model.start import start_model
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.store.reader import Store
from batcache.training.bags import Bag, join
from batcache.training.lineage import find_heard
from batcache.training.loop import choose_taught_split, train
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
        ManifestError: fewer groups than folds, a fold without which nothing can be taught, and what ``train`` raises.
        RunError: the model that ``model.init`` names has learnt from clips that are to be judged.
    """
    if folds < 2:
        raise ConfigError("--folds", f"{folds}, expected at least 2", "Pass 5")
    bags = [bag for bag in join(manifest, store).bags if bag.clip.split != "test"]
    clips = tuple(replace(bag.clip, split=None) for bag in bags)
    names = [f"fold {i}" for i in range(1, folds + 1)]
    contents = {bag.clip.filename: bag.row.content for bag in bags}
    fold_of = draw_names(clips, dict.fromkeys(names, 1 / folds), config.training.seed, contents)
    everything = replace(manifest, clips=tuple(replace(clip, split="train") for clip in clips))
    parts = [_hold_out(manifest, clips, fold_of, name) for name in names]
    _refuse_heard(config, store, manifest, bags)
    for name, part in zip(names, parts, strict=True):
        _require_taught(config, store, part, name)
    whole = train(config, store, everything, device, on_progress=on_progress)
    on_progress(Progress("train", result=whole))
    run = whole.run
    settings = replace(config, training=replace(config.training, run_dir=run / FOLDS))
    judged_parts = []
    for name, part in zip(names, parts, strict=True):
        on_progress(Progress(name))
        report = train(settings, store, part, device)
        chosen = choose_clips(report.run / BEST, store, part, "test", as_trained=False)
        judged_parts.append(evaluate(chosen, device).predictions)
        on_progress(Progress(FOLDS, len(judged_parts), folds))
    predictions = _chain(judged_parts)
    without = np.isnan(predictions.scores)
    judged = np.where(without & ~without.all(0), 0, predictions.scores)  # their labels are unknown: nothing counts
    metrics = compute_metrics(judged, predictions.labels, manifest.species)
    place = run / "logs" / f"{FOLDS}_predictions.npz"
    write_predictions(place, predictions)
    about = {name: read_run(run)[name] for name in ("cache", "csvs", "split_of", "data_dir", "inputs")}
    summary = file_outcome(run, FOLDS, about | {"checkpoint": BEST.name, "folds": folds} | metrics.to_plain())
    return FoldsReport(run, folds, metrics, predictions, place, summary)


def _hold_out(manifest: Manifest, clips: Sequence[Clip], fold_of: Sequence[str], name: str) -> Manifest:
    """The manifest of one fold: its clips are those of split test."""
    splits = ["test" if fold == name else "train" for fold in fold_of]
    return replace(manifest, clips=tuple(replace(c, split=s) for c, s in zip(clips, splits, strict=True)))


def _require_taught(config: Config, store: Store, part: Manifest, name: str) -> None:
    """See, before anything is trained, that the clips outside a fold can teach a species."""
    try:
        choose_taught_split(config, store, part)
    except ManifestError as error:
        raise ManifestError(error.place, f"without {name}, {error.finding}", error.remedy) from None


def _refuse_heard(config: Config, store: Store, manifest: Manifest, bags: Sequence[Bag]) -> None:
    """Refuse to judge clips, or others of their groups, that the model which ``model.init`` names has learnt from."""
    transfer = start_model(config.model, store.features, manifest.species).transfer
    heard = transfer and find_heard(config.model.init, transfer)
    if heard and (known := heard.among(bags)):
        finding = f"has learnt from {len(known):,} of {count(len(bags), 'clip')} to judge, or others of their groups"
        raise RunError(config.model.init, finding, "Pass --init simulated, or clips of other groups")


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
