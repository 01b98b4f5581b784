"""A picture of a sweep: a row a combination, a point a seed, the mean marked; the best on top."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from batcache.errors import shorten
from batcache.evaluation.pictures.draw import save_figure
from batcache.evaluation.sweeps.standings import Standing, show_value

_MOST_ROWS = 200


def draw_sweep(path: Path, standings: Sequence[Standing], of: str) -> None:
    """Draw the macro average precision of standings, the first on top, at most 200 of them. ``of`` names the axis."""
    shown = standings[:_MOST_ROWS]
    names = [_name(standing) for standing in shown]
    with mpl.rc_context({"font.size": 7, "axes.linewidth": 0.5, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(6.4, 1 + 0.22 * len(shown)), dpi=100, layout="constrained")
        axes = figure.add_subplot()
        for row, standing in enumerate(shown):
            scores = [outcome.macro_average_precision for outcome in standing.outcomes]
            known = [score for score in scores if score is not None]
            axes.plot(known, [row] * len(known), "o", color="#2b6ca3", alpha=0.5, markersize=4, markeredgewidth=0)
            if standing.mean is not None:
                axes.plot([standing.mean] * 2, [row - 0.32, row + 0.32], color="black", linewidth=1.2)
        axes.set_yticks(range(len(shown)), names, parse_math=False)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel(of, parse_math=False)
        axes.set_title(", ".join(shown[0].values), loc="left", fontsize=7, parse_math=False)
        axes.grid(axis="x", linewidth=0.3)
        axes.set_axisbelow(True)
        save_figure(figure, path)


def _name(standing: Standing) -> str:
    name = ", ".join(show_value(value) for value in standing.values.values()) or "all seeds"
    return shorten(name)
