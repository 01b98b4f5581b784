"""Reports on sweeps, as tables, notes and lines."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from batcache.cli.terminal import Block, Note, Table
from batcache.errors import count

if TYPE_CHECKING:  # --help imports no torch
    from batcache.evaluation.sweeps.standings import Outcome
    from batcache.evaluation.sweeps.sweep import SweepReport, SweepStarted


def of_sweep_started(started: "SweepStarted") -> Iterator[Block]:
    """What will be compared, and what to know before hours are spent."""
    there = f", {started.done:,} of them done already" if started.done else ""
    yield (
        f"{count(started.combinations, 'combination')}{there}; each is judged on {count(started.clips, 'clip')} in "
        f"{started.folds} folds"
    )
    yield from map(Note, started.notes)


def of_outcome(outcome: "Outcome") -> Iterator[Block]:
    """A line for a combination that is done."""
    ap = _number(outcome.macro_average_precision)
    yield f"{_name(outcome.values)}: macro AP {ap}, {outcome.seconds:.0f} s of training"


def of_sweep(report: "SweepReport") -> Iterator[Block]:
    """The combinations, the best first, averaged over seeds."""
    first = report.standings[0]
    seeds = len(first.outcomes)
    several = ("mean", "lowest", "highest") if seeds > 1 else ("macro AP",)
    rows = []
    for standing in report.standings:
        scores = (standing.mean, standing.lowest, standing.highest)[: len(several)]
        outcomes = standing.outcomes
        clips = sum(outcome.train_clips for outcome in outcomes) / len(outcomes)
        values = _values(standing.values) or ("",)
        covered = _range(outcome.species for outcome in outcomes), _range(outcome.labels for outcome in outcomes)
        told = _number(standing.on_a_call), _number(standing.by_chance), f"{clips:.0f}", f"{standing.seconds:.0f}"
        rows.append((*values, *map(_number, scores), *covered, *told))
    over = f", over {seeds} seeds" if seeds > 1 else ""
    yield Table(
        f"macro average precision in {report.folds} folds{over}",
        rows,
        (*(first.values or ("",)), *several, "species", "labels", "on a call", "by chance", "trained on", "seconds"),
        ("seconds", "trained on", "by chance", "on a call"),
    )
    if len({(outcome.species, outcome.labels) for outcome in report.rows}) > 1:
        species, labels = (_range(getattr(row, name) for row in report.rows) for name in ("species", "labels"))
        yield Note(
            f"macro AP is over {species} species and {labels} labels, as folds have no scores of a species that their "
            "model was not taught: compare rows of as many species and labels"
        )
    if len(report.standings) > 1:
        yield "The best was chosen on these folds, where it looks better than it is: judge it once on split test."
    yield f"every combination {report.csv}"
    yield f"picture           {report.picture}"


def _range(numbers: Iterable[int]) -> str:
    there = sorted(numbers)
    return f"{there[0]:,}" if there[0] == there[-1] else f"{there[0]:,} to {there[-1]:,}"


def _name(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in zip(values, _values(values), strict=True))


def _values(values: Mapping[str, Any]) -> tuple[str, ...]:
    from batcache.evaluation.sweeps.standings import show_value

    return tuple(show_value(value) for value in values.values())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
