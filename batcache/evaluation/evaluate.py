"""Judging a trained model: on which clips it may be judged, what it says of them, and what that is worth."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from batcache.config.features import digest_with_rows
from batcache.config.settings import to_plain
from batcache.errors import ConfigError, count
from batcache.evaluation.calibration import Calibrated, calibrate_predictions, is_fitted_on, measure_calibration
from batcache.evaluation.calls import EVENTS, Call, list_calls, read_calls
from batcache.evaluation.eligible import in_order, marks_any, refuse_folds, refuse_trained, with_splits
from batcache.evaluation.groups import GroupMetrics, groups_to_plain, judge_groups
from batcache.evaluation.judge import judge
from batcache.evaluation.judged import predictions_path, report_path
from batcache.evaluation.metrics import Metrics
from batcache.evaluation.outcomes import file_outcome, read_outcomes
from batcache.evaluation.tables import as_csv, as_markdown, columns_of
from batcache.inference.calibration.platt import Floats
from batcache.inference.groups import groups_of
from batcache.inference.model_file import require_its_features
from batcache.inference.predictions import Predictions, arrange, write_predictions
from batcache.inference.score import Instances, score_bags
from batcache.inference.score_file import ScoreFile
from batcache.manifest.manifest import Manifest
from batcache.model.checkpoint import Checkpoint, Model, load_checkpoint
from batcache.model.heads import MILHeads
from batcache.model.pretrained import PretrainedMILModel
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.storage.listing import is_there
from batcache.store.format.last_build import portable
from batcache.store.reader import Store
from batcache.training.clips.bags import Bag, instances_of, join
from batcache.training.clips.embeddings import Embeddings
from batcache.training.clips.splits import clip_key, read_splits, require_split
from batcache.training.lineage import describe_unknown, read_heard
from batcache.training.runs import BEST, read_run, read_run_config
from batcache.training.tracking import Tracker, open_tracker

EVALUATION_VERSION = 5
"""Raised whenever code changes what an evaluation makes of the same inputs: it is then not up to date."""


@dataclass(frozen=True)
class EvalReport:
    """What came of an evaluation.

    ``name`` is what ``outcome`` is filed under in ``metrics.json``; ``notes`` say what the user should know of the
    clips that were judged; ``page`` is the report, if any; ``calibration`` how far scores are from probabilities,
    before and after they are calibrated. ``groups`` are genera and complexes, judged as species are.
    """

    checkpoint: Path
    epoch: int
    split: str
    metrics: Metrics
    calibration: Calibrated
    predictions: Predictions
    predictions_file: Path
    metrics_file: Path
    page: Path | None
    notes: tuple[str, ...]
    name: str
    outcome: Mapping[str, Any]
    groups: tuple[GroupMetrics, ...] = ()

    def table(self) -> dict[str, list[str] | list[float]]:
        """Columns by name, as a DataFrame wants them: a row a level and species, average or group."""
        return columns_of(self.metrics, self.groups)

    def as_text(self, form: Literal["json", "csv", "md"]) -> str:
        """The numbers as text: ``json`` is the outcome, ``csv`` and ``md`` are tables with 95 % intervals."""
        if form == "json":
            return json.dumps(self.outcome, indent=1, ensure_ascii=False)
        return as_csv(self.metrics, self.groups) if form == "csv" else as_markdown(self.metrics, self.groups)


@dataclass(frozen=True)
class Evaluation:
    """A checkpoint, the clips on which it may be judged, and the calls that are known in their recordings.

    ``threshold`` is that of the scores at which species are counted. ``inputs`` is a digest of all these, of the labels
    and the code.
    ``name`` is what the outcome is filed under: the split, and what is not the run's own (another CSV or checkpoint).
    """

    checkpoint_path: Path
    checkpoint: Checkpoint
    store: Store
    manifest: Manifest
    split: str
    name: str
    bags: tuple[Bag, ...]
    calls: Mapping[str, Sequence[Call]]
    notes: tuple[str, ...]
    inputs: str
    threshold: float = 0.5

    @property
    def run(self) -> Path:
        """The folder of the run that the checkpoint belongs to."""
        return self.checkpoint_path.parent.parent

    def is_done(self) -> bool:
        """Whether ``metrics.json`` already holds the outcome, and its predictions and report are there."""
        done = read_outcomes(self.run).get(self.name, {})
        files = (predictions_path(self.run, self.name), report_path(self.run, self.name))
        return bool(done.get("inputs") == self.inputs and all(is_there(file) for file in files))


def choose_clips(
    checkpoint_path: Path,
    store: Store,
    manifest: Manifest,
    split: str,
    *,
    as_trained: bool,
    calls: Mapping[str, Sequence[Call]] | None = None,
    threshold: float = 0.5,
) -> Evaluation:
    """Find the clips of a split on which a run's checkpoint may be judged.

    ``as_trained`` takes the clips' splits from the run's ``split.csv``; otherwise the manifest's splits hold, or, where
    it names none at all, every clip is judged. ``calls`` are those that are known in the data dir, where they have been
    read already. A species counts as reported where its score is ``threshold`` or more.

    Raises:
        RunError: no checkpoint, folds for a split, or clips whose content or group the model was trained on.
        StoreError: a cache with other features. ConfigError: a threshold that is not from 0 to 1.
        ManifestError: other species, an empty split, a damaged ``events.csv``, and what ``join`` raises.
    """
    if not 0 <= threshold <= 1:
        raise ConfigError("--threshold", f"{threshold:g}, expected 0 to 1", "Pass 0.5")
    refuse_folds(split, manifest, checkpoint_path.parent.parent)
    checkpoint = load_checkpoint(checkpoint_path)
    require_its_features(checkpoint, store)
    joined = join(in_order(manifest, checkpoint.species), store)
    splits = read_splits(checkpoint_path.parent.parent / "split.csv")
    bags = with_splits(joined.bags, splits) if as_trained else joined.bags
    notes = joined.notes()
    if not as_trained and not manifest.splits:
        notes.append("the CSV names no split: every clip is judged")
    else:
        bags = tuple(bag for bag in bags if bag.clip.split == split)
    require_split(bags, manifest, split)
    heard = read_heard(checkpoint_path.parent.parent)
    refuse_trained(bags, heard, checkpoint_path)
    if chose := heard.validated.among(bags):
        who = f"{len(chose):,} of {count(len(bags), 'clip')}, or others of the same groups,"
        notes.append(f"{who} validated while this model, or one before it, was trained: scores on them are too good")
    if not heard.is_all:
        notes.append(describe_unknown("this model"))
    untaught = [name for name, taught in zip(checkpoint.species, checkpoint.is_taught, strict=True) if not taught]
    if untaught:
        notes.append(f"without scores, as the clips trained on held one label alone: {', '.join(untaught)}")
    others = [] if as_trained else [csv.stem for csv in manifest.csvs]
    others += [] if checkpoint_path.name == BEST.name else [checkpoint_path.stem]
    name = "-".join([split, *others])
    judged, known = {bag.clip.filename for bag in bags}, read_calls(manifest.data_dir) if calls is None else calls
    calls = {name: found for name, found in known.items() if name in judged}
    if known and not marks_any(calls, bags, checkpoint.species):
        lies = "where the evidence lies is not judged"
        notes.append(f"{EVENTS} marks no call of a species in any of these clips that holds it: {lies}")
    inputs = _describe_inputs(checkpoint_path, checkpoint, bags, calls, threshold)
    return Evaluation(
        checkpoint_path, checkpoint, store, manifest, split, name, bags, calls, tuple(notes), inputs, threshold
    )


def _describe_inputs(
    checkpoint_path: Path,
    checkpoint: Checkpoint,
    bags: Sequence[Bag],
    calls: Mapping[str, Sequence[Call]],
    threshold: float,
) -> str:
    """Digest of all that decides an evaluation's outcome, to tell whether it is up to date."""
    rows = sorted(
        (*clip_key(bag), bag.row.content, bag.row.true_rate, bag.clip.labels, bag.clip.group or "") for bag in bags
    )
    run = read_run(checkpoint_path.parent.parent)["inputs"]
    carried = checkpoint.held_out.source if checkpoint.held_out else ""
    judged = [EVALUATION_VERSION, run, checkpoint_path.name, checkpoint.epoch, carried]
    return digest_with_rows(judged, rows, [list_calls(calls), threshold])


