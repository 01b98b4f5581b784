"""Which part of a clip is drawn, and how large the page is."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from batcache.errors import ConfigError, RunError
from batcache.evaluation.pictures.panels import Panel

_SMOOTHED_S = 0.005


@dataclass(frozen=True)
class View:
    """What of each clip is drawn, and on what.

    Attributes:
        start_s: from where on, in true seconds of the recording; None: from the clip's begin, or, with a duration,
            around its loudest moment.
        duration_s: how much of it, in true seconds; None: to the clip's end.
        size_in: width and height of the page in inches, of which a PNG has 100 pixels each; None: 6.4 by 2.7 a clip.

    Raises:
        ConfigError: seconds that are infinite or no number.
    """

    start_s: float | None = None
    duration_s: float | None = None
    size_in: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name, seconds in (("--start", self.start_s), ("--duration", self.duration_s)):
            if seconds is not None and not math.isfinite(seconds):
                raise ConfigError(name, f"{seconds:g}, expected seconds", "Pass a number, or leave it out")

    def cut(self, panel: Panel, frames_per_second: float) -> Panel:
        """The part of a clip that is to be drawn, and the calls that reach into it.

        Raises:
            RunError: none of the clip lies there.
        """
        if self.start_s is None and self.duration_s is None:
            return panel
        count, ends_s = len(panel.frames), panel.start_s + len(panel.frames) / frames_per_second
        length = count if self.duration_s is None else max(1, round(self.duration_s * frames_per_second))
        if self.start_s is None:
            loudest = find_loudest(panel.frames.astype(np.float32), frames_per_second)
            first = max(0, min(loudest - length // 2, count - length))
        else:
            first = round((self.start_s - panel.start_s) * frames_per_second)
        begin, end = max(first, 0), min(first + length, count)
        if begin >= end:
            finding = (
                f"{panel.name} lies from {panel.start_s:g} to {ends_s:g} s, and nothing of it in what is asked for"
            )
            raise RunError("--start", finding, "Pass another --start, or name other clips by --clip")
        start_s, end_s = (panel.start_s + frame / frames_per_second for frame in (begin, end))
        calls = tuple(call for call in panel.calls if call.start_s < end_s and call.end_s >= start_s)
        return replace(panel, frames=panel.frames[begin:end], start_s=start_s, calls=calls)


def find_loudest(frames: NDArray[np.float32], per_second: float) -> int:
    """The frame around which the loudest band is highest, over some milliseconds. Shape: ``[F, n_mels]``"""
    width = max(1, round(_SMOOTHED_S * per_second))
    smooth = np.convolve(frames.max(1), np.ones(width), "same")[: len(frames)]
    return int(np.argmax(smooth))
