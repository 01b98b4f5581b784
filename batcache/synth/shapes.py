"""Shapes of calls as guides name them, and what guides do not say of each: what is usual among bats that call so."""

from dataclasses import dataclass

from batcache.synth.species import Partials


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How calls of a kind run, beyond what guides say.

    Attributes:
        needs: the columns that must be filled.
        start, end: where a guide does not say it, by the peak.
        knee_sd, start_sd, duration_sd: of means that stand alone, by the mean: as guides differ from each other and
            from the bats of a place, too.
        tail: the fall of the flattest part, by its frequency, at most.
        duration_ms, interval_ms: where a guide does not say it, at 40 kHz.
        level_db, buzz, partials: as of ``Species``; the others as of ``CallType``.
    """

    needs: tuple[str, ...]
    start: float = 0.0
    end: float = 0.0
    knee_sd: float
    start_sd: float
    duration_sd: float = 0.2
    tail: float
    bend: float
    hook: float
    spread_octaves: float
    attack: float
    release: float
    duration_ms: float
    interval_ms: float
    level_db: float
    buzz: float
    partials: Partials = ((1.0, 0.0), (2.0, -24.0), (3.0, -37.0))


SHAPES = {
    "FM-QCF": Shape(
        needs=("peak_khz",), start=1.6, end=0.97, knee_sd=0.035, start_sd=0.12, tail=0.06, bend=4.8, hook=10.5,
        spread_octaves=0.5, attack=1.0, release=0.6, duration_ms=6.3, interval_ms=100, level_db=118, buzz=0.12,
    ),
    "FM": Shape(
        needs=("start_khz", "end_khz"), knee_sd=0.07, start_sd=0.1, tail=0.28, bend=2.1, hook=5.0,
        spread_octaves=0.9, attack=1.1, release=0.8, duration_ms=4.0, interval_ms=88, level_db=107, buzz=0.05,
    ),
    "multiharmonic": Shape(
        needs=("start_khz", "end_khz"), knee_sd=0.06, start_sd=0.08, tail=0.2, bend=1.8, hook=4.5,
        spread_octaves=0.6, attack=0.9, release=0.8, duration_ms=2.7, interval_ms=75, level_db=98, buzz=0.02,
        partials=((1.0, 0.0), (2.0, -8.0), (3.0, -18.0)),
    ),
    "QCF": Shape(
        needs=("peak_khz",), start=1.08, end=0.98, knee_sd=0.035, start_sd=0.05, tail=0.03, bend=4.5, hook=10.0,
        spread_octaves=0.4, attack=0.9, release=0.7, duration_ms=8.5, interval_ms=115, level_db=119, buzz=0.1,
    ),
    "CF": Shape(
        needs=("peak_khz", "duration_ms"), start=0.92, end=0.86, knee_sd=0.01, start_sd=0.02, tail=0.0,
        bend=45.0, hook=32.0, spread_octaves=0.1, attack=0.6, release=0.65, duration_ms=30, interval_ms=85,
        level_db=110, buzz=0.03, partials=((1.0, 0.0), (0.5, -28.0), (1.5, -40.0)),
    ),
}  # fmt: skip
"""FM-QCF: a sweep that ends flat, as pipistrelles'. FM: a steep sweep, as of Myotis. Multiharmonic: one whose harmonics
are nearly as loud, as of long-eared bats. QCF: nearly flat. CF: a pure tone that falls at its end, as of horseshoe
bats, whose start and end are those of the short sweeps beside it."""
