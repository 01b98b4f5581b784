"""Reports on trainings, evaluations and benchmarks, as tables, notes and lines."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from batcache.cli.calibration_tables import of_calibrated
from batcache.cli.score_tables import of_evidence, of_groups, of_intervals, of_levels, of_number
from batcache.cli.terminal import Block, Note, Table
from batcache.errors import count

if TYPE_CHECKING:  # --help imports no torch
    from batcache.bench.rows import Row
    from batcache.evaluation.cross_validate import FoldsReport
    from batcache.evaluation.evaluate import EvalReport, Evaluation
    from batcache.evaluation.metrics import Metrics
    from batcache.manifest.label_counts import SpeciesCounts
    from batcache.pipeline import PipelineReport, PretrainReport, UpToDate
    from batcache.synth.guide import GuideCall
    from batcache.synth.species import Species, Spread
    from batcache.training.events import Epoch, PassedOver, RunStarted, TimeLeft, TrainReport

_QUICK_S, _QUICK_EVERY = 2.0, 10
"""Of heads, epochs as quick as this are told each tenth."""
_AVERAGES = {"macro_roc_auc": "macro ROC-AUC", "macro_average_precision": "macro AP"}


def of_run_started(started: "RunStarted") -> Iterator[Block]:
    """What a run trains on, and what to know before it does."""
    yield (
        f"run {started.run}: {count(started.train_clips, 'clip')} to train on, {started.val_clips:,} to validate on, "
        f"{count(started.parameters, 'parameter')}"
    )
    yield of_species(started.species)
    yield from map(Note, started.notes)


def of_species(rows: "Sequence[SpeciesCounts]") -> Table:
    """Clips that hold each species, of those where it is known whether they do, in each split."""
    counts = [counts for row in rows for counts in (row.present, row.absent)]
    found = {split for by_split in counts for split in by_split}
    usual = ("train", "val", "test")
    splits = [*(name for name in usual if name in found), *sorted(found.difference(usual))]
    lines = [
        (row.species, *(f"{row.present.get(s, 0)}/{row.present.get(s, 0) + row.absent.get(s, 0)}" for s in splits))
        for row in rows
    ]
    header = ("species", *(split or "no split" for split in splits))
    return Table("clips that hold a species, of those where it is known", lines, header)


def of_time_left(left: "TimeLeft") -> Iterator[Block]:
    """How long a training will go on, where that is long."""
    minutes = left.seconds / 60
    if minutes > 1:
        takes = f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
        less = "; less, if it stops early" if left.may_stop_early else ""
        yield f"about {takes} for {count(left.epochs, 'epoch')}{less}"


def of_passed_over(passed: "PassedOver") -> Iterator[Block]:
    """A note for each folder that is not taken for a run."""
    yield from map(Note, passed.notes)


def of_epoch(epoch: "Epoch") -> Iterator[Block]:
    """A line of losses, average precision and speed; of quick epochs of heads, none of which is chosen, each tenth."""
    if epoch.improved is None and epoch.seconds < _QUICK_S and epoch.epoch % _QUICK_EVERY:
        return
    ap = "-" if epoch.val_macro_ap is None else f"{epoch.val_macro_ap:.4f}"
    validated = "" if epoch.val_loss is None else f"val loss {epoch.val_loss:.4f}  val macro AP {ap}  "
    yield (
        f"epoch {epoch.epoch:3d}  loss {epoch.train_loss:.4f}  {validated}"
        f"{epoch.bags_per_s:.1f} bags/s  {epoch.seconds:.1f} s{'  best' if epoch.improved else ''}"
    )


def of_training(report: "TrainReport") -> Iterator[Block]:
    """What came of a training."""
    yield from map(Note, report.notes)
    ranked = f", mean of {report.ranked_species:,} species" if report.metric == "val_macro_ap" else ""
    yield Table(
        f"{report.run}",
        [
            ("epochs", f"{report.epochs}" + (", stopped early" if report.stopped_early else "")),
            *([] if report.keeps_last else [("best epoch", f"{report.best_epoch}")]),
            (report.metric, f"{report.best_score:.4f}{ranked}"),
            (
                "model of the last epoch" if report.keeps_last else "best model",
                f"{report.run / 'checkpoints' / 'best_model.pt'}",
            ),
        ],
    )


def of_choice(judging: "Evaluation") -> Iterator[Block]:
    """Which model is judged on what."""
    yield (
        f"judging {judging.checkpoint_path} (epoch {judging.checkpoint.epoch}) on split {judging.split}: "
        f"{count(len(judging.bags), 'clip')}"
    )


def of_evaluation(report: "EvalReport") -> Iterator[Block]:
    """Metrics by species and averaged, and where they are kept."""
    yield from map(Note, report.notes)
    metrics = report.metrics
    if not any(r.known for r in metrics.per_species):
        yield (
            f"split {report.split}, {count(metrics.clips, 'clip')}: none has labels, so there are scores and no metrics"
        )
        yield f"scores of clips {report.predictions_file.with_suffix('.csv')}"
        yield f"predictions     {report.predictions_file}"
        yield f"report          {report.page}"
        return
    yield from _of_metrics(metrics, f"split {report.split}")
    yield from of_calibrated(report.calibration)
    yield from of_groups(report.groups)
    yield f"predictions {report.predictions_file}"
    yield f"metrics     {report.metrics_file}"
    yield f"report      {report.page}"


def of_folds(report: "FoldsReport") -> Iterator[Block]:
    """What cross-validation came to, and the model that was trained on all clips."""
    yield from map(Note, report.notes)
    yield from _of_metrics(report.metrics, f"{report.folds} folds")
    yield from of_calibrated(report.calibration)
    yield from of_groups(report.groups)
    yield f"predictions {report.predictions_file}"
    yield f"metrics     {report.metrics_file}"
    yield f"model of all clips {report.run / 'checkpoints' / 'best_model.pt'}"


def _of_metrics(metrics: "Metrics", of: str) -> Iterator[Block]:
    """Metrics by species and averaged, and what no average holds."""
    rows = [
        (
            r.species,
            f"{r.support}/{r.known}",
            *map(of_number, (r.precision, r.recall, r.f1)),
            of_number(r.average_precision),
            of_number(r.roc_auc),
        )
        for r in metrics.per_species
    ]
    for name in ("macro", "micro", "weighted"):
        average = getattr(metrics, name)
        ap, auc = (metrics.macro_average_precision, metrics.macro_roc_auc) if name == "macro" else (None, None)
        rows.append((f"{name} average", "", *map(of_number, (average.precision, average.recall, average.f1, ap, auc))))
    yield Table(
        f"{of}, {count(metrics.clips, 'clip')}, threshold {metrics.threshold:g}",
        rows,
        ("species", "clips", "precision", "recall", "F1", "AP", "ROC-AUC"),
        ("ROC-AUC", "precision", "recall"),
    )
    yield from of_intervals(metrics)
    by_names: dict[tuple[str, ...], list[str]] = {}
    for average, names in metrics.left_out.items():
        by_names.setdefault(names, []).append(_AVERAGES.get(average, average))
    for names, averages in by_names.items():
        if names:
            why = "they have too few labels here, or were not taught"
            if len(names) == 1:
                why = "it has too few labels here, or was not taught"
            yield f"{', '.join(averages)} {'leaves' if len(averages) == 1 else 'leave'} out {', '.join(names)}: {why}"
    yield from of_levels(metrics)
    yield from of_evidence(metrics.evidence)


def of_measured(rows: Sequence["Row"]) -> Iterator[Block]:
    """A table for each section: ours, a peer's, the ratio (above 1: ours is better) and what is promised."""
    header = ("", "batcache", "beside", "there", "ratio", "promised", "")
    for section, measured in groupby(rows, key=lambda row: row.section):
        lines = [
            (
                row.what,
                f"{_figure(row.ours)} {row.unit}".strip(),
                row.peer,
                _figure(row.theirs),
                f"{_figure(row.ratio)}x" if row.ratio else "",
                _promise(row),
                row.note,
            )
            for row in measured
        ]
        yield Table(section, lines, header)


