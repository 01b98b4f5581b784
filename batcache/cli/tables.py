"""What came of a command, in tables and notes."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from batcache.cli.terminal import say, show_table, warn
from batcache.errors import count, list_some

if TYPE_CHECKING:  # a build with nothing to do imports no torch
    from pathlib import Path

    from batcache.bench.rows import Row
    from batcache.config.settings import Config
    from batcache.evaluation.evaluate import EvalReport
    from batcache.manifest.label_counts import SpeciesCounts
    from batcache.store.build.plan import Plan
    from batcache.store.build.report import BuildReport
    from batcache.store.upkeep.prune import PruneReport
    from batcache.store.upkeep.record_checks import Damage
    from batcache.store.upkeep.repair import RepairReport
    from batcache.store.upkeep.verify import VerifyReport
    from batcache.training.events import Epoch, RunStarted, TimeLeft, TrainReport


def describe_plan(plan: "Plan") -> str:
    counts = {
        "to compute": plan.count("build"),
        "changed, to compute again": plan.count("stale"),
        "up to date": plan.count("keep"),
        "duplicates": plan.count("duplicate"),
        "rejected": plan.count("rejected"),
    }
    return "recordings: " + ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def describe_work(plan: "Plan", free_bytes: int | None) -> str:
    work = f"{plan.audio_s / 3600:,.2f} h of audio to compute, {plan.bytes_to_write / 1e9:,.2f} GB to write"
    return work if free_bytes is None else f"{work}, {(free_bytes + plan.leftover_bytes) / 1e9:,.1f} GB free"


def list_decisions(plan: "Plan") -> list[str]:
    return [f"{action:<9}  {path}  ({reason})" for path, (action, reason) in plan.decisions.items()]


def show_build(report: "BuildReport", settings: "Config") -> None:
    data = settings.data
    rows = [
        ("computed now", f"{report.computed:,}"),
        ("already there", f"{report.kept:,}"),
        ("of them in the cache", f"{report.recordings:,} ({report.audio_s / 3600:.2f} h)"),
        ("instances", f"{report.instances:,} of {data.instance_s:g} s"),
        ("rejected", f"{len(report.rejected):,}"),
        ("took", f"{report.seconds:.1f} s"),
    ]
    if report.duplicates:
        rows.insert(2, ("duplicates, computed once", f"{report.duplicates:,}"))
    if report.off_rate:
        rows.insert(4, (f"true rate is not {data.sample_rate:,} Hz", f"{report.off_rate:,}"))
    if report.low_nyquist:
        rows.insert(4, ("rate too low for the upper mel bands", f"{report.low_nyquist:,}"))
    show_table(f"{report.cache}", rows)
    if report.multichannel:
        warn(
            f"of {count(len(report.multichannel), 'recording')} with several channels, the first is used: "
            f"{list_some(report.multichannel)}"
        )
    if report.doubtful:
        warn(
            f"the time expansion of {count(len(report.doubtful), 'recording')} is doubtful: "
            f"{list_some(f'{path} ({doubt})' for path, doubt in report.doubtful.items())}. "
            "Give it in a time_expansion column, 1 where there is none, and build again"
        )
    if report.unread:
        warn(
            f"the metadata of {count(len(report.unread), 'recording')} could not all be read: "
            f"{list_some(f'{path} ({what})' for path, what in report.unread.items())}"
        )
    outside = len(report.outside_below) + len(report.outside_above)
    if outside > 0.05 * report.recordings:
        parts = [
            f"{len(paths)} {where}: {list_some(paths)}"
            for where, paths in (
                (f"above {data.fmax / 1000:g} kHz (raise fmax for horseshoe bats)", report.outside_above),
                (f"below {data.fmin / 1000:g} kHz (wind, handling, insects: harmless)", report.outside_below),
            )
            if paths
        ]
        warn(
            f"most energy lies outside the mel bands in {outside:,} of {count(report.recordings, 'recording')}; "
            + "; ".join(parts)
        )
    if report.rejected:
        show_table("rejected", [(name, reason) for name, reason in list(report.rejected.items())[:20]])
        warn(
            f"{count(len(report.rejected), 'recording')} rejected, listed in {report.rejected_list}; "
            "the rest is built; each build tries them again"
        )


def show_verified(report: "VerifyReport") -> None:
    rows = [
        ("shards", f"{report.shards:,}"),
        ("instances", f"{report.instances:,}"),
        ("read", f"{report.bytes / 1e6:,.1f} MB"),
        ("took", f"{report.seconds:.1f} s"),
        ("damages", f"{len(report.damages):,}"),
    ]
    if report.exact or report.rounded or report.not_comparable:
        rows[3:3] = [
            ("computed anew, equal bit by bit", f"{len(report.exact):,}"),
            ("computed anew, equal but for rounding", f"{len(report.rounded):,}"),
            ("not comparable", f"{len(report.not_comparable):,}"),
        ]
    show_table(f"{report.cache}", rows)
    _show_damages(report.damages)
    if report.not_comparable:
        show_table("not comparable", list(report.not_comparable.items()), ("recording", "why"))


def _show_damages(damages: "Sequence[Damage]") -> None:
    if damages:
        rows = [
            (one.place, ", ".join(one.recordings), _spans(one.instances), one.finding, one.remedy) for one in damages
        ]
        show_table("damages", rows, ("file", "recordings", "instances", "finding", "remedy"))


def _spans(numbers: Sequence[int]) -> str:
    """Ascending numbers, runs of them as ``2-5``."""
    runs = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    ends = [[number for _, number in run] for _, run in runs]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in ends)


def show_repaired(report: "RepairReport") -> None:
    rows = [
        ("shards written again", f"{report.shards:,}"),
        ("recordings computed again", f"{len(report.recomputed):,}"),
        ("records withdrawn", f"{report.withdrawn:,}"),
        ("damages left", f"{len(report.left):,}"),
        ("took", f"{report.seconds:.1f} s"),
    ]
    show_table("repair", rows)
    if report.impossible:
        show_table("could not be repaired", list(report.impossible.items()), ("", "why"))
        if any(not name.startswith("commits/") for name in report.impossible):
            warn(
                "bring those files back and repair again; or list them no more: `batcache prune --csv` with such a CSV"
            )
    _show_damages(report.left)


def show_pruned(report: "PruneReport") -> None:
    would = "would be " if report.dry_run else ""
    plan = report.plan
    rows = [
        ("recordings kept", f"{report.recordings:,}"),
        (f"recordings {would}dropped", f"{len(plan.dropped):,}"),
        (f"instances {would}freed", f"{report.instances_freed:,}"),
        (f"shards {would}removed", f"{len(plan.dead) + len(plan.emptied):,}"),
        (f"shards {would}written", f"{len(plan.moves):,}"),
        ("before", f"{report.bytes_before / 1e6:,.1f} MB"),
        ("after", f"{report.bytes_after / 1e6:,.1f} MB"),
        ("took", f"{report.seconds:.1f} s"),
    ]
    show_table(f"{report.cache}", rows)
    if report.note:
        warn(report.note)


def describe_start(started: "RunStarted") -> str:
    return (
        f"run {started.run}: {count(started.train_clips, 'clip')} to train on, {started.val_clips:,} to validate on, "
        f"{count(started.parameters, 'parameter')}"
    )


def describe_time_left(left: "TimeLeft") -> str:
    minutes = left.seconds / 60
    takes = f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
    return f"about {takes} for {count(left.epochs, 'epoch')}; less, if it stops early"


def show_species(rows: "Sequence[SpeciesCounts]") -> None:
    """Clips that hold each species, of those where it is known whether they do, in each split."""
    counts = [counts for row in rows for counts in (row.present, row.absent)]
    found = {split or "no split" for by_split in counts for split in by_split}
    usual = ("train", "val", "test")
    splits = [*(name for name in usual if name in found), *sorted(found.difference(usual))]
    lines = []
    for row in rows:
        keys = [("" if split == "no split" else split) for split in splits]
        cells = [f"{row.present.get(key, 0)}/{row.present.get(key, 0) + row.absent.get(key, 0)}" for key in keys]
        lines.append((row.species, *cells))
    show_table("clips that hold a species, of those where it is known", lines, ("species", *splits))


def describe_epoch(epoch: "Epoch") -> str:
    ap = "-" if epoch.val_macro_ap is None else f"{epoch.val_macro_ap:.4f}"
    return (
        f"epoch {epoch.epoch:3d}  loss {epoch.train_loss:.4f}  val loss {epoch.val_loss:.4f}  val macro AP {ap}  "
        f"{epoch.bags_per_s:.1f} bags/s  {epoch.seconds:.1f} s{'  best' if epoch.improved else ''}"
    )


def show_trained(report: "TrainReport") -> None:
    for note in report.notes:
        warn(note)
    rows = [
        ("epochs", f"{report.epochs}" + (", stopped early" if report.stopped_early else "")),
        ("best epoch", f"{report.best_epoch}"),
        (report.metric, f"{report.best_score:.4f}"),
        ("best model", f"{report.run / 'checkpoints' / 'best_model.pt'}"),
    ]
    show_table(f"{report.run}", rows)


def show_metrics(report: "EvalReport") -> None:
    metrics = report.metrics
    if not any(r.known for r in metrics.per_species):
        say(
            f"split {report.split}, {count(metrics.clips, 'clip')}: none has labels, so there are scores and no metrics"
        )
        say(f"scores of clips {report.predictions.with_suffix('.csv')}\npredictions     {report.predictions}")
        return
    header = ("species", "clips", "precision", "recall", "F1", "AP", "ROC-AUC")
    rows = [
        (
            r.species,
            f"{r.support}/{r.known}",
            *map(_number, (r.precision, r.recall, r.f1)),
            _number(r.average_precision),
            _number(r.roc_auc),
        )
        for r in metrics.per_species
    ]
    for name in ("macro", "micro", "weighted"):
        average = getattr(metrics, name)
        ap, auc = (metrics.macro_average_precision, metrics.macro_roc_auc) if name == "macro" else (None, None)
        rows.append((f"{name} average", "", *map(_number, (average.precision, average.recall, average.f1, ap, auc))))
    show_table(
        f"split {report.split}, {count(metrics.clips, 'clip')}, threshold {metrics.threshold:g}",
        rows,
        header,
        ("ROC-AUC", "precision", "recall"),
    )
    by_names: dict[tuple[str, ...], list[str]] = {}
    for average, names in metrics.left_out.items():
        by_names.setdefault(names, []).append(average.replace("_", " "))
    for names, averages in by_names.items():
        if names:
            say(f"{', '.join(averages)}: without {', '.join(names)}, which have too few labels here")
    say(f"predictions {report.predictions}\nmetrics     {report.metrics_file}")


def show_measured(rows: Sequence["Row"]) -> None:
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
        show_table(section, lines, header)


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


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def show_whereabouts(settings: "Config", run: "Path", page: "Path") -> None:
    """Where all that a pipeline made lies, and after a simulation what to do next."""
    show_table(
        "where everything lies",
        [
            ("features", f"{settings.data.cache}"),
            ("best model", f"{run / 'checkpoints' / 'best_model.pt'}"),
            ("scores", f"{run / 'metrics.json'}"),
            ("predictions", f"{run / 'logs' / 'test_predictions.npz'}"),
            ("six clips drawn", f"{page}"),
        ],
    )
    if settings.synth.manifest is not None:
        say("with your own recordings, and a train.csv that says which species are in which clip:")
        say("    batcache build --csv train.csv\n    batcache train\n    batcache eval --split test")