def evaluate(
    judging: Evaluation,
    device: torch.device,
    *,
    embeddings: Embeddings | None = None,
    in_full: bool = True,
    on_progress: OnProgress = ignore_progress,
) -> EvalReport:
    """Judge the clips, write predictions and metrics into the run.

    With ``embeddings``, heads on a frozen trunk judge the embeddings that they learn from, which are in half precision.
    Unless ``in_full``, nothing is drawn to say how sure the averages are, and no report is written.

    Raises:
        RunError: scores that are not finite. StoreError: damage.
    """
    run, checkpoint = judging.run, judging.checkpoint
    config = read_run_config(run)
    frames, settings = checkpoint.frames_per_instance, config.training
    model: Model | MILHeads = checkpoint.restore(device)
    instances: Iterable[Instances] = (instances_of(judging.store, bag, frames) for bag in judging.bags)
    if embeddings is not None and isinstance(model, PretrainedMILModel) and checkpoint.model.trains_heads_alone:
        of = model.trunk, judging.store, judging.bags, frames, device
        instances = embeddings.embed(*of, ignore_progress, by_steps=model.heads.kernel is not None).instances()
        model = model.heads
    batch_size = settings.clips_a_batch(len(judging.bags))
    where = predictions_path(run, judging.name)
    where.parent.mkdir(parents=True, exist_ok=True)
    untaught = [not taught for taught in checkpoint.is_taught]
    with ScoreFile(len(judging.bags), untaught, where.parent) as scores:
        for done, bag_scores in enumerate(score_bags(model, instances, batch_size, settings.max_instances), 1):
            scores.add(bag_scores)
            on_progress(Progress("eval", done, len(judging.bags)))
        scored = scores.logits, scores.bats, scores.evidence(), scores.counts
    clips, lengths = [bag.clip for bag in judging.bags], [bag.seconds for bag in judging.bags]
    seconds = frames / checkpoint.features.frames_per_second
    predictions = arrange(clips, lengths, *scored, checkpoint.species, seconds)
    metrics = judge(predictions, judging.calls, intervals=in_full, threshold=judging.threshold)
    write_predictions(where, predictions)
    calibrated = calibrate_predictions(predictions, checkpoint, crossed=is_fitted_on(run, checkpoint, judging.bags))
    calibration = measure_calibration(predictions, *calibrated)
    groups = judge_groups(predictions, groups_of(checkpoint))
    outcome = _about(judging) | metrics.to_plain() | {"calibration": calibration.to_plain()}
    outcome |= {"groups": groups_to_plain(groups)}
    summary = file_outcome(run, judging.name, outcome)
    page = _write_report(judging, outcome, predictions, calibrated) if in_full else None
    tracker = open_tracker(config.wandb, run, to_plain(config))
    log_metrics(tracker, judging.name, checkpoint.epoch, metrics)
    tracker.log_pictures(f"{judging.name}/clips", lambda folder: _draw_telling(judging, predictions, folder))
    for path in filter(None, (where, summary, page)):
        tracker.save(path)
    tracker.finish()
    notes, judged = (*judging.notes, *tracker.notes), (metrics, calibration, predictions)
    about = judging.checkpoint_path, checkpoint.epoch, judging.split
    return EvalReport(*about, *judged, where, summary, page, notes, judging.name, outcome, groups)


