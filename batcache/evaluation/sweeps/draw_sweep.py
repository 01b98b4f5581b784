"""A picture of a sweep: a row a combination, the best on top; how right it is, where its evidence lies, what it costs.

Points are seeds, and a bar is their mean; where calls are known, a dashed line marks what chance would come to.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from batcache.errors import shorten
from batcache.evaluation.pictures.save import save_figure
from batcache.evaluation.sweeps.standings import Standing, show_value

_MOST_ROWS = 200


def draw_sweep(path: Path, standings: Sequence[Standing], of: str) -> None:
    """Draw standings, the first on top, at most 200 of them. ``of`` says in what they were judged, as ``5 folds``."""
    shown = standings[:_MOST_ROWS]
    measures = {f"macro average precision in {of}": "macro_average_precision"}
    if any(standing.on_a_call is not None for standing in shown):
        measures["evidence on a call"] = "on_a_call"
    measures["seconds of training"] = "seconds"
    with mpl.rc_context({"font.size": 7, "axes.linewidth": 0.5, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(8, 1 + 0.22 * len(shown)), dpi=100, layout="constrained")
        widths = [2] + [1] * (len(measures) - 1)
        panels = figure.subplots(1, len(measures), sharey=True, squeeze=False, width_ratios=widths)[0]
        for axes, (label, measure) in zip(panels, measures.items(), strict=True):
            _draw_measure(axes, shown, measure)
            axes.set_xlabel(label, parse_math=False)
        panels[0].set_yticks(range(len(shown)), [_name(standing) for standing in shown], parse_math=False)
        panels[0].set_ylim(len(shown) - 0.5, -0.5)
        panels[0].set_title(", ".join(shown[0].values), loc="left", fontsize=7, parse_math=False)
        panels[-1].set_xlim(left=0)
        save_figure(figure, path)


def _draw_measure(axes: Axes, standings: Sequence[Standing], measure: str) -> None:
    """Draw an attribute of outcomes: a point for each, a bar at a row's mean, chance where there is one."""
    for row, standing in enumerate(standings):
        values = [getattr(outcome, measure) for outcome in standing.outcomes]
        known = [value for value in values if value is not None]
        axes.plot(known, [row] * len(known), "o", color="#2b6ca3", alpha=0.5, markersize=4, markeredgewidth=0)
        if known:
            axes.plot([sum(known) / len(known)] * 2, [row - 0.32, row + 0.32], color="black", linewidth=1.2)
        if measure == "on_a_call" and standing.by_chance is not None:
            axes.plot([standing.by_chance] * 2, [row - 0.5, row + 0.5], "--", color="black", linewidth=0.8)
    axes.grid(axis="x", linewidth=0.3)
    axes.set_axisbelow(True)


def _name(standing: Standing) -> str:
    name = ", ".join(show_value(value) for value in standing.values.values()) or "all seeds"
    return shorten(name)
