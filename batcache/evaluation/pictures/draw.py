"""Pictures: clips as spectrograms, with the calls that are known, a run's scores, and its evidence along time."""

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from batcache.config.features import FeatureConfig
from batcache.errors import RunError
from batcache.evaluation.pictures.panels import Panel, Scores
from batcache.features.bands import band_edges_hz
from batcache.storage.disk import write_file

TICKS_KHZ = (1, 2, 5, 10, 15, 20, 30, 40, 50, 60, 80, 100, 120, 150, 200)
_SHOWN_SCORES = 4
_COLUMNS = 1000
_LEGEND_COLUMNS = 5
_COLOURS = ("#4cc9ff", "#8cff3a", "#ffffff", "#ff9ecb", "#ffe23a", "#3affc8", "#c3a6ff")
_SHAPES = "voP"  # 7 and 3 have no common factor: 21 species differ, and neighbours do in both
_BRIGHTEST = 99.8  # percentile of the picture's values that is drawn white
_DARKEST = 20  # of levels above silence, the percentile that is drawn black


def draw_page(path: Path, panels: Sequence[Panel], features: FeatureConfig) -> None:
    """Draw clips two abreast into one PNG.

    Raises:
        RunError: there is nothing to draw.
    """
    if not panels:
        raise RunError(path, "no clip to draw", "Pass --clip, or build a cache that holds some")
    rows = -(-len(panels) // 2)
    columns = min(2, len(panels))
    species = dict.fromkeys(call.species for panel in panels for call in panel.calls)
    marks = dict(zip(species, zip(cycle(_COLOURS), cycle(_SHAPES)), strict=False))
    with mpl.rc_context({"font.size": 7, "axes.linewidth": 0.5, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(6.4 * columns, 2.7 * rows), dpi=100, layout="constrained")
        grid = figure.add_gridspec(rows, columns)
        for i, panel in enumerate(panels):
            strips = 1 if panel.scores is not None else 0
            cell = grid[i // columns, i % columns].subgridspec(
                1 + strips, 1, height_ratios=[5, 1][: 1 + strips], hspace=0.03
            )
            picture = figure.add_subplot(cell[0])
            _draw_spectrogram(picture, panel, features, marks)
            if panel.scores is not None:
                picture.tick_params(labelbottom=False)
                picture.set_xlabel("")
                _draw_evidence(figure.add_subplot(cell[1], sharex=picture), panel.scores, panel.present)
        save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG of 256 colours: a third of the bytes."""
    drawn, content = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png")
    picture = Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
    picture.save(content, format="png", optimize=True)
    write_file(path, content.getvalue())


def _draw_spectrogram(axes: Axes, panel: Panel, features: FeatureConfig, marks: Mapping[str, tuple[str, str]]) -> None:
    centres = band_edges_hz(features)[:, 1] / 1000
    bands = np.arange(features.n_mels)
    end_s = panel.start_s + len(panel.frames) / features.frames_per_second
    values = _thin_out(panel.frames.astype(np.float32)).T
    darkest, brightest = find_range(values, features)
    axes.imshow(
        values,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=darkest,
        vmax=brightest,
        extent=(panel.start_s, end_s, -0.5, features.n_mels - 0.5),
        interpolation="antialiased",
    )
    marked = dict.fromkeys(call.species for call in panel.calls)
    for species in marked:
        colour, shape = marks[species]
        calls = [call for call in panel.calls if call.species == species]
        highest = [centres[-1] if call.high_khz is None else call.high_khz for call in calls]
        tops = np.minimum(np.interp(highest, centres, bands) + 3, features.n_mels - 2)
        middles = [(call.start_s + call.end_s) / 2 for call in calls]
        axes.plot(middles, tops, shape, color=colour, markersize=2.8, markeredgewidth=0, label=_abbreviate(species))
    if marked:
        legend = axes.legend(
            loc="upper right",
            fontsize=5.5,
            markerscale=1.6,
            facecolor="black",
            labelcolor="white",
            framealpha=0.6,
            ncols=min(_LEGEND_COLUMNS, len(marked)),
            borderpad=0.3,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    ticks = [khz for khz in TICKS_KHZ if centres[0] <= khz <= centres[-1]]
    axes.set_yticks(np.interp(ticks, centres, bands), [str(khz) for khz in ticks])
    axes.set_ylabel("kHz")
    axes.set_xlabel("s")
    axes.set_xlim(panel.start_s, end_s)
    axes.set_ylim(-0.5, features.n_mels - 0.5)
    remark = f"{panel.remark}: " if panel.remark else ""
    axes.set_title(
        f"{remark}{panel.name}\n{', '.join(panel.present) or 'no species marked'}",
        loc="left",
        fontsize=7,
        parse_math=False,
    )


def find_range(values: NDArray[np.float32], features: FeatureConfig) -> tuple[float, float]:
    """The values that are drawn black and white. PCEN has held the background down to near 0; a logarithm has not."""
    brightest = max(1.0, float(np.percentile(values, _BRIGHTEST)))
    heard = values[values > 0]
    if features.compression == "pcen" or not len(heard):
        return 0.0, brightest
    return float(np.percentile(heard, _DARKEST)), brightest


def _thin_out(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """At most so many columns as a picture has room for, each the maximum of its frames: a 3-ms call stays in sight.

    Shape: ``[F, n_mels]`` -> ``[columns, n_mels]``.
    """
    step = -(-len(frames) // _COLUMNS)
    short = -len(frames) % step
    columns: NDArray[np.float32] = np.pad(frames, ((0, short), (0, 0))).reshape(-1, step, frames.shape[1]).max(1)
    return columns


def _draw_evidence(axes: Axes, scores: Scores, present: Iterable[str]) -> None:
    """Species that are there, then others, each by score, as many as fit; one row each, evidence from white to dark."""
    by_score = np.argsort(-scores.scores, kind="stable").tolist()
    there = [i for i in by_score if scores.species[i] in set(present)]
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
    labels = [f"{_abbreviate(scores.species[i])} {given[i]}" for i in rows]
    axes.set_yticks(np.arange(len(rows)) + 0.5, labels, fontsize=5.5, parse_math=False)
    for tick, i in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if scores.species[i] in set(present) else "normal")
    axes.set_xlabel("s")


def _abbreviate(species: str) -> str:
    """Two-word names as field workers write them.

    >>> _abbreviate("Myotis myotis")
    'M. myotis'
    """
    genus, _, rest = species.partition(" ")
    return f"{genus[0]}. {rest}" if rest else species