def _promise(row: "Row") -> str:
    if row.mark is None:
        return ""
    kept = {True: ", kept", False: ", NOT kept", None: ""}[row.is_met]
    unit = "x" if row.mark.of == "ratio" else f" {row.unit}"
    return f"{row.mark.sign} {row.mark.limit:g}{unit}{kept}"


def _figure(value: float | None) -> str:
    """Three digits, or all those before the point."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def of_up_to_date(step: "UpToDate") -> Iterator[Block]:
    """A step that had nothing to do."""
    yield f"{step.step}: up to date, {step.place}"


def of_pipeline(report: "PipelineReport") -> Iterator[Block]:
    """Where all that a pipeline made lies, and after a simulation what to do next."""
    yield Table(
        "where everything lies",
        [
            ("features", f"{report.settings.data.cache}"),
            ("best model", f"{report.run / 'checkpoints' / 'best_model.pt'}"),
            ("scores", f"{report.run / 'metrics.json'}"),
            ("predictions", f"{report.run / 'logs' / 'test_predictions.npz'}"),
            ("six clips drawn", f"{report.page}"),
            *([("new recordings", f"{report.prediction.table_file}")] if report.prediction else []),
        ],
    )
    if report.settings.synth.manifest is not None:
        yield "with your own recordings, and a train.csv that says which species are in which clip:"
        yield "    batcache build --csv train.csv"
        yield "    batcache train"
        yield "    batcache eval --split test"


def of_pretraining(report: "PretrainReport") -> Iterator[Block]:
    """Where a trunk lies, and how it is used."""
    yield f"trunk {report.trunk}: batcache train --init {report.trunk}"


def of_voices(drawn: "Sequence[tuple[Species, GuideCall]]") -> Table:
    """What each row of a guide was taken for: means, and what most lies between."""
    rows = []
    for voice, call in drawn:
        (kind,) = voice.types
        start, knee, lasts, every = kind.start_khz, kind.knee_khz, kind.duration_ms, voice.interval_ms
        khz = [_about(start), _about(knee, kind.peak_khz), _about(knee, kind.end_khz)]
        rows.append((call.species, call.shape, *khz, _about(lasts), _about(every)))
    header = ("species", "shape", "start kHz", "peak kHz", "end kHz", "duration ms", "interval ms")
    return Table("most calls, as they are simulated", rows, header)


def _about(spread: "Spread", offset: float = 0.0) -> str:
    low, high = (spread.mean + offset + sign * 2 * spread.sd for sign in (-1, 1))
    return f"{low:.3g} to {high:.3g}"
