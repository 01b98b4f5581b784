"""One site on one night: what all its clips share."""

from dataclasses import dataclass

import numpy as np

from batcache.synth.air import Air
from batcache.synth.noise import INSECTS, Insect
from batcache.synth.recorder import Recorder, draw_recorder


@dataclass(frozen=True)
class Night:
    """Weather, recorder and surroundings."""

    air: Air
    recorder: Recorder
    microphone_m: float  # height above the ground
    ground: float  # amplitude that the ground reflects
    clutter_db: float  # echoes of vegetation re the direct sound at 5 m
    insects: tuple[tuple[Insect, float], ...]  # with the RMS amplitude of each
    wind_db: float | None  # density near 300 Hz, dB re full scale per hertz
    rain_per_s: float
    crackle_per_s: float


def draw_night(rng: np.random.Generator) -> Night:
    """Draw weather, recorder and surroundings of one site on one night."""
    recorder = draw_recorder(rng)
    singing = tuple(
        (insect, float(10.0 ** (rng.uniform(-78, -50) / 20.0))) for insect in INSECTS if rng.random() < 0.16
    )
    return Night(
        air=Air(float(rng.uniform(6.0, 24.0)), float(rng.uniform(45.0, 97.0)), float(rng.uniform(93.0, 102.0))),
        recorder=recorder,
        microphone_m=float(rng.uniform(1.2, 4.5)),
        ground=float(rng.uniform(0.05, 0.45)),
        clutter_db=float(rng.uniform(-22.0, -4.0)),
        insects=singing,
        wind_db=float(rng.uniform(-85.0, -55.0)) if rng.random() < 0.35 else None,
        rain_per_s=float(rng.uniform(2.0, 12.0)) if rng.random() < 0.08 else 0.0,
        crackle_per_s=float(rng.uniform(0.2, 2.0)) if rng.random() < 0.2 else 0.0,
    )
