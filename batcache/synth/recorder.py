"""The microphone and its electronics: full scale, response, self-noise, hum.

Levels follow recordings of seven makes: a floor of -117 to -110 dB re full scale per hertz above 15 kHz, a broad hump
where the capsule resonates (20 to 27 or 65 to 85 kHz), a rise below 8 kHz unless a high-pass stands there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Recorder:
    """Decibels re full scale per hertz, unless said otherwise."""

    full_scale_db: float = 116.0  # dB SPL (peak) that just fills 16 bits
    floor_db: float = -115.0
    low_db: float = -100.0  # at 1 kHz, falling 6 dB an octave
    humps: tuple[tuple[float, float, float], ...] = ((75e3, 11e3, 7.0),)  # (centre Hz, width Hz, height dB)
    slope_db: float = -2.0  # floor at 190 kHz relative to 20 kHz
    highpass_hz: float = 0.0
    rolloff_hz: float = 110e3  # response is 6 dB down here
    tones: tuple[tuple[float, float], ...] = ()  # (Hz, dB re full scale)


def draw_recorder(rng: np.random.Generator) -> Recorder:
    """Draw one of four makes of recorder, with its own noise, response and hum."""
    make = rng.choice(4, p=[0.4, 0.25, 0.2, 0.15])
    wobble = rng.standard_normal(4)
    tones = tuple(
        (float(rng.uniform(14e3, 140e3)), float(rng.uniform(-98, -82)))
        for _ in range(int(rng.choice(3, p=[0.55, 0.3, 0.15])))
    )
    humps: tuple[tuple[float, float, float], ...]
    if make == 0:  # electret or MEMS with an ultrasonic resonance
        humps, highpass, slope = ((74e3 + 6e3 * wobble[0], 10e3, 6.5 + wobble[1]),), 0.0, -2.0
    elif make == 1:  # MEMS in a cavity: resonances near 23 and 80 kHz
        humps = ((23e3 + 2e3 * wobble[0], 5e3, 9.0 + 3 * wobble[1]), (80e3 + 3e3 * wobble[2], 9e3, 4.0))
        highpass, slope = float(rng.choice([0.0, 6e3])), -1.0
    elif make == 2:  # flat, with a steep digital high-pass
        humps, highpass, slope = (), float(rng.uniform(9e3, 15e3)), -0.5
    else:  # older, noisy, falling
        humps, highpass, slope = ((70e3 + 8e3 * wobble[0], 25e3, 3.0),), 2e3, -5.0
    return Recorder(
        full_scale_db=float(116.0 + 3.0 * wobble[3]), floor_db=float(-115.0 + rng.uniform(-1.5, 4.0)),
        low_db=float(rng.uniform(-101, -88)), humps=humps, slope_db=slope, highpass_hz=highpass,
        rolloff_hz=float(rng.uniform(85e3, 150e3)), tones=tones,
    )  # fmt: skip


def response_db(recorder: Recorder, frequency_hz: Floats) -> Floats:
    """Sensitivity to sound: rolls off above, and lifts a little where the capsule resonates."""
    gain = -6.0 * np.square(frequency_hz / recorder.rolloff_hz)
    for centre, width, height in recorder.humps:
        gain = gain + 0.4 * height * np.exp(-np.square((frequency_hz - centre) / width))
    return np.asarray(gain + _highpass_db(recorder, frequency_hz))


def noise_db(recorder: Recorder, frequency_hz: Floats) -> Floats:
    """Power density of the self-noise and hum-free floor."""
    f = np.maximum(frequency_hz, 50.0)
    low = 10.0 ** ((recorder.low_db - 20.0 * np.log10(f / 1e3)) / 10.0)
    shaped = recorder.floor_db + recorder.slope_db * f / 190e3
    for centre, width, height in recorder.humps:
        shaped = shaped + height * np.exp(-np.square((f - centre) / width))
    return np.asarray(10.0 * np.log10(low + 10.0 ** (shaped / 10.0)) + _highpass_db(recorder, frequency_hz))


def _highpass_db(recorder: Recorder, frequency_hz: Floats) -> Floats:
    if recorder.highpass_hz == 0.0:
        return np.zeros_like(frequency_hz)
    steep = 8 if recorder.highpass_hz > 8e3 else 2
    ratio = recorder.highpass_hz / np.maximum(frequency_hz, 50.0)
    return np.asarray(np.maximum(-10.0 * np.log10(1.0 + ratio ** (2 * steep)), -45.0))
