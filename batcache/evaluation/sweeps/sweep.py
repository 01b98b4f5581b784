"""Combinations of settings, each judged in the same folds of the same clips; what is done is kept, not done again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from batcache.errors import ConfigError, count
from batcache.evaluation.folds import Folds, draw_folds
from batcache.evaluation.sweeps.draw_sweep import draw_sweep
from batcache.evaluation.sweeps.folder import held, outcome_place
from batcache.evaluation.sweeps.grid import Combination
from batcache.evaluation.sweeps.judge import Judge, plan
from batcache.evaluation.sweeps.standings import Outcome, Standing, rank, write_outcomes
from batcache.manifest.manifest import Manifest
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.storage.listing import is_there
from batcache.store.reader import Store


@dataclass(frozen=True)
class SweepStarted:
    """What a sweep is about to do: ``done`` of its combinations are there already. ``notes`` say what to know first."""

    combinations: int
    done: int
    folds: int
    clips: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SweepReport:
    """What a sweep came to.

    Attributes:
        rows: the outcome of each combination, in the grid's order, or in the order in which a search tried them.
        standings: the same, averaged over seeds where those were swept, the best first.
        folds: how many parts the clips were judged in.
        csv: ``rows`` as a table.
        picture: ``standings`` as a picture.
    """

    rows: tuple[Outcome, ...]
    standings: tuple[Standing, ...]
    folds: int
    csv: Path
    picture: Path


def sweep(
    combinations: Sequence[Combination],
    store: Store,
    manifest: Manifest,
    device: torch.device,
    out: Path,
    *,
    folds: int = 5,
    seed: int = 0,
    on_progress: OnProgress = ignore_progress,
) -> SweepReport:
    """Judge every combination in the same folds of all clips but those of split test, on which nothing is chosen.

    Args:
        combinations: what to compare.
        store: the features, the same for all.
        manifest: the clips and labels.
        device: where to compute.
        out: the sweep's folder. What is done of this sweep is taken from there; the models are not kept.
        folds: how many.
        seed: draws the folds, whatever ``training.seed`` a combination has: so its spread is that of training alone.
        on_progress: hears of the ``SweepStarted``, of each fold, and of each ``Outcome``. What it raises ends the
            sweep, which the same call goes on with after the last combination that was done.

    Raises:
        ConfigError, RunError: a setting or a trunk that cannot be used, or one that decides nothing, before anything is
            trained.
        RunError: ``out`` holds something else, or is in use.
        ManifestError: see ``draw_folds``, and what ``train`` raises.
    """
    drawn = draw_folds(manifest, store, folds, seed)
    inputs, notes = plan([combination.config for combination in combinations], store, drawn)
    require_different(combinations, inputs)
    with held(out, inputs):
        there = sum(is_there(outcome_place(out, name)) for name in inputs)
        started = SweepStarted(len(combinations), there, folds, len(drawn.bags), notes)
        on_progress(Progress("sweep", 0, len(combinations), started))
        judge = Judge(store, drawn, device, out, len(combinations), on_progress)
        rows = [judge(combination, name) for combination, name in zip(combinations, inputs, strict=True)]
    return conclude(out, rows, drawn)


def conclude(out: Path, rows: Sequence[Outcome], folds: Folds) -> SweepReport:
    """Write what combinations came to, as a table and as a picture."""
    standings, parts = rank(rows), len(folds.names)
    table, picture = out / "sweep.csv", out / "sweep.png"
    write_outcomes(table, rows)
    draw_sweep(picture, standings, f"{parts} folds of {count(len(folds.bags), 'clip')}")
    return SweepReport(tuple(rows), standings, parts, table, picture)


def require_different(combinations: Sequence[Combination], inputs: Sequence[str]) -> None:
    """Refuse combinations that are the same training.

    Raises:
        ConfigError: names the settings in which they differ.
    """
    by_inputs = dict(zip(inputs, combinations, strict=True))
    pairs = [(each.values, by_inputs[name].values) for each, name in zip(combinations, inputs, strict=True)]
    if idle := [key for key in combinations[0].values if any(one[key] != other[key] for one, other in pairs)]:
        finding = "no effect here: combinations that differ in nothing else are the same training"
        raise ConfigError(f"--over {', '.join(idle)}", finding, "Name one value")
