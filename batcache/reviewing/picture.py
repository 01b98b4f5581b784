"""A part of a clip as a picture: a column a frame, or the highest of several, a line a mel band, in a map's colours."""

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image

from batcache.config.features import FeatureConfig
from batcache.evaluation.pictures.scale import TICKS_KHZ, find_range
from batcache.features.bands import band_edges_hz
from batcache.reviewing.recordings import Span

COLUMNS = 1500
"""A picture has no more: of several frames each band's highest value is drawn, so that short calls stay in sight."""
_MAP = "magma"
_BACKGROUND = 60
"""Per cent of values: calls fill less of a span than the rest."""


def draw_png(span: Span, darkest: float, brightest: float) -> bytes:
    """Draw frames as a PNG; these values are drawn darkest and brightest."""
    step = -(-len(span.frames) // COLUMNS)
    short = -len(span.frames) % step
    columns = np.pad(span.frames, ((0, short), (0, 0))).reshape(-1, step, span.frames.shape[1]).max(1)
    shades = np.clip((columns.T[::-1] - darkest) / (brightest - darkest), 0, 1)
    picture = Image.fromarray(np.round(shades * 255).astype(np.uint8), "P")
    picture.putpalette(_palette())
    content = BytesIO()
    picture.save(content, format="png", compress_level=1)
    return content.getvalue()


@lru_cache
def _palette() -> bytes:
    """Red, green and blue of 256 shades."""
    import matplotlib as mpl  # half a second, which the first question need not wait for

    return bytes(mpl.colormaps[_MAP](np.arange(256), bytes=True)[:, :3].tobytes())


def find_shades(span: Span) -> tuple[float, float]:
    """The values that are drawn darkest and brightest in all pictures of a span: what most of it is, is dark."""
    darkest, brightest = find_range(span.frames, span.features)
    background = float(np.percentile(span.frames, _BACKGROUND))
    return (background if background < brightest / 2 else darkest), brightest


@dataclass(frozen=True)
class Axis:
    """Frequencies along the height: each band's centre in kHz, from below, and those that are written beside it."""

    centres_khz: tuple[float, ...]
    ticks_khz: tuple[int, ...]


def find_axis(features: FeatureConfig) -> Axis:
    """The axis of pictures of these features."""
    centres = (band_edges_hz(features)[:, 1] / 1000).round(3).tolist()
    return Axis(tuple(centres), tuple(khz for khz in TICKS_KHZ if centres[0] <= khz <= centres[-1]))
