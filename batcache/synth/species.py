"""What describes the voice and the flight of a species, in the units of the field guides (kHz, ms)."""

from dataclasses import dataclass, field

Partials = tuple[tuple[float, float], ...]
"""Multiples of a call's frequency, each with its level in dB."""


@dataclass(frozen=True)
class Spread:
    """A clipped normal distribution."""

    mean: float
    sd: float
    low: float
    high: float

    def at(self, z: float) -> float:
        """The value ``z`` standard deviations from the mean, kept within the limits."""
        return min(max(self.mean + self.sd * z, self.low), self.high)


@dataclass(frozen=True)
class CallType:
    """One kind of search call."""

    start_khz: Spread
    knee_khz: Spread  # where the call is flattest; the frequency that guides call characteristic
    end_khz: float  # offset of the end from the knee
    tail_khz: float  # fall across the flat part
    bend: float
    hook: float
    duration_ms: Spread
    peak_khz: float  # offset of the emphasised frequency from the knee
    spread_octaves: float
    attack: float = 1.0
    release: float = 0.5
    level_db: float = 0.0  # relative to the species' source level
    share: float = 1.0


@dataclass(frozen=True)
class Species:
    """How one species calls and flies."""

    name: str
    types: tuple[CallType, ...]
    interval_ms: Spread
    level_db: float  # peak-equivalent dB SPL at 10 cm, mean of search calls
    speed_m_s: float
    wingbeat_hz: float
    height_m: tuple[float, float]
    alternates: float = 0.0  # share of passes in which the call types take turns
    buzz: float = 0.1  # share of passes with a feeding buzz
    partials: Partials = field(default=((1.0, 0.0), (2.0, -24.0), (3.0, -38.0)))
    over_water: float = 0.1  # share of passes low over a smooth, reflecting surface


def spread_of(mean: float, share: float, reach: float = 4.0) -> Spread:
    """A spread whose standard deviation is this share of the mean, cut so many deviations from it."""
    return Spread(mean, mean * share, mean * max(1 - reach * share, 0.2), mean * (1 + reach * share))


def slowness(khz: float) -> float:
    """How much longer calls and intervals of a pitch are than those at 40 kHz: large bats beat their wings slowly.

    >>> round(slowness(20), 2)
    1.52
    """
    return float((40.0 / khz) ** 0.6)
