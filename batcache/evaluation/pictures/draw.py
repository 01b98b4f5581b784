"""Pictures: clips as spectrograms, with the calls that are known, a run's scores, and its evidence along time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from batcache.config.features import FeatureConfig
from batcache.errors import RunError
from batcache.evaluation.pictures.panels import Panel, Scores
from batcache.evaluation.pictures.save import is_vector, save_figure
from batcache.evaluation.pictures.scale import TICKS_KHZ, find_range
from batcache.evaluation.pictures.view import View
from batcache.evaluation.pictures.words import abbreviate, reserve_title, write_titles
from batcache.features.bands import band_edges_hz

_SHOWN_SCORES = 4
_COLUMNS = 1000
_WIDTH_IN, _HEIGHT_IN, _DPI = 6.4, 2.7, 100
_LEGEND_COLUMNS = 5
_LEAST_IN = (4.0, 1.6)
"""What a clip needs, with all that stands around it."""
_AROUND_IN = 2.2
"""What stands left and right of a picture, at most."""


@dataclass(frozen=True)
class Page:
    """What all pictures of a page share.

    Attributes:
        features: of what is drawn.
        marks: colour and shape of each species' calls.
        is_sharp: whether a picture may be enlarged without end.
        legend_pt: how wide a legend may be, in points of 1/72 inch.
    """

    features: FeatureConfig
    marks: Mapping[str, tuple[str, str]]
    is_sharp: bool
    legend_pt: float

    def legend_columns(self, names: Sequence[str]) -> int:
        """How many columns of names have room: a letter takes 3.2 points, what stands beside a name 22."""
        fit = self.legend_pt / (22 + 3.2 * max(map(len, names)))
        return max(1, min(_LEGEND_COLUMNS, len(names), int(fit)))


_COLOURS = ("#4cc9ff", "#8cff3a", "#ffffff", "#ff9ecb", "#ffe23a", "#3affc8", "#c3a6ff")
_SHAPES = "voP"  # 7 and 3 have no common factor: 21 species differ, and neighbours do in both


def draw_page(path: Path, panels: Sequence[Panel], features: FeatureConfig, view: View | None = None) -> None:
    """Draw clips two abreast into one PNG, PDF or SVG.

    Raises:
        RunError: there is nothing to draw, or the name is none of a picture.
    """
    view, is_sharp = view or View(), is_vector(path)
    if not panels:
        raise RunError(path, "no clip to draw", "Pass --clip, or build a cache that holds some")
    panels = [view.cut(panel, features.frames_per_second) for panel in panels]
    rows = -(-len(panels) // 2)
    columns = min(2, len(panels))
    species = dict.fromkeys(call.species for panel in panels for call in panel.calls)
    marks = dict(zip(species, zip(cycle(_COLOURS), cycle(_SHAPES)), strict=False))
    with mpl.rc_context({"font.size": 7, "axes.linewidth": 0.5, "font.family": "DejaVu Sans"}):
        size = _find_size(view, rows, columns)
        page = Page(features, marks, is_sharp, 72 * (size[0] / columns - _AROUND_IN))
        figure = Figure(figsize=size, dpi=_DPI, layout=ConstrainedLayoutEngine(h_pad=0.02))
        grid = figure.add_gridspec(rows, columns)
        titles = []
        for i, panel in enumerate(panels):
            strips = 1 if panel.scores is not None else 0
            cell = grid[i // columns, i % columns].subgridspec(
                1 + strips, 1, height_ratios=[4, 1.2][: 1 + strips], hspace=0.02
            )
            picture = figure.add_subplot(cell[0])
            image = _draw_spectrogram(picture, panel, page)
            _draw_colour_bar(figure, picture, image, features)
            titles.append((reserve_title(picture), panel))
            if panel.scores is not None:
                picture.tick_params(labelbottom=False)
                picture.set_xlabel("")
                _draw_evidence(figure.add_subplot(cell[1], sharex=picture), panel.scores, panel)
        write_titles(figure, titles)
        save_figure(figure, path)


def _find_size(view: View, rows: int, columns: int) -> tuple[float, float]:
    """Width and height of the page in inches.

    Raises:
        RunError: less was asked for than so many clips need.
    """
    width, height = view.size_in or (_WIDTH_IN * columns, _HEIGHT_IN * rows)
    least = round(columns * _LEAST_IN[0], 1), round(rows * _LEAST_IN[1], 1)
    if width < least[0] or height < least[1]:
        needed = f"{least[0]:g}x{least[1]:g}"
        finding = f"{width:g} by {height:g} inches, expected at least {needed} for these clips"
        raise RunError("--size", finding, f"Pass --size {needed}, or name fewer clips by --clip")
    return width, height


def _draw_spectrogram(axes: Axes, panel: Panel, page: Page) -> AxesImage:
    features = page.features
    centres = band_edges_hz(features)[:, 1] / 1000
    bands = np.arange(features.n_mels)
    end_s = panel.start_s + len(panel.frames) / features.frames_per_second
    values = _thin_out(panel.frames.astype(np.float32)).T
    darkest, brightest = find_range(values, features)
    image = axes.imshow(
        values,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=darkest,
        vmax=brightest,
        extent=(panel.start_s, end_s, -0.5, features.n_mels - 0.5),
        interpolation="none" if page.is_sharp else "antialiased",  # a sharp picture is enlarged by what shows it
    )
    _mark_calls(axes, panel, centres, page)
    ticks = [khz for khz in TICKS_KHZ if centres[0] <= khz <= centres[-1]]
    axes.set_yticks(np.interp(ticks, centres, bands), [str(khz) for khz in ticks])
    axes.set_ylabel("kHz")
    axes.set_xlabel("s")
    axes.set_xlim(panel.start_s, end_s)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.set_ylim(-0.5, features.n_mels - 0.5)
    return image


def _mark_calls(axes: Axes, panel: Panel, centres_khz: NDArray[np.float64], page: Page) -> None:
    """A mark above every known call, on a bar as long as the call, and which species each stands for."""
    bands = np.arange(len(centres_khz))
    marked = dict.fromkeys(call.species for call in panel.calls)
    for species in marked:
        colour, shape = page.marks[species]
        calls = [call for call in panel.calls if call.species == species]
        highest = [centres_khz[-1] if call.high_khz is None else call.high_khz for call in calls]
        tops = np.minimum(np.interp(highest, centres_khz, bands) + 3, len(bands) - 2)
        starts, ends = [call.start_s for call in calls], [call.end_s for call in calls]
        middles = np.add(starts, ends) / 2
        axes.hlines(tops, starts, ends, color=colour, linewidth=0.8)
        axes.plot(middles, tops, shape, color=colour, markersize=2.8, markeredgewidth=0, label=abbreviate(species))
    if marked:
        legend = axes.legend(
            loc="upper right",
            fontsize=5.5,
            markerscale=1.6,
            facecolor="black",
            labelcolor="white",
            framealpha=0.6,
            ncols=page.legend_columns([abbreviate(species) for species in marked]),
            borderpad=0.3,
        )
        legend.set_in_layout(False)  # it lies within the picture
        for text in legend.get_texts():
            text.set_parse_math(False)


def _draw_colour_bar(figure: Figure, axes: Axes, image: AxesImage, features: FeatureConfig) -> None:
    """What the colours stand for, at the right of a picture."""
    place = axes.inset_axes((1.012, 0.05, 0.014, 0.9))  # its lowest number takes no room below the picture
    bar = figure.colorbar(image, cax=place, extend="both", extendfrac=0.03)
    bar.set_label("PCEN" if features.compression == "pcen" else "log-mel, 1 is 20 dB", fontsize=6, labelpad=2)
    bar.ax.tick_params(labelsize=5.5, length=2, pad=1)
    bar.outline.set_linewidth(0.4)


def _thin_out(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """At most so many columns as a picture has room for, each the maximum of its frames: a 3-ms call stays in sight.

    Shape: ``[F, n_mels]`` -> ``[columns, n_mels]``.
    """
    step = -(-len(frames) // _COLUMNS)
    short = -len(frames) % step
    columns: NDArray[np.float32] = np.pad(frames, ((0, short), (0, 0))).reshape(-1, step, frames.shape[1]).max(1)
    return columns


def _draw_evidence(axes: Axes, scores: Scores, panel: Panel) -> None:
    """Species that are there, then others, each by score, as many as fit; one row each, evidence from white to dark."""
    by_score = np.argsort(-scores.scores, kind="stable").tolist()
    there = [i for i in by_score if scores.species[i] in set(panel.present)]
    shown = [*there, *(i for i in by_score if i not in there)][:_SHOWN_SCORES]
    rows = sorted(shown, key=by_score.index, reverse=True)
    axes.pcolormesh(
        scores.edges_s,
        np.arange(len(rows) + 1),
        scores.evidence[:, rows].T,
        cmap="Blues",
        vmin=0,
        vmax=1,
        rasterized=True,
    )
    given = ["-" if np.isnan(score) else f"{score:.2f}" for score in scores.scores]
    labels = [f"{abbreviate(scores.species[i])} {given[i]}" for i in rows]
    axes.set_yticks(np.arange(len(rows)) + 0.5, labels, fontsize=5.2, parse_math=False)
    for tick, i in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if scores.species[i] in set(panel.present) else "normal")
    axes.set_xlabel("s")
