"""What is not a bat: self-noise, hum, wind, rain, clicks and bush-crickets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batcache.synth.recorder import Recorder, noise_db

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Insect:
    """A song: syllables of band-limited noise in groups. Bands of several peaks are (centre Hz, width Hz, dB)."""

    name: str
    bands: tuple[tuple[float, float, float], ...]
    syllable_s: tuple[float, float]
    syllables: tuple[int, int]
    syllable_gap_s: tuple[float, float]  # onset to onset within a group
    group_gap_s: tuple[float, float]  # end of a group to the next
    tooth_hz: float  # rate of the tooth impacts that roughen a syllable


# Song patterns and bands: typical of the guides to European Orthoptera songs; bands checked on real recordings.
INSECTS = (
    Insect(
        "Tettigonia viridissima", ((10e3, 1.3e3, 0), (21e3, 4e3, -9), (36e3, 9e3, -24)),
        (0.015, 0.04), (2, 2), (0.03, 0.045), (0.03, 0.06), 2600,
    ),
    Insect(
        "Platycleis", ((18.5e3, 2.4e3, 0), (27e3, 6e3, -18)),
        (0.015, 0.06), (2, 4), (0.04, 0.09), (0.12, 0.5), 3500,
    ),
    Insect(
        "Leptophyes punctatissima", ((36e3, 4.5e3, 0),),
        (0.0007, 0.003), (1, 2), (0.003, 0.006), (0.7, 3.5), 9000,
    ),
    Insect(
        "Phaneroptera-like", ((29e3, 7e3, -5), (42e3, 8e3, 0)),
        (0.0008, 0.002), (5, 25), (0.012, 0.02), (0.2, 1.5), 8000,
    ),
)  # fmt: skip


def _band_noise(insect: Insect, n: int, rate_hz: float, rng: np.random.Generator) -> Floats:
    """Rough noise in the insect's bands with an envelope that swells and stops. Shape: ``[n]``"""
    f = np.fft.rfftfreq(n, 1 / rate_hz)
    gain = sum(10.0 ** (db / 20.0) * np.exp(-np.square((f - centre) / width)) for centre, width, db in insect.bands)
    u = (np.arange(n) + 0.5) / n
    teeth = 1.0 + 0.8 * np.sin(2 * np.pi * insect.tooth_hz * np.arange(n) / rate_hz)
    sound = np.fft.irfft(np.fft.rfft(rng.standard_normal(n) * teeth) * gain, n)
    sound *= u * np.exp(-float(rng.uniform(1.0, 4.0)) * u) * (1.0 - u)
    return np.asarray(sound / np.sqrt(np.mean(np.square(sound))))


def sing(insect: Insect, level: float, out: NDArray[np.float32], rate_hz: float, rng: np.random.Generator) -> None:
    """Adds a song of RMS amplitude ``level`` to ``out``. Twelve syllables are drawn and used again."""
    stock = [_band_noise(insect, int(rate_hz * rng.uniform(*insect.syllable_s)) + 64, rate_hz, rng) for _ in range(12)]
    time = -float(rng.uniform(0, 0.5))
    end = len(out) / rate_hz
    while time < end:
        for _ in range(int(rng.integers(insect.syllables[0], insect.syllables[1] + 1))):
            sound, first = stock[int(rng.integers(12))], int(time * rate_hz)
            last = min(first + len(sound), len(out))
            if first >= 0 and last > first:
                out[first:last] += (level * float(np.exp(0.35 * rng.standard_normal())) * sound[: last - first]).astype(
                    np.float32
                )
            time += float(rng.uniform(*insect.syllable_gap_s))
        time += float(rng.uniform(*insect.group_gap_s))


def _gusts(n: int, rate_hz: float, level_db: float, rng: np.random.Generator) -> NDArray[np.complex128]:
    """Spectrum of wind below a few kHz in gusts, on the coarse grid of ``n`` samples at the same bin width."""
    f = np.fft.rfftfreq(n, 1 / rate_hz)
    amplitude = 10.0 ** (level_db / 20.0) / np.maximum(f / 300.0, 1.0) ** 1.6
    amplitude[f < 30.0] = 0.0
    white = rng.standard_normal((2, len(f)))
    rumble = np.fft.irfft((white[0] + 1j * white[1]) * amplitude * np.sqrt(rate_hz * n / 4), n)
    knots = rng.standard_normal(8)
    swell = np.exp(np.interp(np.arange(n), np.linspace(0, n, 8), knots))
    return np.asarray(np.fft.rfft(rumble * swell))


def background(
    recorder: Recorder, wind_db: float | None, n: int, rate_hz: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Self-noise, hum and wind. Shape: ``[n]``, full scale 1.

    Drawn as a spectrum: a bin of a real sequence with one-sided density S has E|X|² = S rate n / 2.
    """
    bins = n // 2 + 1
    knots = np.linspace(0.0, rate_hz / 2, 2048)
    knots[1:64] = np.geomspace(60.0, knots[64], 64)[:-1]
    f = np.arange(bins) * (rate_hz / n)
    std = np.interp(f, knots, 10.0 ** (noise_db(recorder, knots) / 20.0)).astype(np.float32) * np.float32(
        np.sqrt(rate_hz * n / 4)
    )
    draw = rng.standard_normal((bins, 2), dtype=np.float32)
    draw *= std[:, None]
    spectrum = draw.view(np.complex64)[:, 0]
    for tone_hz, db in recorder.tones:
        centre, spread = int(tone_hz * n / rate_hz), 25
        if centre + spread >= bins:  # above what this rate holds
            continue
        shape = np.hanning(2 * spread + 1) * np.exp(2j * np.pi * rng.random(2 * spread + 1))
        shape *= 10.0 ** (db / 20.0) * n / 2 / np.sqrt(np.sum(np.abs(shape) ** 2))
        spectrum[centre - spread : centre + spread + 1] += shape.astype(np.complex64)
    if wind_db is not None:
        coarse = n // 32
        gusts = _gusts(coarse, rate_hz / 32, wind_db, rng) * 32
        spectrum[: len(gusts) - 1] += gusts[:-1].astype(np.complex64)
    spectrum[0] = spectrum[-1] = 0
    return np.fft.irfft(spectrum, n).astype(np.float32)


def add_clicks(out: NDArray[np.float32], per_s: float, level: float, rate_hz: float, rng: np.random.Generator) -> None:
    """Rain drops or crackle: short decaying bursts, louder at low frequencies, at random times."""
    for start in rng.integers(0, len(out) - 2048, int(rng.poisson(per_s * len(out) / rate_hz))):
        n = int(rate_hz * rng.uniform(0.0003, 0.002))
        t = np.arange(n) / n
        burst = rng.standard_normal(n) * np.exp(-6 * t) * np.minimum(12 * t, 1.0)
        smooth = int(rng.integers(3, 40))
        burst = np.convolve(burst, np.ones(smooth) / smooth, "same")
        out[start : start + n] += (level * float(np.exp(0.9 * rng.standard_normal()) * smooth**0.5) * burst).astype(
            np.float32
        )
