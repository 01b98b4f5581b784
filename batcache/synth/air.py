"""What air does to sound on its way: speed, absorption, spreading."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

REFERENCE_DISTANCE_M = 0.1  # bat source levels are quoted at 10 cm


@dataclass(frozen=True)
class Air:
    """The air of one night."""

    temperature_c: float = 20.0
    humidity_percent: float = 50.0
    pressure_kpa: float = 101.325


def sound_speed_m_s(air: Air) -> float:
    """Speed of sound; ISO 9613-1, eq. A.5 (343.2 m/s at 20 °C)."""
    return 343.2 * math.sqrt((air.temperature_c + 273.15) / 293.15)


def absorption_db_per_m(frequency_hz: Floats, air: Air) -> Floats:
    """Pure-tone absorption coefficient of ISO 9613-1:1993, eqs. 3 to 5 and B.2, B.3.

    Classical and rotational losses grow with f², the vibrational relaxation of oxygen and nitrogen each add a term that
    saturates above its relaxation frequency. Water vapour moves those frequencies, hence the humidity. The standard
    tabulates to 10 kHz; the same formula is the usual one for ultrasound, and measurements up to 200 kHz bear it out
    (Lawrence & Simmons 1982: 0.7 dB/m at 30 kHz, 8 dB/m at 200 kHz, 25 °C, 50 %).
    """
    kelvin = air.temperature_c + 273.15
    warmth, pressure = kelvin / 293.15, air.pressure_kpa / 101.325
    saturation = 10.0 ** (-6.8346 * (273.16 / kelvin) ** 1.261 + 4.6151)
    water = air.humidity_percent * saturation / pressure  # molar concentration in percent
    oxygen_hz = pressure * (24.0 + 4.04e4 * water * (0.02 + water) / (0.391 + water))
    nitrogen_hz = pressure / math.sqrt(warmth) * (9.0 + 280.0 * water * math.exp(-4.170 * (warmth ** (-1 / 3) - 1.0)))
    square = np.square(frequency_hz)
    classical = 1.84e-11 / pressure * math.sqrt(warmth)
    oxygen = 0.01275 * math.exp(-2239.1 / kelvin) * oxygen_hz / (oxygen_hz**2 + square)
    nitrogen = 0.1068 * math.exp(-3352.0 / kelvin) * nitrogen_hz / (nitrogen_hz**2 + square)
    return np.asarray(8.686 * square * (classical + warmth**-2.5 * (oxygen + nitrogen)), dtype=np.float64)


def spreading_db(distance_m: Floats) -> Floats:
    """Spherical spreading from the reference distance of 10 cm: 6 dB per doubling."""
    return np.asarray(20.0 * np.log10(distance_m / REFERENCE_DISTANCE_M), dtype=np.float64)


def doppler_factor(radial_speed_m_s: Floats, speed_of_sound_m_s: float) -> Floats:
    """Received over emitted frequency for a moving source; the radial speed is negative while it approaches."""
    return np.asarray(1.0 / (1.0 + radial_speed_m_s / speed_of_sound_m_s), dtype=np.float64)
