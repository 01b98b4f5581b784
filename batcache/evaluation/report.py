"""Pictures: clips as PCEN spectrograms, with the calls that are known, a run's scores, and its evidence along time."""

import csv
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from batcache.config import FeatureConfig
from batcache.disk import write_file
from batcache.errors import ManifestError, RunError
from batcache.evaluation.predict import Predictions
from batcache.features.mel import band_edges_hz
from batcache.store.reader import Store
from batcache.training.bags import Bag

_TICKS_KHZ = (1, 2, 5, 10, 15, 20, 30, 40, 50, 60, 80, 100, 120, 150, 200)
_SHOWN_SCORES = 4
_COLUMNS = 1000
_CALL_COLOURS = ("#7fd4ff", "#b6f27a", "#ffd24a", "#ff9ecb")
_BRIGHTEST = 99.8  # percentile of the picture's values that is drawn white


@dataclass(frozen=True)
class Call:
    """A call known to be there: true seconds from the recording's start, kHz."""

    species: str
    start_s: float
    end_s: float
    low_khz: float
    high_khz: float


@dataclass(frozen=True)
class Scores:
    """What a run says of one clip. Shapes: scores ``[C]``, evidence ``[N, C]``, edges_s ``[N + 1]``."""

    species: tuple[str, ...]
    scores: NDArray[np.float32]
    evidence: NDArray[np.float32]
    edges_s: NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """One clip to draw. ``frames`` is ``[F, n_mels]``; ``remark`` stands before the name."""

    name: str
    remark: str
    start_s: float
    frames: NDArray[np.float16]
    present: tuple[str, ...]
    calls: tuple[Call, ...]
    scores: Scores | None


