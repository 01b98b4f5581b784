"""Metrics as one table for spreadsheets, documents and DataFrames: a row a level and species, average or group."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from batcache.evaluation.bootstrap import AverageIntervals, Interval, SpeciesIntervals
from batcache.evaluation.groups import GroupMetrics
from batcache.evaluation.metrics import Metrics, SpeciesMetrics
from batcache.storage.spreadsheet import to_csv

CLIP = "clip"
FIGURES = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "average_precision": "AP",
    "roc_auc": "ROC-AUC",
}
"""Keys of the figures in metrics.json, and what they are called."""
_MISSING = float("nan")


def columns_of(metrics: Metrics, groups: Sequence[GroupMetrics] = ()) -> dict[str, list[str] | list[float]]:
    """Columns by name, texts and numbers; NaN where a figure is not defined or has no interval.

    ``groups`` of species come last, with the figures that they have: AP and ROC-AUC, of clips.
    ``groups`` counts the groups, or recordings, that hold the species; ``few`` is 1 where they, or those that lack it,
    are too few for intervals.
    """
    rows = [row for name, level in ((CLIP, metrics), *metrics.levels.items()) for row in _rows(name, level)]
    rows += [_group_row(group) for group in groups]
    return {name: [row[name] for row in rows] for name in rows[0]}  # type: ignore[misc]


def as_csv(metrics: Metrics, groups: Sequence[GroupMetrics] = ()) -> str:
    """The table as CSV: commas, points, all digits; no cell of it is a formula to a spreadsheet."""
    columns = columns_of(metrics, groups)
    rows = zip(*columns.values(), strict=True)
    figures = ([cell if isinstance(cell, str) else _digits(cell) for cell in row] for row in rows)
    return to_csv([columns, *figures]).decode()


def as_markdown(metrics: Metrics, groups: Sequence[GroupMetrics] = ()) -> str:
    """A Markdown table for each level: figures with their 95 % intervals; and one of groups of species."""
    tables = [_markdown(name, level) for name, level in ((CLIP, metrics), *metrics.levels.items())]
    return "\n".join([*tables, *_markdown_of_groups(groups)])


def _markdown_of_groups(groups: Sequence[GroupMetrics]) -> Iterator[str]:
    if groups:
        header = ["", "present", "known", "AP", "ROC-AUC", "members' AP"]
        yield "\n".join(["**species groups**", "", _line(header), _line(["---", *["---:"] * (len(header) - 1)])])
    for group in groups:
        values = group.average_precision, group.roc_auc, group.members_average_precision
        figures = [_figure(_MISSING if value is None else value, _MISSING, _MISSING) for value in values]
        yield _line([_escape(group.group), f"{group.support}", f"{group.known}", *figures])
    if groups:
        yield ""


def _markdown(level: str, metrics: Metrics) -> str:
    header = ["", "present", "known", *FIGURES.values()]
    lines = [f"**{level}**: {metrics.clips:,}, threshold {metrics.threshold:g}{_drawn(metrics)}", ""]
    lines += [_line(header), _line(["---", *["---:"] * (len(header) - 1)])]
    for row in _rows(level, metrics):
        counts = ["" if np.isnan(row[name]) else f"{row[name]:.0f}" for name in ("present", "known")]
        figures = [_figure(row[key], row[f"{key}_low"], row[f"{key}_high"]) for key in FIGURES]  # type: ignore[arg-type]
        name = _escape(str(row["name"]))
        lines.append(_line([f"{name} †" if row["few"] == 1 else name, *counts, *figures]))
    if any(row["few"] == 1 for row in _rows(level, metrics)):
        lines += ["", f"† too few {metrics.intervals.unit}s hold it, or lack it" if metrics.intervals else ""]
    return "\n".join([*lines, ""])


def _drawn(metrics: Metrics) -> str:
    sure = metrics.intervals
    if sure is None:
        return ""
    few = f", few {sure.unit}s" if sure.few_units else ""
    return (
        f"; {sure.refusal}" if sure.refusal else f"; 95 % of {sure.draws:,} draws of {sure.units:,} {sure.unit}s{few}"
    )


def _escape(text: str) -> str:
    r"""Text that a cell of a Markdown table shows as it is, in one line.

    >>> print(_escape("a|b <i>"), _escape("two\nlines"))
    a\|b &lt;i> two lines
    """
    whole = " ".join(text.splitlines())
    return whole.replace("\\", "\\\\").replace("|", "\\|").replace("&", "&amp;").replace("<", "&lt;")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:.3f}" if np.isnan(low) else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _digits(value: float) -> str:
    """All digits that tell a number from its neighbours; whole numbers without a point."""
    if np.isnan(value):
        return ""
    return f"{value:.0f}" if value == round(value) and abs(value) > 1 else repr(float(value))


def _rows(level: str, metrics: Metrics) -> Iterator[dict[str, str | float]]:
    sure = metrics.intervals
    for one in metrics.per_species:
        yield _species_row(level, "species", one, sure.per_species.get(one.species) if sure else None)
    if metrics.any_species:
        yield _species_row(level, "any", metrics.any_species, sure.any_species if sure else None)
    for name in ("macro", "micro", "weighted"):
        average, intervals = getattr(metrics, name), getattr(sure, name) if sure else AverageIntervals()
        figures = {key: (value, getattr(intervals, key)) for key, value in vars(average).items()}
        if name == "macro":
            figures["average_precision"] = (
                metrics.macro_average_precision,
                sure.macro_average_precision if sure else None,
            )
            figures["roc_auc"] = metrics.macro_roc_auc, sure.macro_roc_auc if sure else None
        yield _row(level, "average", f"{name} average", {}, figures)


def _group_row(group: GroupMetrics) -> dict[str, str | float]:
    counts = {"present": group.support, "known": group.known}
    figures = {"average_precision": (group.average_precision, None), "roc_auc": (group.roc_auc, None)}
    return _row(CLIP, "group", group.group, counts, figures)


def _species_row(level: str, kind: str, one: SpeciesMetrics, sure: SpeciesIntervals | None) -> dict[str, str | float]:
    counts = {"present": one.support, "known": one.known}
    counts |= {"groups": sure.holding, "few": int(sure.few)} if sure else {}
    return _row(
        level, kind, one.species, counts, {key: (getattr(one, key), getattr(sure, key, None)) for key in FIGURES}
    )


def _row(
    level: str,
    kind: str,
    name: str,
    counts: dict[str, int],
    figures: Mapping[str, tuple[float | None, Interval | None]],
) -> dict[str, str | float]:
    row: dict[str, str | float] = {"level": level, "kind": kind, "name": name}
    row |= {key: float(counts.get(key, _MISSING)) for key in ("present", "known", "groups", "few")}
    for key in FIGURES:
        value, interval = figures.get(key, (None, None))
        low, high = interval or (_MISSING, _MISSING)
        row |= {key: _MISSING if value is None else value, f"{key}_low": low, f"{key}_high": high}
    return row
