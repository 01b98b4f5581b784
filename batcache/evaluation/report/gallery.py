"""Clips to look at: a short window of each around the strongest evidence, and the evidence of the whole clip."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from batcache.config.features import FeatureConfig
from batcache.errors import AudioError, RunError
from batcache.evaluation.pictures.scale import TICKS_KHZ, find_range
from batcache.evaluation.pictures.view import find_loudest
from batcache.evaluation.report.choose import Shown, choose_shown
from batcache.evaluation.report.slow import slow_down
from batcache.features.bands import band_edges_hz
from batcache.inference.predictions import Predictions
from batcache.store.reader import Store
from batcache.training.clips.bags import Bag

WINDOW_S = 0.2
_MAP = "magma"
_MOST_BARS = 150


@dataclass(frozen=True)
class Spectrogram:
    """A window of a clip as a picture.

    Attributes:
        start_s: where the window begins in its recording, in true seconds.
        seconds: how long it lasts.
        png: the picture, a pixel a frame and a mel band, as a data URI.
        khz: ticks: the share of the height, from above, and the frequency in kHz.
        darkest, brightest: the values that are drawn black and white.
    """

    start_s: float
    seconds: float
    png: str
    khz: tuple[tuple[float, int], ...]
    darkest: float
    brightest: float


@dataclass(frozen=True)
class Exhibit:
    """A clip as a report shows it.

    Attributes:
        kind: right, wrong, doubtful or likely.
        species: which it is shown for; ``score`` and ``label`` (1, 0, -1 unknown) are of this species.
        present: species that are labelled present.
        start_s, seconds: the clip's in its recording.
        bars: evidence for the species along the clip: begin and length as shares of the clip, and the evidence.
        audio: the window, slowed down, as a data URI; None where ``silence`` says why there is none.
    """

    kind: str
    filename: str
    species: str
    score: float
    label: int
    present: tuple[str, ...]
    start_s: float
    seconds: float
    spectrogram: Spectrogram
    bars: tuple[tuple[float, float, float], ...]
    audio: str | None
    silence: str


def hang(
    store: Store, bags: Sequence[Bag], predictions: Predictions, data_dir: Path, threshold: float
) -> list[Exhibit]:
    """Picture a handful of clips; their audio comes from the recordings below ``data_dir``, where they still are.

    Raises:
        RunError: a clip that is no longer in the CSV. StoreError: damage.
    """
    by_clip = {(bag.clip.filename, bag.clip.start_s or 0.0, bag.clip.duration_s): bag for bag in bags}
    exhibits = []
    for shown in choose_shown(predictions, threshold):
        i = shown.clip
        name = str(predictions.filenames[i])
        duration = None if np.isnan(predictions.duration_s[i]) else float(predictions.duration_s[i])
        bag = by_clip.get((name, float(predictions.start_s[i]), duration))
        if bag is None:
            raise RunError(name, "was judged, and is no longer in the CSV", "Run `batcache eval` again")
        exhibits.append(_exhibit(store, bag, predictions, shown, data_dir))
    return exhibits


def _exhibit(store: Store, bag: Bag, predictions: Predictions, shown: Shown, data_dir: Path) -> Exhibit:
    i, c = shown.clip, shown.species
    part = slice(int(predictions.offsets[i]), int(predictions.offsets[i + 1]))
    evidence = predictions.evidence[part, c]
    begins, ends = predictions.evidence_start_s[part], predictions.evidence_end_s[part]
    strongest = int(np.argmax(evidence))
    spectrogram = draw_window(store, bag, float(begins[strongest]), float(ends[strongest]))
    audio, silence = _find_audio(data_dir / bag.clip.filename, bag, spectrogram, store.features)
    labels = predictions.labels[i]
    return Exhibit(
        kind=shown.kind,
        filename=bag.clip.filename,
        species=str(predictions.species[c]),
        score=float(predictions.scores[i, c]),
        label=int(labels[c]),
        present=tuple(str(name) for name in predictions.species[labels == 1]),
        start_s=float(begins[0]),
        seconds=float(ends[-1] - begins[0]),
        spectrogram=spectrogram,
        bars=tuple(_bars(evidence, begins, ends)),
        audio=audio,
        silence=silence,
    )


def draw_window(store: Store, bag: Bag, begin_s: float, end_s: float) -> Spectrogram:
    """Draw the window around the loudest moment between two times of a clip; a shorter clip is drawn whole."""
    features = store.features
    per_second = features.frames_per_second
    first = min(max(round(begin_s * per_second), bag.start), bag.stop - 1)
    stop = min(max(round(end_s * per_second), first + 1), bag.stop)
    loudest = first + find_loudest(store.read_frames(bag.row, first, stop).astype(np.float32), per_second)
    length = min(max(1, round(WINDOW_S * per_second)), bag.stop - bag.start)
    start = min(max(loudest - length // 2, bag.start), bag.stop - length)
    values = store.read_frames(bag.row, start, start + length).astype(np.float32).T
    darkest, brightest = find_range(values, features)
    shades = np.clip((values[::-1] - darkest) / (brightest - darkest), 0, 1)
    return Spectrogram(
        start / per_second, length / per_second, _png(shades), tuple(_khz_ticks(features)), darkest, brightest
    )


def colour_stops(count: int = 9) -> list[tuple[float, str]]:
    """The colours of a spectrogram, from the darkest to the brightest: share of the way and ``#rrggbb``."""
    shares = [i / (count - 1) for i in range(count)]
    return [(share, mpl.colors.to_hex(mpl.colormaps[_MAP](share))) for share in shares]


def _png(shades: NDArray[np.float32]) -> str:
    """Values of 0 to 1 as a picture in the map's colours, a data URI."""
    picture = Image.fromarray(np.round(shades * 255).astype(np.uint8), "P")
    colours = mpl.colormaps[_MAP](np.arange(256), bytes=True)[:, :3]
    picture.putpalette(colours.tobytes())
    content = BytesIO()
    picture.save(content, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def _khz_ticks(features: FeatureConfig) -> list[tuple[float, int]]:
    centres = band_edges_hz(features)[:, 1] / 1000
    ticks = [khz for khz in TICKS_KHZ if centres[0] <= khz <= centres[-1]]
    bands = np.interp(ticks, centres, np.arange(len(centres)))
    return [(1 - (band + 0.5) / len(centres), khz) for band, khz in zip(bands.tolist(), ticks, strict=True)]


def _bars(
    evidence: NDArray[np.float32], begins: NDArray[np.float64], ends: NDArray[np.float64]
) -> list[tuple[float, float, float]]:
    """Evidence along a clip, of neighbours the highest where there are more than a picture has room for."""
    step = -(-len(evidence) // _MOST_BARS)
    firsts = np.arange(0, len(evidence), step)
    lasts = np.minimum(firsts + step, len(evidence)) - 1
    whole = float(ends[-1] - begins[0]) or 1.0
    return [
        ((b - float(begins[0])) / whole, (e - b) / whole, value)
        for b, e, value in zip(
            begins[firsts].tolist(), ends[lasts].tolist(), np.maximum.reduceat(evidence, firsts).tolist(), strict=True
        )
    ]


def _find_audio(path: Path, bag: Bag, window: Spectrogram, features: FeatureConfig) -> tuple[str | None, str]:
    """The window's audio as a data URI, or why there is none."""
    try:
        wav = slow_down(path, bag.row, window.start_s, window.seconds, features.fmin)
    except AudioError as error:
        return None, error.finding
    return f"data:audio/wav;base64,{base64.b64encode(wav).decode()}", ""
