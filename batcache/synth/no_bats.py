"""Sounds without bats, of the kinds that recorders bring home beside them, and some that only electronics make.

A model that has heard none of these takes them for one of its species: it was never told that nothing is an answer.
A third are backgrounds of the simulator, nights with their recorders, wind, rain and insects. The others are one thing
each, exaggerated: noise of any colour, gusts, steady and wavering tones, trains of pulses as insects make them, clicks,
lines of electronics, an offset, digital silence, noise that is clipped. Tones and pulses are the most like bats, and
there are more of them.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from batcache.synth.render import DURATION_S, RATE_HZ, generator, quantise, render

Floats = NDArray[np.float64]
_QUIETEST_DB, _LOUDEST_DB = -70.0, -3.0  # of the loudest sample, re full scale


def draw_no_bats(number: int, rate_hz: int = RATE_HZ) -> NDArray[np.int16]:
    """A sound without bats, the same one for the same number; every third is a night of the simulator.

    Shape: ``[rate * 5 s]``, in 16-bit steps
    """
    name, length = f"no bats {number}", int(rate_hz * DURATION_S)
    if number % 3 == 0:
        return render(name, (), name, rate_hz).samples
    rng = generator(name)
    kind = _KINDS[(number - 1 - number // 3) % len(_KINDS)]
    sound = kind(length, rate_hz, rng)
    hiss = 10.0 ** (rng.uniform(-110.0, -60.0) / 20.0) * rng.standard_normal(length)
    return quantise((sound + hiss * bool(sound.any())).astype(np.float32))


def _log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _level(sound: Floats, rng: np.random.Generator) -> Floats:
    peak = 10.0 ** (rng.uniform(_QUIETEST_DB, _LOUDEST_DB) / 20.0)
    return np.asarray(sound * (peak / np.abs(sound).max()))


def _coloured(n: int, slope: float, rng: np.random.Generator) -> Floats:
    """Noise whose power falls with the frequency to the power of ``slope``."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** (-slope / 2)
    spectrum[0] = 0
    return np.asarray(np.fft.irfft(spectrum, n))


def _noise(n: int, rate_hz: int, rng: np.random.Generator) -> Floats:
    return _level(_coloured(n, float(rng.uniform(-0.5, 2.0)), rng), rng)


def _gusts(n: int, rate_hz: int, rng: np.random.Generator) -> Floats:
    knots = np.exp(1.2 * rng.standard_normal(int(rng.integers(4, 16))))
    swell = np.interp(np.arange(n), np.linspace(0, n, len(knots)), knots)
    return _level(_coloured(n, float(rng.uniform(1.0, 2.5)), rng) * swell, rng)


def _tone(n: int, rate_hz: int, rng: np.random.Generator) -> Floats:
    """A tone of an insect or a machine: steady, beating, wavering or warbling, with harmonics at times."""
    t, hz = np.arange(n) / rate_hz, _log_uniform(9e3, 0.4 * rate_hz, rng)
    wander = np.cumsum(rng.standard_normal(n)) * 10.0 ** rng.uniform(-5, -1.5)
    beats = 1.0 + float(rng.uniform(0, 1)) * np.sin(2 * np.pi * float(rng.uniform(1, 120)) * t)
    warbles_hz, reach_hz = _log_uniform(0.3, 40, rng), _log_uniform(10, 8e3, rng) * (rng.random() < 0.7)
    reach_hz = min(reach_hz, 0.49 * rate_hz - hz)
    phase = 2 * np.pi * hz * t + wander + reach_hz / warbles_hz * np.sin(2 * np.pi * warbles_hz * t)
    second = float(rng.uniform(0, 0.3)) * np.sin(2 * phase) if 2 * (hz + reach_hz) < rate_hz / 2 else 0.0
    return _level(beats * (np.sin(phase) + second), rng)


def _lines(n: int, rate_hz: int, rng: np.random.Generator) -> Floats:
    """Lines of electronics: several tones, and the hum of a switching supply that sweeps a little."""
    t = np.arange(n) / rate_hz
    sound = np.zeros(n)
    for _ in range(int(rng.integers(1, 6))):
        hz, sway = float(rng.uniform(9e3, 0.45 * rate_hz)), float(rng.uniform(0, 300))
        sound += float(rng.uniform(0.2, 1)) * np.sin(
            2 * np.pi * hz * t + sway * np.sin(2 * np.pi * rng.uniform(0, 3) * t)
        )
    return _level(sound, rng)


def _pulses(n: int, rate_hz: int, rng: np.random.Generator) -> Floats:
    """A train of pulses of one frequency, tonal or rough, as bush-crickets and relays make: no sweep, no wing beat."""
    hz, period_s = (
        float(np.exp(rng.uniform(np.log(9e3), np.log(90e3)))),
        float(np.exp(rng.uniform(np.log(0.006), np.log(0.4)))),
    )
    length = max(8, int(rate_hz * min(float(rng.uniform(0.001, 0.025)), 0.8 * period_s)))
    t, sound, rough = np.arange(length) / rate_hz, np.zeros(n), float(rng.uniform(0, 1)) * bool(rng.integers(2))
    shape = np.sin(np.pi * np.arange(length) / length) ** float(rng.uniform(0.2, 2))
    jitter = float(rng.uniform(0, 0.2)) * bool(rng.integers(2))
    for begin in np.arange(float(rng.uniform(0, period_s)), n / rate_hz, period_s):
        first = int((begin + period_s * jitter * rng.standard_normal()) * rate_hz)
        if 0 <= first < n - length:
            carrier = np.sin(2 * np.pi * hz * t + rng.uniform(0, 6)) + rough * rng.standard_normal(length)
            sound[first : first + length] += shape * carrier * np.exp(0.2 * rng.standard_normal())
    return _level(sound, rng) if sound.any() else sound


def _clicks(n: int, rate_hz: int, rng: np.random.Generator) -> Floats:
    sound = np.zeros(n)
    for first in rng.integers(0, n, int(rng.integers(2, 200))):
        length = min(int(_log_uniform(20, 4000, rng)), n - int(first))
        burst = rng.standard_normal(length) * np.exp(-5 * np.arange(length) / length)
        smooth = min(int(rng.integers(1, 40)), length)
        burst = np.convolve(burst, np.ones(smooth), "same")
        sound[first : first + length] += burst * np.exp(rng.standard_normal())
    return _level(sound, rng)


def _offset(n: int, rate_hz: int, rng: np.random.Generator) -> Floats:
    return np.full(n, float(rng.uniform(-0.9, 0.9)))


def _silence(n: int, rate_hz: int, rng: np.random.Generator) -> Floats:
    return np.zeros(n)


def _clipped(n: int, rate_hz: int, rng: np.random.Generator) -> Floats:
    noise = _coloured(n, float(rng.uniform(0.0, 2.0)), rng)
    return np.asarray(np.clip(noise / noise.std() * float(np.exp(rng.uniform(-1.0, 2.5))), -1.0, 1.0))


_KINDS: tuple[Callable[[int, int, np.random.Generator], Floats], ...] = (
    _noise, _tone, _pulses, _clicks, _pulses, _gusts, _tone,
    _clipped, _pulses, _lines, _tone, _silence, _pulses, _offset,
)  # fmt: skip