def log_metrics(tracker: Tracker, name: str, epoch: int, metrics: Metrics) -> None:
    """Report what was judged under this name: numbers and a table of species."""
    tracker.log({"epoch": epoch, **_flat(name, metrics)})
    tracker.log_table(f"{name}/species", [asdict(row) for row in metrics.per_species])


def _draw_telling(judging: Evaluation, predictions: Predictions, folder: Path) -> Mapping[Path, str]:
    from batcache.evaluation.pictures.pages import draw_telling  # matplotlib, which few evaluations need

    return draw_telling(folder, judging.store, judging.bags, predictions, judging.manifest.data_dir)


def _write_report(
    judging: Evaluation, outcome: Mapping[str, Any], predictions: Predictions, calibrated: tuple[Floats, str]
) -> Path:
    from batcache.evaluation.report.write import write_report  # matplotlib and jinja2

    data_dir = judging.manifest.data_dir
    judged = judging.run, judging.name, outcome, predictions, judging.store, judging.bags, data_dir
    return write_report(*judged, calibrated)


def _about(judging: Evaluation) -> dict[str, Any]:
    """What was judged on what, with paths that hold while run and data keep their places to each other."""
    manifest, run = judging.manifest, judging.run
    return {
        "checkpoint": judging.checkpoint_path.name,
        "epoch": judging.checkpoint.epoch,
        "inputs": judging.inputs,
        "cache": portable(judging.store.path, run),
        "csvs": [portable(csv, run) for csv in manifest.csvs],
        "split_of": {portable(csv, run): split for csv, split in manifest.split_of.items()},
        "data_dir": portable(manifest.data_dir, run),
        "notes": list(judging.notes),
    }


def _flat(split: str, metrics: Metrics) -> dict[str, float | None]:
    """Every number under one name, as trackers want them."""
    flat = {
        f"{split}/{average}_{name}": value
        for average in ("macro", "micro", "weighted")
        for name, value in vars(getattr(metrics, average)).items()
    }
    flat |= {f"{split}/macro_roc_auc": metrics.macro_roc_auc, f"{split}/macro_ap": metrics.macro_average_precision}
    if metrics.evidence:
        flat |= {f"{split}/{name}": share for name, share in vars(metrics.evidence.macro).items() if name != "cells"}
    for row in metrics.per_species:
        flat |= {f"{split}/{row.species}/{name}": value for name, value in vars(row).items() if name != "species"}
    return flat
