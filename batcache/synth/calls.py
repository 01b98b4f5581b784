"""One echolocation call as a waveform.

The instantaneous frequency of every European call type is one law of the normalised time u = t / duration in [0, 1]:

    f(u) = knee + tail (1/2 - u) + a E(u; bend) + b E(1 - u; hook),    E(u; k) = (e^(-k u) - e^-k) / (1 - e^-k)

E falls from 1 to 0: a straight line as k -> 0, a hyperbola-like sweep into a flat tail for large k, convex for k < 0.
``a`` and ``b`` follow from the frequencies at the start and the end. A pipistrelle has a large bend and a flat tail;
a Myotis a small bend, a steep middle and a hook; a horseshoe bat has a < 0 and b < 0, both sharp, and no tail.
E has a closed integral, so the phase is exact and harmonics are multiples of it; whatever would lie above Nyquist is
left out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HEARD_SHARE, AUDIBLE_SHARE = 0.92, 0.97  # of Nyquist, between which partials fade out


@dataclass(frozen=True)
class Call:
    """One call as emitted. Frequencies in Hz are those of the strongest partial."""

    start_hz: float
    knee_hz: float
    end_hz: float
    tail_hz: float
    bend: float
    hook: float
    duration_s: float
    peak_hz: float  # where the source is loudest
    spread_octaves: float  # 6 dB down that far from peak_hz
    attack: float  # amplitude ~ u^attack (1-u)^release
    release: float
    partials: tuple[tuple[float, float], ...] = ((1.0, 0.0),)  # (multiple of f, level in dB)
    ripple: tuple[float, float, float] = (0.0, 0.0, 0.0)  # depth in dB, cycles per call, phase
    level_db: float = 110.0  # peak-equivalent dB SPL at 10 cm on the axis


def _fall(u: Floats, k: float) -> Floats:
    k = k if abs(k) > 1e-3 else 1e-3
    return np.asarray((np.exp(-k * u) - np.exp(-k)) / -np.expm1(-k))


def _fall_integral(u: Floats, k: float) -> Floats:
    k = k if abs(k) > 1e-3 else 1e-3
    return np.asarray((-np.expm1(-k * u) / k - u * np.exp(-k)) / -np.expm1(-k))


def frequency_hz(call: Call, u: Floats) -> Floats:
    """Instantaneous frequency at normalised times ``u``."""
    a, b = call.start_hz - call.knee_hz - call.tail_hz / 2, call.end_hz - call.knee_hz + call.tail_hz / 2
    return np.asarray(call.knee_hz + call.tail_hz * (0.5 - u) + a * _fall(u, call.bend) + b * _fall(1.0 - u, call.hook))


def cycles(call: Call, u: Floats) -> Floats:
    """Phase in cycles since the start: the closed integral of the frequency over time."""
    a, b = call.start_hz - call.knee_hz - call.tail_hz / 2, call.end_hz - call.knee_hz + call.tail_hz / 2
    end_part = _fall_integral(np.ones(1), call.hook) - _fall_integral(1.0 - u, call.hook)
    linear = call.knee_hz * u + call.tail_hz * (u - u * u) / 2
    return np.asarray(call.duration_s * (linear + a * _fall_integral(u, call.bend) + b * end_part))


def amplitude(call: Call, u: Floats, f: Floats) -> Floats:
    """Amplitude along the call, at most about 1: a skewed bell in time, times the source's emphasis in frequency."""
    top = call.attack / (call.attack + call.release)
    bell = (u / top) ** call.attack * ((1.0 - u) / (1.0 - top)) ** call.release
    depth, turns, phase = call.ripple
    emphasis_db = -6.0 * np.square(np.log2(np.maximum(f, 1e3) / call.peak_hz) / call.spread_octaves)
    emphasis_db += depth * np.cos(2 * np.pi * (turns * u + phase))
    return np.asarray(bell * 10.0 ** (emphasis_db / 20.0))


def waveform(call: Call, rate_hz: float, doppler: float = 1.0) -> Floats:
    """Sound pressure of the call relative to its peak-equivalent level, as heard with a Doppler factor.

    Shape: ``[ceil(duration_s / doppler * rate_hz)]``
    """
    n = max(int(np.ceil(call.duration_s / doppler * rate_hz)), 8)
    u = (np.arange(n) + 0.5) / n
    f, phase = frequency_hz(call, u), 2 * np.pi * cycles(call, u)
    envelope, nyquist = amplitude(call, u, f), rate_hz / 2
    envelope /= envelope.max()
    out = np.zeros(n)
    for multiple, db in call.partials:
        heard = multiple * doppler * f / nyquist
        keep = np.clip((AUDIBLE_SHARE - heard) / 0.05, 0.0, 1.0)
        out += 10.0 ** (db / 20.0) * keep * envelope * np.sin(multiple * phase)
    return out
