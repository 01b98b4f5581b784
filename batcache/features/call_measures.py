"""Measures of a recording's strongest pulses, taken from its PCEN frames as they pass: what a person asks of a call.

PCEN divides each band by its running level M, which a loud call itself raises (see ``features.pcen``). Undone, with
R = E / (eps + M), the level follows from the frames alone, up to where it stood before the call:

    M[t] = (1 - s) M[t-1] + s E[t]   and   E[t] = R[t] M[t]   give   M[t] = M[t-1] (1 - s) / (1 - s R[t])

What is left is each cell's magnitude over the band's background, which is about 1 in noise. A call is what lies around
its loudest cell: in time where the loudest band is above ``IN_TIME`` of the peak, in frequency where a band is above
``IN_FREQUENCY`` of it.

Frames are 1 ms apart and see 4 ms: durations are good to a millisecond or two, and those of calls that fade in and out
are of their louder part. Frequencies are those of mel bands, 2 % apart.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batcache.config.features import FeatureConfig
from batcache.features.bands import band_edges_hz
from batcache.features.frame_pulses import APART, find_frame_pulses
from batcache.features.pcen_levels import rounding_level, smoothing

MOST = 4
"""Pulses that a recording's measures are taken from: the strongest."""
IN_TIME, IN_FREQUENCY = 0.25, 0.05
"""Shares of the peak's magnitude: -12 dB, -26 dB."""
LEAST_OVER_NOISE = 3.5
"""Times the background: of a thousand cells of noise one is above it."""
LONGEST_GAP_S = 0.5
"""Between calls of one sequence."""
_AROUND_S = 0.064
_MEDIAN_OF_NOISE, _FIFTH_OF_NOISE = 0.939, 0.533  # quantiles over the mean, of magnitudes (Rayleigh)
_DEEPEST = 1e-3  # below the loudest: digital silence makes nothing else stand out
_CLOSEST = 0.97  # of s R to 1, where rounding would count

Frames = NDArray[np.float16] | NDArray[np.float32]


@dataclass(frozen=True)
class CallMeasures:
    """Medians over the strongest pulses of a recording; ``measured`` is how many these are.

    ``interval_ms`` is from the beginning of a call to that of the next, None where there are not two.
    """

    peak_khz: float
    lowest_khz: float
    highest_khz: float
    duration_ms: float
    interval_ms: float | None
    measured: int


@dataclass(frozen=True)
class Call:
    """One call; ``frame`` is its loudest, ``begin`` its first and ``end`` the one behind its last."""

    peak_hz: float
    lowest_hz: float
    highest_hz: float
    frame: int
    begin: int
    end: int

    @property
    def frames(self) -> int:
        """How long it lasts: the first frame and the last see it through half of their windows."""
        return max(self.end - self.begin - 1, 1)

    def holds(self, frame: int) -> bool:
        """Whether a pulse at this frame is of this call."""
        return self.begin - APART <= frame < self.end + APART


class CallMeter:
    """Counts a recording's pulses and measures the strongest, while its frames pass in pieces of any length.

    Args:
        config: of the frames, which are PCEN frames.
        most: how many of the strongest pulses are measured.
    """

    def __init__(self, config: FeatureConfig, most: int = MOST) -> None:
        fps = config.frames_per_second
        self.config, self.most, self.around = config, most, round(_AROUND_S * fps)
        self.pulses = 0
        self._frames: list[NDArray[np.intp]] = []
        self._heights: list[NDArray[np.float32]] = []
        self._waiting: list[tuple[float, int]] = []
        self._cuts: list[tuple[float, int, Frames]] = []
        self._tail: Frames = np.zeros((0, config.n_mels), np.float16)
        self._passed = 0

    def add(self, instances: Frames) -> None:
        """Hear the next instances. Shape: ``[N, T, M]``"""
        found = find_frame_pulses(instances)
        self.pulses += len(found.frame)
        self._frames.append(found.frame + self._passed)
        self._heights.append(found.height)
        least = self._cuts[-1][0] if len(self._cuts) == self.most else 0.0
        strongest = np.argsort(-found.height, kind="stable")[: self.most]
        self._waiting += [
            (float(found.height[i]), int(found.frame[i]) + self._passed) for i in strongest if found.height[i] > least
        ]
        frames = instances.reshape(-1, instances.shape[2])
        joined = np.concatenate([self._tail, frames]) if len(self._tail) else frames
        self._passed += len(frames)
        self._cut(joined, self._passed - self.around)
        self._tail = joined[-(2 * self.around) :].copy()

    def find_calls(self) -> list[Call]:
        """The calls that the strongest pulses are of, once all frames have passed; the strongest first."""
        self._cut(self._tail, self._passed)
        if not self._cuts:
            return []
        levels = undo_pcen(np.stack([cut for _, _, cut in self._cuts]).astype(np.float32), self.config)
        calls: list[Call] = []
        centres = band_edges_hz(self.config)[:, 1]
        for (_, frame, _), level in zip(self._cuts, levels, strict=True):
            if all(not call.holds(frame) for call in calls):  # the end of a long call is no other
                calls.append(_measure(level, self.around, frame - self.around, centres))
        return calls

    def finish(self) -> CallMeasures | None:
        """What was measured; None where there was no pulse."""
        calls = self.find_calls()
        if not calls:
            return None
        hz = [(call.peak_hz, call.lowest_hz, call.highest_hz, call.frames) for call in calls]
        peak, lowest, highest, frames = np.median(np.array(hz), axis=0).tolist()
        return CallMeasures(
            peak_khz=round(peak / 1000, 2),
            lowest_khz=round(lowest / 1000, 2),
            highest_khz=round(highest / 1000, 2),
            duration_ms=round(frames * 1000 / self.config.frames_per_second, 1),
            interval_ms=self._find_interval(frames),
            measured=len(calls),
        )

    def _cut(self, joined: Frames, until: int) -> None:
        """Keep the surroundings of waiting pulses before frame ``until``, the strongest first."""
        first = self._passed - len(joined)
        for height, frame in self._waiting:
            if frame < until:
                start = max(frame - self.around - first, 0)
                cut = np.zeros((2 * self.around, joined.shape[1]), joined.dtype)
                there = joined[start : frame + self.around - first]
                begin = self.around - (frame - first - start)
                cut[begin : begin + len(there)] = there
                self._cuts.append((height, frame, cut))
        self._waiting = [(height, frame) for height, frame in self._waiting if frame >= until]
        self._cuts.sort(key=lambda one: (-one[0], one[1]))
        apart: list[tuple[float, int, Frames]] = []
        for one in self._cuts:  # a call that lies across two instances is found in both
            if all(abs(one[1] - other[1]) > APART for other in apart):
                apart.append(one)
        self._cuts = apart[: self.most]

    def _find_interval(self, duration: float) -> float | None:
        """The median time between pulses at least half as strong as the weakest that was measured, in ms.

        ``duration`` is a call's, in frames: what follows before it is over is no other call.
        """
        frames, heights = np.concatenate(self._frames), np.concatenate(self._heights)
        calls = [-np.inf]
        for frame in frames[heights >= self._cuts[-1][0] / 2].tolist():
            if frame - calls[-1] > duration + APART:
                calls.append(frame)
        gaps = np.diff(calls[1:]) / self.config.frames_per_second
        gaps = gaps[gaps <= LONGEST_GAP_S]
        return round(float(np.median(gaps)) * 1000, 1) if len(gaps) else None


