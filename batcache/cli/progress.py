"""Library calls, followed to their end: what happens is shown by progress bars, what came of it at the end."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from batcache.cli.resolve import find_cache, find_manifest
from batcache.cli.tables import (
    describe_epoch,
    describe_plan,
    describe_start,
    describe_time_left,
    describe_work,
    list_decisions,
    show_build,
    show_measured,
    show_metrics,
    show_pruned,
    show_repaired,
    show_species,
    show_trained,
    show_verified,
)
from batcache.cli.terminal import progress_bars, say, warn
from batcache.errors import ConfigError, count

if TYPE_CHECKING:  # all else is imported by the command that needs it, so that --help answers at once
    from batcache.bench.suite import Effort
    from batcache.config.settings import Config
    from batcache.evaluation.evaluate import Evaluation
    from batcache.manifest.manifest import Manifest
    from batcache.progress import OnProgress, Progress
    from batcache.storage.s3 import Place
    from batcache.store.build.report import BuildReport
    from batcache.store.reader import Store
    from batcache.store.upkeep.verify import VerifyReport
    from batcache.training.events import TrainReport

_LONG_S = 60
"""From so many seconds on, the time that a training has left is said."""
_STAGES = {
    "scan": "looking at files",
    "build": "computing features",
    "read": "reading shards",
    "compare": "computing anew",
    "repair": "writing shards",
}
Report = TypeVar("Report")


class Stopped(Exception):  # noqa: N818
    """Ctrl-C in a training: when, and how it goes on."""


def _follow(events: Iterator[Any], kind: type[Report], title: str = "") -> Report:
    """Show the steps as bars, of this title or each stage's own; return the report, which comes last."""
    with progress_bars() as bars:
        if title:
            bars.show(title)
        for event in events:
            if isinstance(event, kind):
                report = event
            else:
                bars.show(title or _STAGES[event.stage], event.done, event.total)
    return report


def build(
    settings: "Config", manifest: "Manifest", device: str, *, rehash: bool = False, dry_run: bool = False
) -> "BuildReport | None":
    """Build, and show what happens; None after a dry run."""
    from batcache.storage.disk import free_bytes
    from batcache.store.build import build as library
    from batcache.store.build.plan import Plan

    cache, report = settings.data.place, None
    events = library.build(manifest, cache, settings.data, device, rehash=rehash, dry_run=dry_run)
    try:
        with progress_bars() as bars:
            for event in events:
                if isinstance(event, library.Progress):
                    bars.show(_STAGES[event.stage], event.done, event.total)
                elif isinstance(event, Plan):
                    say(describe_plan(event))
                    if event.tasks:
                        say(describe_work(event, free_bytes(cache)))
                    for decision in list_decisions(event) if dry_run else ():
                        say(decision)
                else:
                    report = event
    except KeyboardInterrupt:
        events.close()  # shards that are being written are finished
        say(f"stopped: {cache} holds {count(library.count_committed(cache, settings.data), 'recording')}")
        raise
    if report is not None:
        show_build(report, settings)
    return report


def restore(source: Path, cache: "Place") -> None:
    from batcache.store.hdf5 import restore as library

    report = _follow(library.restore(source, cache), library.Restored, "restoring")
    say(f"restored: {count(report.recordings, 'recording')}, {count(report.instances, 'instance')} in {report.cache}")


def export(cache: "Place", target: Path, *, force: bool) -> None:
    from batcache.store.hdf5 import export as library

    report = _follow(library.export(cache, target, force=force), library.Exported, "exporting")
    say(f"exported: {count(report.recordings, 'recording')}, {count(report.instances, 'instance')} to {report.path}")


def verify(cache: "Place", sample: int, seed: int, data_dir: Path | None) -> "VerifyReport":
    from batcache.store.upkeep import verify as library

    events = library.verify(cache, sample=sample, seed=seed, data_dir=data_dir)
    report = _follow(events, library.VerifyReport)
    show_verified(report)
    return report


def repair(cache: Path, found: "VerifyReport", data_dir: Path | None) -> bool:
    """Whether all damage is gone."""
    from batcache.store.upkeep import repair as library

    events = library.repair(cache, found, data_dir)
    report = _follow(events, library.RepairReport)
    show_repaired(report)
    return not (report.left or report.impossible)


def prune(cache: Path, manifest: "Manifest | None", *, dry_run: bool) -> None:
    from batcache.store.upkeep import prune as library

    events = library.prune(cache, manifest, dry_run=dry_run)
    show_pruned(_follow(events, library.PruneReport, "copying instances"))


