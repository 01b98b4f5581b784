"""A bat passes: a flight within the recorder's reach, its calls, and each as it arrives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from batcache.synth.air import absorption_db_per_m, doppler_factor, spreading_db
from batcache.synth.flight import Flight, beam_db, geometry, image_distance_m
from batcache.synth.night import Night
from batcache.synth.propagate import ANALYSIS_S, Bench, Path, Received, receive
from batcache.synth.recorder import noise_db, response_db
from batcache.synth.sequence import Individual, Phase, Utterance, draw_individual, utter
from batcache.synth.species import CallType, Species

Floats = NDArray[np.float64]

LONG_CALL_S = 0.018  # longer ones take the longer FFT
FAINTEST_DB = -6.0  # calls with a worse ratio to the noise are neither rendered nor listed
CLEAR_DB, CLEAR_CALLS = (
    22.0,
    8,
)  # what triggers a recorder and makes a label fair; real clips have medians of 22 to 36 dB


@dataclass(frozen=True)
class Heard:
    """A call at its place in the recording."""

    first: int  # sample at which ``received.samples`` begins
    start_s: float
    end_s: float
    phase: Phase
    received: Received


def _spectral_width_hz(kind: CallType) -> float:
    """Width over which the louder part of a call spreads its energy: a Myotis sweep, a pipistrelle's tail."""
    sweep = max(kind.start_khz.mean - kind.knee_khz.mean, 0.0) / max(kind.bend / 2.4, 1.0) ** 2
    return 1e3 * max(abs(kind.tail_khz) + 0.5 * sweep, 1.0)


def forecast_snr_db(level_db: Floats, kind: CallType, distance_m: Floats, night: Night) -> Floats:
    """Signal-to-noise ratio to expect at the knee's frequency, before anything is rendered."""
    f = np.array([1e3 * kind.knee_khz.mean])
    floor = noise_db(night.recorder, f) - response_db(night.recorder, f) + night.recorder.full_scale_db
    spread = 10.0 * np.log10(_spectral_width_hz(kind) / min(1e-3 * kind.duration_ms.mean / ANALYSIS_S, 1.0))
    received = level_db - spreading_db(distance_m) - absorption_db_per_m(f, night.air) * distance_m
    return np.asarray(received - 5.0 - spread - floor)


def reach_m(species: Species, bat: Individual, night: Night) -> float:
    """The distance at which calls on the beam's axis sink to 6 dB over the noise."""
    distance, kind = np.geomspace(0.5, 150.0, 200), species.types[bat.favourite]
    snr = forecast_snr_db(np.array(species.level_db + kind.level_db + bat.level_db), kind, distance, night)
    return float(distance[max(int(np.sum(snr > 6.0)) - 1, 0)])


def draw_flight(
    species: Species, reach: float, night: Night, seconds: float, rng: np.random.Generator
) -> tuple[Flight, float]:
    """A flight and the reflection of the ground below it.

    Bats cross a line through the microphone anywhere, so closest distances would be uniform; recorders start, and
    people keep, what is loud, so near passes are drawn more often than that.
    """
    near = max(reach * (0.01 + 0.25 * float(rng.random()) ** 1.5), 0.35)
    water = rng.random() < species.over_water
    height = float(rng.uniform(0.2, 0.8) if water else rng.uniform(*species.height_m)) - night.microphone_m
    height = float(np.clip(height, -0.8 * near, 0.8 * near))
    flight = Flight(
        speed_m_s=species.speed_m_s * float(np.exp(0.18 * rng.standard_normal())),
        closest_m=float(np.sqrt(near**2 - height**2)), height_m=height,
        closest_s=float(rng.uniform(0.3, seconds - 0.3)),
        curvature_per_m=1.0 / (2.0 + reach * float(rng.uniform(0.2, 0.8))) if rng.random() < 0.4 else 0.0,
        weave_m=near * float(rng.uniform(0.0, 0.25)),
        weave_s=float(rng.uniform(1.2, 4.0)), weave_phase=float(rng.random()),
    )  # fmt: skip
    return flight, 0.9 if water else night.ground * float(rng.uniform(0.6, 1.4))


def _forecast(said: Sequence[Utterance], species: Species, flight: Flight, night: Night) -> Floats:
    distance, _, angle = geometry(flight, np.array([u.time_s for u in said]))
    pitch = np.array([u.call.peak_hz for u in said])
    level = np.array([u.call.level_db for u in said]) + beam_db(angle, pitch, pitch)
    return forecast_snr_db(level, species.types[0], distance, night)


def _approachable(said: Sequence[Utterance], species: Species, flight: Flight, night: Night) -> tuple[Flight, Floats]:
    """The flight, moved nearer until enough calls are clear, and the forecast for each call."""
    for _ in range(8):
        snr = _forecast(said, species, flight, night)
        if np.sum(snr > CLEAR_DB) >= CLEAR_CALLS:
            break
        flight = replace(flight, closest_m=0.7 * flight.closest_m, height_m=0.7 * flight.height_m)
    return flight, snr


def fly_past(
    species: Species, night: Night, benches: Sequence[Bench], seconds: float, rng: np.random.Generator
) -> Iterator[Heard]:
    """The audible calls of one bat that passes within ``seconds``; benches are ordered by length."""
    bat = draw_individual(species, rng)
    flight, ground = draw_flight(species, reach_m(species, bat, night), night, seconds, rng)
    attack = flight.closest_s + float(rng.uniform(-0.8, 0.4)) if rng.random() < species.buzz else None
    said = list(utter(species, bat, (-0.25, seconds), attack, rng))
    flight, snr = _approachable(said, species, flight, night)
    times = np.array([u.time_s for u in said])
    distance, radial, angle = geometry(flight, times)
    image = image_distance_m(flight, times, night.microphone_m)
    doppler, yaw = doppler_factor(radial, benches[0].speed), 0.0
    clutter = night.clutter_db + 2.0 * float(rng.standard_normal())
    for i, utterance in enumerate(said):
        yaw = 0.7 * yaw + 0.25 * float(rng.standard_normal())  # the head scans from side to side
        patch, rough = int(rng.integers(1000)), float(np.exp(0.25 * rng.standard_normal()))
        if snr[i] < FAINTEST_DB - 4.0:
            continue
        call = utterance.call
        bench = benches[int(call.duration_s > LONG_CALL_S)]
        arrival = utterance.time_s + distance[i] / bench.speed
        first = int(np.floor(arrival * bench.rate_hz))
        path = Path(
            float(distance[i]), float(image[i]), float(abs(angle[i] + yaw)), float(doppler[i]), ground * rough, clutter
        )
        received = receive(call, path, arrival * bench.rate_hz - first, patch, bench)
        if received is not None and received.snr_db > FAINTEST_DB:
            yield Heard(
                first, float(arrival), float(arrival) + call.duration_s / path.doppler, utterance.phase, received
            )