def undo_pcen(cuts: NDArray[np.float32], config: FeatureConfig) -> NDArray[np.float32]:
    """Magnitudes over the background of their band, about 1 in noise. Shape: ``[P, T, M]`` -> the same

    The background is what the quietest fifth of a cut's frames tells of it.
    """
    bias, power, s = np.float32(config.pcen_bias), config.pcen_power, np.float32(smoothing(config))
    ratio = cuts + bias**power
    ratio **= np.float32(1 / power)
    ratio -= bias
    least = rounding_level(config) ** (1 - config.pcen_gain)  # of (eps + M)^(1 - gain)
    some = np.ascontiguousarray(ratio[:, ::8].reshape(-1, ratio.shape[2]).T)
    middle = np.partition(some, some.shape[1] // 2, axis=1)[:, some.shape[1] // 2] / np.float32(_MEDIAN_OF_NOISE)
    ratio /= np.maximum(middle, np.float32(least))
    with np.errstate(over="ignore", invalid="ignore"):  # of frames that no PCEN has made
        growth = (1 - s) / (1 - np.minimum(s * ratio, _CLOSEST))
        for frame in range(1, growth.shape[1]):  # a product along an inner axis takes four times as long
            growth[:, frame] *= growth[:, frame - 1]
        level: NDArray[np.float32] = ratio * growth
        some = level[:, ::4]
        quiet = np.partition(some, some.shape[1] // 5, axis=1)[:, some.shape[1] // 5] / np.float32(_FIFTH_OF_NOISE)
        level /= np.maximum(quiet, _DEEPEST * level.max((1, 2))[:, None] + np.float32(1e-30))[:, None]
    return level if np.isfinite(level).all() else np.nan_to_num(level)


def _measure(level: NDArray[np.float32], at: int, first: int, centres: NDArray[np.float64]) -> Call:
    """Measure the pulse at the cut's frame ``at``; the cut begins at the recording's ``first``. Shape: ``[T, M]``"""
    loudest = level.max(1)
    nearest = max(at - APART, 0)
    top = nearest + int(loudest[nearest : at + 2 * APART].argmax())
    peak = float(loudest[top])
    noise = min(LEAST_OVER_NOISE, 0.6 * peak)
    begin, end = _find_run(loudest >= max(IN_TIME * peak, noise), top, 0)
    strongest = int(np.square(level[begin:end]).sum(0).argmax())
    least = max(IN_FREQUENCY * peak, noise)
    seen = slice(*_find_run(loudest >= least, top, 0))
    low, high = _find_run(level[seen].max(0) >= least, strongest, 2)
    edges = float(centres[low]), float(centres[high - 1])
    return Call(float(centres[strongest]), *edges, first + top, first + begin, first + end)


def _find_run(is_in: NDArray[np.bool_], at: int, gap: int) -> tuple[int, int]:
    """The span (first, behind the last) around a place that is in, over gaps of no more than so many."""
    places = np.flatnonzero(is_in)
    cuts = np.flatnonzero(np.diff(places) > gap + 1)
    runs = np.split(places, cuts + 1)
    run = next((run for run in runs if len(run) and run[0] <= at <= run[-1]), np.array([at]))
    return int(run[0]), int(run[-1]) + 1