def train(settings: "Config", store: "Store", manifest: "Manifest", device: str) -> Path:
    from batcache.device import pick_device
    from batcache.training import loop

    place = pick_device(device)
    return _follow_training(lambda tell: loop.train(settings, store, manifest, place, on_progress=tell), device)


def resume(run: Path, device: str, epochs: int | None = None) -> Path:
    from batcache.device import pick_device
    from batcache.store.open import open_store
    from batcache.training import loop
    from batcache.training.runs import read_run

    about, place = read_run(run), pick_device(device)
    store, manifest = open_store(find_cache(run, about)), find_manifest(run, about)
    return _follow_training(
        lambda tell: loop.resume(run, store, manifest, place, epochs=epochs, on_progress=tell), device
    )


def train_if_needed(settings: "Config", store: "Store", manifest: "Manifest", device: str) -> Path:
    """The run that these inputs have made, finished first if it was stopped; else a new one."""
    from batcache.training.inputs import find_run
    from batcache.training.runs import read_run

    found = find_run(settings, store, manifest)
    if found is None:
        return train(settings, store, manifest, device)
    if not read_run(found)["finished"]:
        return resume(found, device)
    say(f"train: up to date, {found}")
    return found


def _follow_training(run_it: "Callable[[OnProgress], TrainReport]", device: str) -> Path:
    from batcache.training.events import Epoch, RunStarted, TimeLeft

    run: Path | None = None

    def tell(progress: "Progress") -> None:
        nonlocal run
        result = progress.result
        if isinstance(result, RunStarted):
            run = result.run
            say(describe_start(result))
            show_species(result.species)
            for note in result.notes:
                warn(note)
        elif isinstance(result, Epoch):
            say(describe_epoch(result))
        else:
            bars.show_alone(progress.stage, progress.done, progress.total)
        if isinstance(result, TimeLeft) and result.seconds > _LONG_S:
            say(describe_time_left(result))

    try:
        with progress_bars() as bars:
            report = run_it(tell)
    except KeyboardInterrupt:
        if run is None:
            raise
        raise _stopped(run, device) from None
    show_trained(report)
    return report.run


def _stopped(run: Path, device: str) -> Stopped:
    """How far a run has come, and the command that goes on with it; one without an epoch is removed."""
    from batcache.model.checkpoint import load_checkpoint
    from batcache.training.runs import LAST

    if not (run / LAST).exists():
        shutil.rmtree(run, ignore_errors=True)
        return Stopped(f"before its first epoch was over: nothing of {run} is kept, run the same command again")
    place = f'"{run}"' if " " in str(run) else run
    command = f"batcache train --resume {place}{'' if device == 'auto' else f' --device {device}'}"
    epoch = load_checkpoint(run / LAST).epoch
    return Stopped(f"after epoch {epoch}: `{command}` goes on, and so does `batcache run` if that began it")


def evaluate(judging: "Evaluation", device: str) -> None:
    from batcache.device import pick_device
    from batcache.evaluation import evaluate as predict

    say(
        f"judging {judging.checkpoint_path} (epoch {judging.checkpoint.epoch}) on split {judging.split}: "
        f"{count(len(judging.bags), 'clip')}"
    )
    events = predict.evaluate(judging, pick_device(device))
    report = _follow(events, predict.EvalReport, "judging clips")
    for note in report.notes:
        warn(note)
    show_metrics(report)


def bench(manifest: "Manifest | None", settings: "Config", effort: "Effort", device: str, *, as_json: bool) -> None:
    import json

    from batcache.bench import rows, suite

    pending: list[rows.Row] = []
    with progress_bars() as bars:
        for event in suite.bench(manifest, settings, effort, device):
            if isinstance(event, rows.Row):
                pending.append(event)
                continue
            if not as_json:
                show_measured(pending)
            pending.clear()
            if isinstance(event, rows.Measuring):
                bars.show_alone(event.what, event.done, event.total)
            else:
                report = event
    if as_json:
        say(json.dumps(report.to_plain(), indent=1))


def synthesise(manifest_path: Path, out: Path | None, *, force: bool) -> None:
    from batcache.manifest.manifest import read_manifest
    from batcache.synth import create

    if out is None:
        raise ConfigError("synth.out", "not given", "Say where the simulated recordings go")
    events = create.create(read_manifest([manifest_path]), out, force=force)
    report = _follow(events, create.SynthReport, "simulating recordings")
    written = f"{report.written:,} written, {report.kept:,} there already"
    calls = f"{count(report.calls, 'call')} in {out / 'events.csv'}"
    say(f"simulated: {count(report.clips, 'clip')} in {out}, {written}; {calls}")