def read_calls(path: Path) -> dict[str, tuple[Call, ...]]:
    """Read calls by filename from an ``events.csv``.

    Its columns: ``filename, species, start_s, end_s, fmin_khz, fmax_khz`` (or ``taxon`` for species, ``dur_s`` for
    end_s); others are ignored. No such file, or one with other columns: no calls.

    Raises:
        ManifestError: a row that holds no numbers where they belong.
    """
    if not path.is_file():
        return {}
    calls: dict[str, list[Call]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            there = set(rows.fieldnames or ())
            placed = {"filename", "start_s", "fmin_khz", "fmax_khz"} <= there
            if not (placed and there & {"end_s", "dur_s"} and there & {"species", "taxon"}):
                return {}
            for row in rows:
                start = float(row["start_s"])
                end = float(row["end_s"]) if "end_s" in row else start + float(row["dur_s"])
                name = (row["species"] if "species" in row else row["taxon"]).strip() or "unknown"
                call = Call(name, start, end, float(row["fmin_khz"]), float(row["fmax_khz"]))
                calls.setdefault(row["filename"], []).append(call)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise ManifestError(path, f"not a table of calls ({error})", "Correct, rename or remove it") from None
    return {name: tuple(found) for name, found in calls.items()}


def choose_telling(predictions: Predictions, count: int = 6) -> list[tuple[int, str]]:
    """Choose clips that show a model at its best, at its worst and in doubt: (index, remark), a third of each.

    Judged by each clip's mean cross-entropy over known labels; a doubtful clip is one whose most doubtful score is
    nearest to one half. Among the good, clips with bats come first, each of other species than those before.
    """
    p = np.clip(predictions.scores.astype(np.float64), 1e-6, 1 - 1e-6)
    known, positive = predictions.labels >= 0, predictions.labels == 1
    losses = -np.where(positive, np.log(p), np.log(1 - p))
    loss = (losses * known).sum(1) / np.maximum(known.sum(1), 1)
    doubt = np.where(known, np.abs(p - 0.5), 1).min(1)
    chosen: dict[int, str] = {}
    third = max(1, count // 3)
    seen: set[int] = set()
    labelled = np.flatnonzero(known.any(1))
    best, worst, unsure = (labelled[np.argsort(key[labelled], kind="stable")] for key in (loss, -loss, doubt))
    for i in best:
        species = set(np.flatnonzero(positive[i]).tolist())
        if species and not species & seen and len(chosen) < third:
            chosen[int(i)] = "good"
            seen |= species
    for order, remark, most in (
        (best, "good", third - len(chosen)),
        (worst, "bad", third),
        (unsure, "doubtful", third),
    ):
        fresh = (int(i) for i in order if int(i) not in chosen)
        chosen |= {i: remark for i, _ in zip(fresh, range(most), strict=False)}
    return list(chosen.items())[:count]


def panels_of_run(
    store: Store,
    bags: Sequence[Bag],
    predictions: Predictions,
    calls: Mapping[str, tuple[Call, ...]],
    names: Sequence[str] = (),
) -> list[Panel]:
    """Panels of the named clips that a run judged, in that order, or of six that tell most.

    Raises:
        RunError: a name that is not among the judged clips, or a clip that is no longer in the CSV.
    """
    judged = [str(name) for name in predictions.filenames]
    _check_names(names, judged, "the judged clips")
    chosen = [(i, "") for name in names for i, other in enumerate(judged) if other == name]
    chosen = chosen or choose_telling(predictions)
    by_clip = {(bag.clip.filename, bag.clip.start_s or 0.0, bag.clip.duration_s): bag for bag in bags}
    panels = []
    for i, remark in chosen:
        duration = None if np.isnan(predictions.duration_s[i]) else float(predictions.duration_s[i])
        bag = by_clip.get((judged[i], float(predictions.start_s[i]), duration))
        if bag is None:
            raise RunError(judged[i], "was judged, and is no longer in the CSV", "Run `batcache eval` again")
        labels = predictions.labels[i]
        present = tuple(str(name) for name in predictions.species[labels == 1])
        panels.append(_panel(store, bag, present, calls, _scores_of(predictions, i), remark))
    return panels


def panels_of_store(
    store: Store,
    bags: Sequence[Bag],
    species: Sequence[str],
    calls: Mapping[str, tuple[Call, ...]],
    names: Sequence[str] = (),
    count: int = 6,
) -> list[Panel]:
    """Panels of the named clips, in that order, or of the first few.

    Raises:
        RunError: a name that is not among the clips.
    """
    _check_names(names, [bag.clip.filename for bag in bags], "the clips of the manifest")
    chosen = [bag for name in names for bag in bags if bag.clip.filename == name] if names else bags[:count]
    return [
        _panel(store, bag, [n for n, y in zip(species, bag.clip.labels, strict=True) if y == 1], calls)
        for bag in chosen
    ]


def _check_names(names: Sequence[str], there: Sequence[str], what: str) -> None:
    for name in names:
        if name not in there:
            near = difflib.get_close_matches(name, there, n=1, cutoff=0.0)
            raise RunError("--clip", f"{name} is not among {what}", f"Did you mean {near[0]}?" if near else "")


def _scores_of(predictions: Predictions, i: int) -> Scores:
    """The part of predictions that belongs to one clip."""
    part = slice(int(predictions.offsets[i]), int(predictions.offsets[i + 1]))
    edges = np.append(predictions.evidence_start_s[part], predictions.evidence_end_s[part][-1:])
    species = tuple(str(name) for name in predictions.species)
    return Scores(species, predictions.scores[i], predictions.evidence[part], edges)


def _panel(
    store: Store,
    bag: Bag,
    present: Iterable[str],
    calls: Mapping[str, tuple[Call, ...]],
    scores: Scores | None = None,
    remark: str = "",
) -> Panel:
    return Panel(
        name=bag.clip.filename,
        remark=remark,
        start_s=bag.start / store.features.frames_per_second,
        frames=store.read_frames(bag.row, bag.start, bag.stop),
        present=tuple(present),
        calls=calls.get(bag.clip.filename, ()),
        scores=scores,
    )


def draw_page(path: Path, panels: Sequence[Panel], features: FeatureConfig) -> None:
    """Draw clips two abreast into one PNG.

    Raises:
        RunError: there is nothing to draw.
    """
    if not panels:
        raise RunError(path, "no clip to draw", "Pass --clip, or build a cache that holds some")
    rows = -(-len(panels) // 2)
    columns = min(2, len(panels))
    with mpl.rc_context({"font.size": 7, "axes.linewidth": 0.5, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(6.4 * columns, 2.7 * rows), dpi=100, layout="constrained")
        grid = figure.add_gridspec(rows, columns)
        for i, panel in enumerate(panels):
            strips = 1 if panel.scores is not None else 0
            cell = grid[i // columns, i % columns].subgridspec(
                1 + strips, 1, height_ratios=[5, 1][: 1 + strips], hspace=0.03
            )
            picture = figure.add_subplot(cell[0])
            _draw_spectrogram(picture, panel, features)
            if panel.scores is not None:
                picture.tick_params(labelbottom=False)
                picture.set_xlabel("")
                _draw_evidence(figure.add_subplot(cell[1], sharex=picture), panel.scores, panel.present)
        drawn, content = BytesIO(), BytesIO()
        figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(
        content, format="png", optimize=True
    )  # a third of the bytes
    write_file(path, content.getvalue())


def _draw_spectrogram(axes: Axes, panel: Panel, features: FeatureConfig) -> None:
    centres = band_edges_hz(features)[:, 1].numpy() / 1000
    bands = np.arange(features.n_mels)
    end_s = panel.start_s + len(panel.frames) / features.frames_per_second
    values = _thin_out(panel.frames.astype(np.float32)).T
    axes.imshow(
        values,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=0,
        vmax=max(1.0, float(np.percentile(values, _BRIGHTEST))),
        extent=(panel.start_s, end_s, -0.5, features.n_mels - 0.5),
        interpolation="antialiased",
    )
    colours = dict(zip(dict.fromkeys(call.species for call in panel.calls), cycle(_CALL_COLOURS), strict=False))
    for species, colour in colours.items():
        calls = [call for call in panel.calls if call.species == species]
        tops = np.interp([call.high_khz for call in calls], centres, bands) + 3
        middles = [(call.start_s + call.end_s) / 2 for call in calls]
        axes.plot(middles, tops, "v", color=colour, markersize=2.2, markeredgewidth=0, label=_abbreviate(species))
    if colours:
        legend = axes.legend(
            loc="upper right", fontsize=5.5, markerscale=1.6, framealpha=0.5, ncols=len(colours), borderpad=0.3
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    ticks = [khz for khz in _TICKS_KHZ if centres[0] <= khz <= centres[-1]]
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
    labels = [f"{_abbreviate(scores.species[i])} {scores.scores[i]:.2f}" for i in rows]
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
