"""A row of a manifest becomes five seconds of sound and the list of its calls.

Every draw hangs on names only: a night on its group, a bat on filename and species. So a clip's samples do not depend
on the other rows, their order or their number.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batcache.synth.night import Night, draw_night
from batcache.synth.noise import add_clicks, background, sing
from batcache.synth.passing import Heard, fly_past
from batcache.synth.propagate import Bench
from batcache.synth.species import Species

RATE_HZ = 384_000
DURATION_S = 5.0
SHORT_MS, LONG_MS = 64, 128  # of FFTs: a call and the 45 ms of its echoes
SECOND_BAT = 0.15  # share of clips in which a species is there twice


@dataclass(frozen=True)
class Event:
    """One call as it arrives at the microphone, direct sound only."""

    species: str
    start_s: float
    end_s: float
    low_khz: float
    high_khz: float
    peak_khz: float
    level_db: float  # dB SPL
    snr_db: float  # best 1-kHz band over the recorder's own noise
    phase: str
    bat: int  # counts the individuals of the clip


@dataclass(frozen=True)
class Clip:
    """A rendered row. Shape of samples: ``[rate * duration]``"""

    samples: NDArray[np.int16]
    rate_hz: int
    events: tuple[Event, ...]
    night: Night


def generator(*names: str) -> np.random.Generator:
    """A generator that is the same wherever and whenever the same names are given."""
    digest = hashlib.sha256("\x1f".join(names).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def quantise(sound: NDArray[np.float32]) -> NDArray[np.int16]:
    """Full scale 1 to 16 bits. What is louder stays at the rail, as in a real converter; it never wraps round."""
    return np.asarray(np.clip(np.rint(sound * np.float32(32768.0)), -32768, 32767), dtype=np.int16)


def draw_rate(group: str, rates_hz: Sequence[int]) -> int:
    """The rate of a night's recorder, one of these, or the usual one where there are none."""
    return int(generator("rate", group).choice(rates_hz)) if rates_hz else RATE_HZ


def render(filename: str, voices: Sequence[Species], group: str, rate_hz: int = RATE_HZ) -> Clip:
    """Five seconds with these species, recorded at the group's place and night at this rate."""
    night, n = draw_night(generator("night", group)), int(rate_hz * DURATION_S)
    rng = generator("background", filename)
    sound = _background(night, n, rate_hz, rng)
    sizes = [rate_hz * milliseconds // 1000 for milliseconds in (SHORT_MS, LONG_MS)] if voices else []
    benches = [Bench(size, rate_hz, night.air, night.recorder, rng) for size in sizes]
    events: list[Event] = []
    bats = 0
    for voice in sorted(voices, key=lambda voice: voice.name):
        rng = generator("bat", filename, voice.name)
        for _ in range(1 + int(rng.random() < SECOND_BAT)):
            bats += 1
            for heard in fly_past(voice, night, benches, DURATION_S, rng):
                _add(sound, heard)
                events.append(_event(voice.name, heard, bats))
    inside = (event for event in events if event.end_s > 0.0 and event.start_s < DURATION_S)
    return Clip(quantise(sound), rate_hz, tuple(sorted(inside, key=lambda event: (event.start_s, event.bat))), night)


def _background(night: Night, n: int, rate_hz: int, rng: np.random.Generator) -> NDArray[np.float32]:
    wind = None if night.wind_db is None else night.wind_db + float(rng.normal(0, 4))
    sound = background(night.recorder, wind, n, rate_hz, rng)
    for insect, level in night.insects:
        if rng.random() < 0.8:
            sing(insect, level * float(np.exp(0.6 * rng.standard_normal())), sound, rate_hz, rng)
    add_clicks(sound, night.rain_per_s, 0.02, rate_hz, rng)
    add_clicks(sound, night.crackle_per_s, 0.004, rate_hz, rng)
    return sound


def _add(sound: NDArray[np.float32], heard: Heard) -> None:
    first, samples = heard.first, heard.received.samples
    last = min(first + len(samples), len(sound))
    if last > max(first, 0):
        sound[max(first, 0) : last] += samples[max(-first, 0) : last - first].astype(np.float32)


def _event(species: str, heard: Heard, bat: int) -> Event:
    got = heard.received
    return Event(
        species, round(heard.start_s, 6), round(heard.end_s, 6),
        round(got.low_hz / 1e3, 2), round(got.high_hz / 1e3, 2),
        round(got.peak_hz / 1e3, 2), round(got.level_db, 1), round(got.snr_db, 1), heard.phase, bat,
    )  # fmt: skip
