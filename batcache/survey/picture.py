"""A survey as a picture: species by night, site by site, and species by hour after sunset.

A cell is how many recordings hold the species, its colour the share of all recordings. White with a dot is a night that
was recorded and has none; a site has rows of what was found there; hatched is a night without recordings, of which
nothing is known. Of a survey longer than a season, nights in which no site was recorded are left out.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from batcache.evaluation.pictures.save import save_figure
from batcache.survey.counts import Counts, Effort

MOST_SITES = 6
"""With more, the nights of all sites are drawn together."""
LONGEST_CALENDAR = 200
"""Nights, from the first to the last, up to which those without recordings are drawn too."""
_MOST_NUMBERS = 40  # columns: in more, numbers would not be legible
_ROW, _COLUMN = 0.24, 0.34  # inches
_UNKNOWN: dict[str, Any] = {"facecolor": "#e4e4e4", "hatch": "////", "edgecolor": "#b5b5b5", "linewidth": 0.0}
_COLOURS = "YlGnBu"


def draw_survey(counts: Counts, place: Path, model: str) -> None:
    """Draw a survey.

    Raises:
        RunError: the name ends in no kind of picture. OSError: the disk refuses.
    """
    totals = {name: sum(effort.holding[name] for effort in counts.nights.values()) for name in counts.species}
    species = sorted((name for name in totals if totals[name]), key=lambda name: -totals[name])
    nights = list_nights([night for _, night in counts.nights])
    panels = _panels(counts)
    known = [hour for _, hour in counts.hours]
    hours = range(min(known), max(known) + 1) if known else range(0)
    columns = max(len(nights), len(hours), 14)
    width = min(max(3.2 + _COLUMN * columns, 8), 20)
    of_panels = [_found(species, efforts.values()) for _, efforts in panels]
    of_hours = _found(species, counts.hours.values())
    rows = [len(names) + 3 for names in (*of_panels, *([of_hours] if hours else []))]
    with mpl.rc_context({"font.size": 8, "hatch.linewidth": 0.5, "axes.titlesize": 9}):
        figure = Figure(figsize=(width, _ROW * sum(rows) + 1.3), dpi=150, layout="constrained")
        axes = figure.subplots(max(len(rows), 1), 1, squeeze=False, height_ratios=rows or [1])[:, 0]
        labels = [_label(night, i, nights) for i, night in enumerate(nights)]
        for panel, (title, efforts), names in zip(axes, panels, of_panels, strict=False):
            held = [efforts.get(night) for night in nights]
            _draw_panel(panel, title, "nights", names, held, labels)
        if hours:
            held = [_sum([effort for (_, h), effort in counts.hours.items() if h == hour]) for hour in hours]
            named = [f"{hour:+d}" if hour < 0 else str(hour) for hour in hours]
            _draw_panel(axes[-1], "all sites, by hour after sunset (0: the first)", "hours", of_hours, held, named)
        _explain(figure, model)
        save_figure(figure, place)


def _found(species: Sequence[str], efforts: Iterable[Effort]) -> list[str]:
    """Those of these species that some effort found, in their order."""
    found = {name for effort in efforts for name, recordings in effort.holding.items() if recordings}
    return [name for name in species if name in found] or ["no bat found"]


def _panels(counts: Counts) -> list[tuple[str, dict[date, Effort]]]:
    """What is drawn by night: each site, or all together."""
    sites = sorted({where for where, _ in counts.nights})
    if len(sites) <= MOST_SITES:
        return [(site, {night: e for (where, night), e in counts.nights.items() if where == site}) for site in sites]
    nights = sorted({night for _, night in counts.nights})
    together = {day: _sum([e for (_, night), e in counts.nights.items() if night == day]) for day in nights}
    return [(f"all {len(sites)} sites together, by night", together)]


def _sum(efforts: Sequence[Effort]) -> Effort:
    total = Effort()
    for effort in efforts:
        total.recordings += effort.recordings
        total.holding.update(effort.holding)
    return total


def list_nights(nights: Sequence[date]) -> list[date]:
    """All nights from the first to the last; of more than a season those with recordings."""
    if not nights:
        return []
    first, last = min(nights), max(nights)
    if (last - first).days >= LONGEST_CALENDAR:
        return sorted(set(nights))
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]


def _label(night: date, place: int, nights: Sequence[date]) -> str:
    """The day; the month where it begins, the year at the first and at each new one."""
    step = max(1, -(-len(nights) // _MOST_NUMBERS))
    if place % step:
        return ""
    before = nights[place - step] if place else None
    text = str(night.day)
    if before is None or before.month != night.month:
        text += f"\n{night:%b}"
    return text + (f"\n{night.year}" if before is None or before.year != night.year else "")


def _draw_panel(
    axes: Axes, title: str, what: str, species: Sequence[str], held: Sequence[Effort | None], labels: Sequence[str]
) -> None:
    counted = np.array([[0 if e is None else e.holding[name] for e in held] for name in species], float)
    efforts = np.array([0 if e is None else e.recordings for e in held], float)
    share = np.divide(counted, efforts, out=np.full_like(counted, np.nan), where=efforts > 0)
    colours = mpl.colormaps[_COLOURS].with_extremes(bad="white")
    axes.pcolormesh(
        np.ma.masked_where(~(share > 0), share), cmap=colours, norm=Normalize(0, 1), edgecolors="#dcdcdc", linewidth=0.4
    )
    for x in np.flatnonzero(efforts == 0).tolist():
        axes.axvspan(x, x + 1, **_UNKNOWN)
    if len(held) <= _MOST_NUMBERS:
        _write_numbers(axes, counted, share)
    axes.set_xticks(np.arange(len(labels)) + 0.5, labels)
    axes.set_yticks(np.arange(len(species)) + 0.5, species)
    axes.set_xlim(0, max(len(labels), 1))
    axes.set_ylim(len(species), 0)
    axes.tick_params(length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    effort = f"{int(efforts.sum()):,} recordings in {int((efforts > 0).sum())} of {len(held)} {what}"
    axes.set_title(f"{title}   ({effort})", loc="left")


def _write_numbers(axes: Axes, counted: NDArray[np.float64], share: NDArray[np.float64]) -> None:
    for (y, x), number in np.ndenumerate(counted):
        if not np.isnan(share[y, x]):
            colour = "#909090" if not number else "white" if share[y, x] > 0.55 else "black"
            text = f"{int(number)}" if number else "·"
            axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=7, color=colour)


def _explain(figure: Figure, model: str) -> None:
    colours = mpl.colormaps[_COLOURS]
    shares = [
        Patch(facecolor=colours(share), edgecolor="#909090", label=f"in {share:.0%}") for share in (0.1, 0.5, 1.0)
    ]
    nothing = Patch(facecolor="white", edgecolor="#909090", label="· recorded, in none")
    unknown = Patch(**_UNKNOWN, label="not recorded")
    figure.legend(handles=[nothing, *shares, unknown], loc="outside lower left", ncols=5, frameon=False)
    figure.suptitle(f"Recordings that hold each species   (judged by {model})", x=0.01, ha="left", fontsize=10)
