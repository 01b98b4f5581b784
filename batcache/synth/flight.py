"""Where the bat is: a straight or circling pass with a weave, seen from the microphone at the origin."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Flight:
    """A pass. Height is that above the microphone; curvature 0 is a straight line."""

    speed_m_s: float
    closest_m: float  # horizontal distance at closest_s
    height_m: float
    closest_s: float
    curvature_per_m: float = 0.0
    weave_m: float = 0.0
    weave_s: float = 2.0
    weave_phase: float = 0.0


def position_m(flight: Flight, time_s: Floats) -> Floats:
    """Shape: ``[n] -> [n, 3]``. The arc bends away from the microphone; the weave is sideways, half as much up."""
    along = flight.speed_m_s * (np.asarray(time_s, dtype=np.float64) - flight.closest_s)
    bend = max(abs(flight.curvature_per_m), 1e-9)
    weave = flight.weave_m * np.sin(2 * np.pi * (time_s / flight.weave_s + flight.weave_phase))
    x, y = np.sin(bend * along) / bend, (1.0 - np.cos(bend * along)) / bend + flight.closest_m + weave
    return np.stack([x, y, flight.height_m + 0.5 * weave], axis=-1)


def geometry(flight: Flight, time_s: Floats) -> tuple[Floats, Floats, Floats]:
    """Distance (m), its rate (m/s, negative on approach), and the angle (rad) between heading and microphone."""
    step = 1e-3
    here, ahead = position_m(flight, time_s), position_m(flight, time_s + step)
    velocity = (ahead - here) / step
    distance = np.linalg.norm(here, axis=-1)
    rate = np.sum(here * velocity, axis=-1) / distance
    speed = np.maximum(np.linalg.norm(velocity, axis=-1), 1e-9)
    return distance, rate, np.arccos(np.clip(-rate / speed, -1.0, 1.0))


def image_distance_m(flight: Flight, time_s: Floats, microphone_height_m: float) -> Floats:
    """Path length of the ground echo: the distance to the bat's mirror image below the ground."""
    here = position_m(flight, time_s)
    mirrored = here * np.array([1.0, 1.0, -1.0]) - np.array([0.0, 0.0, 2.0 * microphone_height_m])
    return np.asarray(np.linalg.norm(mirrored, axis=-1))


def beam_db(angle_rad: Floats, frequency_hz: Floats, aim_hz: Floats | float) -> Floats:
    """Directionality of the source: at the aim frequency -7 dB at 60°, -14 at 90°; narrower above; at least -22 dB."""
    return np.asarray(-np.minimum(14.0 * (1.0 - np.cos(angle_rad)) * frequency_hz / aim_hz, 22.0))
