"""Judging on few clips: a model of all of them, and its recipe judged on them fold by fold."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from batcache.config.settings import Config, to_plain
from batcache.evaluation.calibration import Calibrated, judge_calibration
from batcache.evaluation.draws.units import resampling
from batcache.evaluation.evaluate import log_metrics
from batcache.evaluation.folds import draw_folds, judge_folds, require_taught
from batcache.evaluation.groups import GroupMetrics, find_scored_groups, groups_to_plain, judge_groups
from batcache.evaluation.judged import predictions_path
from batcache.evaluation.metrics import Metrics
from batcache.evaluation.outcomes import FOLDS, file_outcome
from batcache.inference.calibration.platt import logits_of
from batcache.inference.predictions import Predictions, write_predictions
from batcache.manifest.manifest import Manifest
from batcache.model.checkpoint import load_checkpoint, save_checkpoint
from batcache.model.provenance import HeldOut
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.store.reader import Store
from batcache.training.clips.embeddings import Embeddings
from batcache.training.lineage import start_unheard
from batcache.training.loop import train
from batcache.training.runs import BEST, read_run
from batcache.training.tracking import open_tracker


@dataclass(frozen=True)
class FoldsReport:
    """What cross-validation came to.

    Attributes:
        run: the model that was trained on all clips.
        folds: how many parts the clips were judged in.
        metrics: of the out-of-fold predictions, all of them as one.
        calibration: how far their scores are from probabilities, before and after they are calibrated.
        predictions: out of fold, fold after fold.
        predictions_file: where they lie.
        metrics_file: of the run.
        notes: which clips are not judged, why some species are judged on fewer than others, and what befell wandb.
        groups: genera and complexes, judged as species are.
    """

    run: Path
    folds: int
    metrics: Metrics
    calibration: Calibrated
    predictions: Predictions
    predictions_file: Path
    metrics_file: Path
    notes: tuple[str, ...] = ()
    groups: tuple[GroupMetrics, ...] = ()


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

    The model of all clips then carries the folds' scores, from which its thresholds are taken.

    The folds are whole groups, drawn so that each holds its share of every species. A clip's score is that of the
    model of its fold, which has not heard its group; a species that such a model was not taught leaves it without one.

    Raises:
        ConfigError: fewer than two folds.
        ManifestError: fewer groups than folds, a fold without which nothing can be taught, and what ``train`` raises.
        RunError: the model that ``model.init`` names has learnt from clips that are to be judged.
    """
    drawn, embeddings = draw_folds(manifest, store, folds, config.training.seed), Embeddings()
    require_taught(config, store, drawn)
    start_unheard(config.model, store.features, manifest.species, drawn.bags)
    whole = train(config, store, drawn.whole, device, embeddings=embeddings, on_progress=on_progress)
    on_progress(Progress("train", result=whole))
    run = whole.run
    training, wandb = replace(config.training, run_dir=run / FOLDS), replace(config.wandb, enabled=False)
    settings = replace(config, training=training, wandb=wandb)  # wandb hears of the whole run alone
    judged = judge_folds(settings, store, drawn, device, embeddings, on_progress=on_progress)
    place = predictions_path(run, FOLDS)
    write_predictions(place, judged.predictions)
    keep_out_of_fold(run / BEST, judged.predictions)
    calibration = judge_calibration(judged.predictions, load_checkpoint(run / BEST), crossed=True)
    about = {name: read_run(run)[name] for name in ("cache", "csvs", "split_of", "data_dir", "inputs")}
    notes = (*drawn.notes, *judged.notes)
    groups = judge_groups(judged.predictions, find_scored_groups(judged.predictions, config.model.species_groups))
    outcome = about | {"checkpoint": BEST.name, "folds": folds, "notes": list(notes)} | judged.metrics.to_plain()
    outcome |= {"calibration": calibration.to_plain(), "groups": groups_to_plain(groups)}
    summary = file_outcome(run, FOLDS, outcome)
    tracker = open_tracker(config.wandb, run, to_plain(config))
    log_metrics(tracker, FOLDS, whole.best_epoch, judged.metrics)
    for path in (place, summary):
        tracker.save(path)
    tracker.finish()
    notes = (*notes, *tracker.notes)
    judged_by = judged.metrics, calibration, judged.predictions
    return FoldsReport(run, folds, *judged_by, place, summary, notes, groups)


def keep_out_of_fold(checkpoint: Path, predictions: Predictions) -> None:
    """Let the model of all clips carry what models of its recipe said of clips that they had not learnt from.

    Thresholds and calibration are taken from there. ``last.pt`` stays as it is: where the training is resumed, other
    weights come of it, and these scores are not theirs any more.

    Raises:
        RunError: the checkpoint is gone or damaged.
    """
    held_out = HeldOut(
        source="folds",
        logits=logits_of(predictions.scores).astype(np.float32),
        labels=predictions.labels,
        groups=resampling(predictions).unit_of.astype(np.int64),
    )
    save_checkpoint(checkpoint, replace(load_checkpoint(checkpoint), held_out=held_out))
