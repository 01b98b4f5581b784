"""What a bat says along a pass: search calls coupled to the wing beat, gaps, an approach and a feeding buzz.

Variation has three sources that real recordings share: how open the place is (long, flat, slow calls in the open,
short, steep, fast ones in clutter), the individual, and a slowly wandering part from call to call.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from batcache.synth.calls import Call
from batcache.synth.species import CallType, Species

Phase = Literal["search", "approach", "buzz"]


@dataclass(frozen=True)
class Utterance:
    """A call, when the bat begins it, and what the bat is about."""

    time_s: float
    call: Call
    phase: Phase


@dataclass(frozen=True)
class Individual:
    """One bat in one place; the numbers are standard deviations from the species' mean."""

    openness: float
    knee: float
    start: float
    duration: float
    interval: float
    level_db: float
    wingbeat_s: float
    alternates: bool
    favourite: int  # the call type used where types do not take turns
    bend: float
    partials_db: tuple[float, ...]


def draw_individual(species: Species, rng: np.random.Generator) -> Individual:
    """Draw one bat of a species: where it stands within the species' spread."""
    z = rng.standard_normal(8)
    shares = np.array([kind.share for kind in species.types])
    return Individual(
        openness=float(z[0]), knee=float(z[1]), start=float(z[2]), duration=float(z[3]), interval=float(z[4]),
        level_db=float(3.0 * z[5]), wingbeat_s=float(1.0 / (species.wingbeat_hz * (1.0 + 0.06 * z[6]))),
        alternates=bool(rng.random() < species.alternates),
        favourite=int(rng.choice(len(shares), p=shares / shares.sum())),
        bend=float(np.exp(0.18 * z[7])),
        partials_db=tuple(float(db) for db in 4.0 * rng.standard_normal(len(species.partials))),
    )  # fmt: skip


def _search_call(
    species: Species, kind: CallType, bat: Individual, wander: np.ndarray, rng: np.random.Generator
) -> Call:
    """One search call; ``wander`` holds the call-to-call deviations of knee, start, duration and level."""
    open_air = bat.openness
    knee = 1e3 * kind.knee_khz.at(-0.35 * open_air + 0.75 * bat.knee + 0.45 * wander[0])
    start = 1e3 * kind.start_khz.at(-0.55 * open_air + 0.45 * bat.start + 0.25 * bat.knee + 0.65 * wander[1])
    duration = 1e-3 * kind.duration_ms.at(0.6 * open_air + 0.45 * bat.duration + 0.6 * wander[2])
    first, *others = species.partials
    partials = (
        first,
        *((m, min(db + shift, -1.0)) for (m, db), shift in zip(others, bat.partials_db[1:], strict=True)),
    )
    if kind.start_khz.mean > kind.knee_khz.mean:  # a downward sweep cannot start below its flat part
        start = max(start, knee * 1.02 + 500.0 * kind.tail_khz)
    jitter = rng.standard_normal(6)
    return Call(
        start_hz=start, knee_hz=knee, end_hz=knee + 1e3 * kind.end_khz * float(np.exp(0.15 * jitter[0])),
        tail_hz=1e3 * kind.tail_khz * float(np.exp(-0.35 * open_air + 0.2 * jitter[1])),
        bend=kind.bend * bat.bend * float(np.exp(0.1 * jitter[2])), hook=kind.hook * float(np.exp(0.15 * jitter[3])),
        duration_s=duration,
        peak_hz=(knee + 1e3 * kind.peak_khz) * float(np.exp(0.12 * kind.spread_octaves * jitter[4])),
        spread_octaves=kind.spread_octaves,
        attack=kind.attack * float(np.exp(0.2 * jitter[5])), release=kind.release, partials=partials,
        ripple=(
            abs(float(rng.normal(0.0, 1.0 + 1.5 * kind.spread_octaves))),
            float(rng.uniform(0.7, 3.0)), float(rng.random()),
        ),
        level_db=species.level_db + kind.level_db + bat.level_db + 2.0 * wander[3],
    )  # fmt: skip


def _shortened(call: Call, duration_s: float, pitch: float, softer_db: float, bend: float) -> Call:
    """An approach or buzz call: shorter, straighter and softer than the search call it comes from."""
    return replace(
        call, duration_s=min(duration_s, call.duration_s), start_hz=call.start_hz * pitch, knee_hz=call.knee_hz * pitch,
        end_hz=call.end_hz * pitch, peak_hz=call.peak_hz * pitch, bend=call.bend * bend,
        level_db=call.level_db - softer_db,
        spread_octaves=call.spread_octaves * 1.3,
    )  # fmt: skip


def _attack(call: Call, begin_s: float, interval_s: float, rng: np.random.Generator) -> Iterator[Utterance]:
    """Approach, then buzz I at 6 to 10 ms and buzz II at about 5.5 ms with lowered calls (Kalko 1995, pipistrelles)."""
    time, gap = begin_s, interval_s * 0.8
    while gap > 0.013:
        depth = 1.0 - gap / interval_s
        yield Utterance(
            time, _shortened(call, 0.35 * gap, 1.0 + 0.06 * depth, 6.0 * depth, 1.0 - 0.6 * depth), "approach"
        )
        time += gap
        gap *= float(rng.uniform(0.72, 0.9))
    for gap in np.linspace(0.0105, 0.0065, int(rng.integers(5, 12))).tolist():
        yield Utterance(time, _shortened(call, 0.16 * gap, 1.0, 9.0 + rng.normal(0, 1), 0.35), "buzz")
        time += gap
    low = float(rng.uniform(0.58, 0.72))
    for _ in range(int(rng.integers(6, 18))):
        yield Utterance(time, _shortened(call, 0.0008, low, 14.0 + rng.normal(0, 1.5), 0.3), "buzz")
        time += 0.0055 * float(rng.uniform(0.95, 1.05))


def _relative_length(kinds: tuple[CallType, ...], which: int) -> float:
    return kinds[which].duration_ms.mean * len(kinds) / sum(kind.duration_ms.mean for kind in kinds)


def utter(
    species: Species, bat: Individual, span_s: tuple[float, float], attack_s: float | None, rng: np.random.Generator
) -> Iterator[Utterance]:
    """The calls of one bat between two times, with a feeding attack from ``attack_s`` on, if given."""
    kinds, wander, which = species.types, rng.standard_normal(4), bat.favourite
    time = span_s[0] + float(rng.random()) * bat.wingbeat_s
    while time < span_s[1]:
        wander = 0.6 * wander + 0.8 * rng.standard_normal(4)
        call = _search_call(species, kinds[which], bat, wander, rng)
        wish = 1e-3 * species.interval_ms.at(
            0.5 * bat.openness + 0.4 * bat.interval + 0.85 * float(rng.standard_normal())
        )
        wish *= _relative_length(kinds, which) ** 0.3  # longer calls are followed by longer gaps
        beats = max(1, round(wish / bat.wingbeat_s))
        gap = wish + 0.55 * (beats * bat.wingbeat_s - wish) if wish > 0.7 * bat.wingbeat_s else wish
        gap = max(gap * (1.0 + 0.05 * float(rng.standard_normal())), call.duration_s + 0.006)
        if attack_s is not None and time >= attack_s:
            yield from (last := list(_attack(call, time, gap, rng)))
            time, attack_s = last[-1].time_s + float(rng.uniform(0.08, 0.25)), None
            continue
        if rng.random() > 0.04:
            yield Utterance(time, call, "search")
        time += gap
        if bat.alternates and rng.random() < 0.93:
            which = (which + 1) % len(kinds)
