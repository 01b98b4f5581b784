"""How sure scores are, where the evidence lies, and two runs beside each other, as tables and lines."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from batcache.cli.terminal import Block, Table
from batcache.errors import count

if TYPE_CHECKING:  # --help imports no torch
    from batcache.evaluation.bootstrap import Interval
    from batcache.evaluation.compare import Comparison, Difference
    from batcache.evaluation.groups import GroupMetrics
    from batcache.evaluation.localise import CallShares, Localisation
    from batcache.evaluation.metrics import Metrics

_FEW = 30
"""With fewer groups than so many, percentile intervals are too narrow."""


def of_intervals(metrics: "Metrics") -> Iterator[Block]:
    """The macro averages with their intervals, or why there are none."""
    if (sure := metrics.intervals) is None:
        return
    averages = (
        ("macro AP", metrics.macro_average_precision, sure.macro_average_precision),
        ("macro ROC-AUC", metrics.macro_roc_auc, sure.macro_roc_auc),
    )
    named = [f"{name} {of_number(value)} ({_span(interval)})" for name, value, interval in averages if interval]
    if sure.refusal:
        yield f"no intervals: {sure.refusal}"
    elif named:
        yield f"{', '.join(named)}: {_drawn(sure.draws, sure.units, sure.unit)}"


def of_evidence(evidence: "Localisation | None") -> Iterator[Block]:
    """How often the evidence lies on a call, by species and averaged; nothing where no call is known."""
    if evidence is None:
        return
    every_row = {**evidence.per_species, "macro average": evidence.macro, "all clips": evidence.all_cells}
    tells_strength = evidence.all_cells.on_the_strongest is not None
    header = ("species", "clips", "on a call", "by chance", "on the strongest", "by chance")
    columns = len(header) if tells_strength else 4
    rows = [(name, *_shares(shares))[:columns] for name, shares in every_row.items()]
    yield Table("how often the instance with the most evidence holds a call", rows, header[:columns])


def _shares(shares: "CallShares") -> Iterator[str]:
    yield f"{shares.cells}"
    for share in (shares.on_a_call, shares.on_a_call_by_chance):
        yield of_number(share)
    for share in (shares.on_the_strongest, shares.on_the_strongest_by_chance):
        yield of_number(share)


def of_groups(groups: "Sequence[GroupMetrics]") -> Iterator[Block]:
    """How well each group of species is recognised, beside its members; nothing where there is none."""
    rows = [
        (
            group.group,
            f"{group.support}/{group.known}",
            of_number(group.average_precision),
            of_number(group.roc_auc),
            of_number(group.members_average_precision),
            ", ".join(group.members),
        )
        for group in groups
        if group.support
    ]
    if rows:
        header = ("group", "clips", "AP", "ROC-AUC", "members' AP", "members")
        yield Table("groups: any of their species, by the highest of its scores", rows, header, ("members",))


def of_comparison(report: "Comparison") -> Iterator[Block]:
    """Average precision of two runs by species and averaged, and how sure their difference is."""
    from batcache.evaluation.bootstrap import FEWEST_GROUPS  # --help imports no torch

    rows = [
        (name, f"{report.positives[name]}/{report.known[name]}", *_difference(difference))
        for name, difference in report.per_species.items()
    ]
    few = len(report.of_few_groups)
    macro = f"macro average, {few} species of few {report.unit}s" if few else "macro average"
    rows.append((macro, "", *_difference(report.macro)))
    yield f"A {report.run_a}\nB {report.run_b}"
    yield Table(
        f"AP on {report.outcome}, {count(report.clips, 'clip')}",
        rows,
        ("species", "clips", "A", "B", "A - B", "95 %", "A better"),
        ("clips",),
    )
    if report.refusal:
        yield f"no intervals: {report.refusal}"
    else:
        drawn = _drawn(report.draws, report.units, report.unit)
        yield f"intervals: {drawn}; A better: in what share of them, ties as a half"
    if few:
        yield f"of few {report.unit}s: fewer than {FEWEST_GROUPS} hold the species, or lack it; it has no interval"


def _difference(of: "Difference") -> Iterator[str]:
    yield from map(of_number, (of.a, of.b))
    yield "-" if of.difference is None else f"{of.difference:+.3f}"
    yield "-" if of.interval is None else _span(of.interval, "+")
    yield of_number(of.a_is_better)


def _drawn(draws: int, units: int, unit: str) -> str:
    few = ", too narrow with so few" if units < _FEW else ""
    return f"95 % of {draws:,} draws of the {count(units, unit)}{few}"


def _span(interval: "Interval", sign: str = "") -> str:
    low, high = interval
    return f"{low:{sign}.3f} to {high:{sign}.3f}"


def of_number(value: float | None) -> str:
    """Three digits behind the point."""
    return "-" if value is None else f"{value:.3f}"
