"""How sure scores are, where the evidence lies, and two runs beside each other, as tables and lines."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from batcache.cli.terminal import Block, Table
from batcache.errors import count

if TYPE_CHECKING:  # --help imports no torch
    from batcache.evaluation.bootstrap import AverageIntervals, Interval, SpeciesIntervals
    from batcache.evaluation.compare import Comparison, Difference
    from batcache.evaluation.groups import GroupMetrics
    from batcache.evaluation.localise import CallShares, Localisation
    from batcache.evaluation.metrics import Metrics

FEWEST_UNITS, FEW_UNITS, _SOME_UNITS = 5, 10, 30
"""With fewer groups than so many there are no intervals; they are far too narrow; they are too narrow."""


def of_intervals(metrics: "Metrics") -> Iterator[Block]:
    """The figures with their intervals, or why there are none."""
    if (sure := metrics.intervals) is None:
        return
    averages = (
        ("macro AP", metrics.macro_average_precision, sure.macro_average_precision),
        ("macro ROC-AUC", metrics.macro_roc_auc, sure.macro_roc_auc),
    )
    named = [f"{name} {of_number(value)} ({_span(interval)})" for name, value, interval in averages if interval]
    few = [name for name, one in sure.per_species.items() if one.few and one.holding]
    if sure.refusal:
        yield f"no intervals: {sure.refusal}"
        return
    if named:
        yield f"{', '.join(named)}: {_drawn(sure.draws, sure.units, sure.unit)}"
    rows = [(name, f"{one.holding}", *_spans(one)) for name, one in sure.per_species.items() if not one.few]
    for name in ("macro", "micro", "weighted"):
        ends = _spans(getattr(sure, name))
        whole = (sure.macro_average_precision, sure.macro_roc_auc) if name == "macro" else (None, None)
        rows.append((f"{name} average", "", *list(ends)[:3], *map(_span_or_none, whole)))
    header = ("species", f"{sure.unit}s", "precision", "recall", "F1", "AP", "ROC-AUC")
    yield Table("between which values 95 % of the draws lie", rows, header, ("ROC-AUC", "precision", "recall"))
    if few:
        which = f"of few {sure.unit}s: fewer than {FEWEST_UNITS} hold the species, or lack it"
        yield f"{which}; its figures mean little and have no interval: {', '.join(few)}"


_FIGURES = ("precision", "recall", "f1", "average_precision", "roc_auc")


def _spans(of: "SpeciesIntervals | AverageIntervals") -> Iterator[str]:
    yield from (_span_or_none(getattr(of, name, None)) for name in _FIGURES)


def _span_or_none(interval: "Interval | None") -> str:
    return "-" if interval is None else _span(interval)


def of_levels(metrics: "Metrics") -> Iterator[Block]:
    """The same judged at other levels than clips, and whether any species is there at all."""
    if metrics.any_species is None:
        return
    rows = []
    for name, level in (("clip", metrics), *metrics.levels.items()):
        sure, any_species = level.intervals, level.any_species
        sure_of_any = sure.any_species if sure else None
        rows.append(
            (
                name,
                f"{level.clips:,}",
                _with_span(level, "macro_average_precision", sure),
                _with_span(level.macro, "f1", sure.macro if sure else None),
                f"{any_species.support}/{any_species.known}" if any_species else "",
                _with_span(any_species, "average_precision", sure_of_any),
                _with_span(any_species, "f1", sure_of_any),
            )
        )
    header = ("level", "judged", "macro AP", "macro F1", "any species", "AP", "F1")
    yield Table("judged as a whole: does it hold a species, does it hold any of them", rows, header, ("F1", "judged"))


def _with_span(of: object, figure: str, sure: object) -> str:
    """A figure with its interval, where they are there."""
    interval: Interval | None = getattr(sure, figure, None)
    value = of_number(getattr(of, figure, None))
    return f"{value} ({_span(interval)})" if interval else value


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
        header = ("species group", "clips", "AP", "ROC-AUC", "members' AP", "members")
        yield Table("species groups: any of their species, by the highest of its scores", rows, header, ("members",))


def of_comparison(report: "Comparison") -> Iterator[Block]:
    """Average precision of two runs by species and averaged, and how sure their difference is."""
    rows = [
        (name, f"{report.positives[name]}/{report.known[name]}", *_difference(difference))
        for name, difference in report.per_species.items()
    ]
    few = len(report.of_few_groups)
    macro = f"macro average, {few} species of few {report.unit}s" if few else "macro average"
    rows.append((macro, "", *_difference(report.macro)))
    yield f"A {report.run_a}"
    yield f"B {report.run_b}"
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
        yield f"of few {report.unit}s: fewer than {FEWEST_UNITS} hold the species, or lack it; it has no interval"


def _difference(of: "Difference") -> Iterator[str]:
    yield from map(of_number, (of.a, of.b))
    yield "-" if of.difference is None else f"{of.difference:+.3f}"
    yield "-" if of.interval is None else _span(of.interval, "+")
    yield of_number(of.a_is_better)


def _drawn(draws: int, units: int, unit: str) -> str:
    few = f", few {unit}s: far too narrow" if units < FEW_UNITS else ", too narrow with so few"
    few = "" if units >= _SOME_UNITS else few
    return f"95 % of {draws:,} draws of the {count(units, unit)}{few}"


def _span(interval: "Interval", sign: str = "") -> str:
    low, high = interval
    return f"{low:{sign}.3f} to {high:{sign}.3f}"


def of_number(value: float | None) -> str:
    """Three digits behind the point."""
    return "-" if value is None else f"{value:.3f}"
