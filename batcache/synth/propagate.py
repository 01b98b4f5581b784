"""From the bat's mouth to the microphone: one call with its direct sound, its ground echo and the echoes of the trees.

All of it is one multiplication in the frequency domain: each path of length r delays, spreads as 1/r and absorbs
10^(-alpha(f) r / 20). Echoes of vegetation are a long grainy response whose later parts have travelled farther and are
therefore duller. The direct sound is beamed, and the ground's echo as if it left in the same direction; the echoes of
vegetation are not (as long as the beam is above 0.08), so a bat that flies off drowns in them.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from batcache.synth.air import REFERENCE_DISTANCE_M, Air, absorption_db_per_m, sound_speed_m_s
from batcache.synth.calls import Call, waveform
from batcache.synth.flight import beam_db
from batcache.synth.recorder import Recorder, noise_db, response_db

Floats = NDArray[np.float64]

ECHO_SPAN_S = 0.045
ECHO_EDGES_S = np.array([0.0006, 0.003, 0.006, 0.010, 0.015, 0.022, 0.032, ECHO_SPAN_S])
ANALYSIS_S = 0.004  # the window in which a signal-to-noise ratio is taken, as long as a frame of the front end


@dataclass(frozen=True)
class Path:
    """The geometry of one call."""

    distance_m: float
    image_m: float  # path length of the ground echo
    angle_rad: float  # between the beam and the microphone
    doppler: float
    ground: float  # amplitude reflected by the ground
    clutter_db: float  # energy of the vegetation's echoes re the direct sound at 5 m


@dataclass(frozen=True)
class Received:
    """A call as recorded, full scale 1, and the truth about its direct sound."""

    samples: Floats
    low_hz: float
    high_hz: float
    peak_hz: float
    level_db: float  # dB SPL at the microphone
    snr_db: float  # over the self-noise, in the best 1-kHz band and 4 ms


class Bench:
    """Everything that depends on the FFT length, the air, the recorder and the place, computed once a clip."""

    def __init__(self, n: int, rate_hz: float, air: Air, recorder: Recorder, rng: np.random.Generator, echoes: int = 6):
        self.n, self.rate_hz, self.air, self.recorder = n, rate_hz, air, recorder
        self.f: Floats = np.fft.rfftfreq(n, 1 / rate_hz).astype(np.float64)
        self.speed = sound_speed_m_s(air)
        self.loss = np.log(10.0) / 20.0 * absorption_db_per_m(self.f, air)  # nepers per metre
        self.response = 10.0 ** (response_db(recorder, self.f) / 20.0)
        self.width = max(1, round(1000.0 * n / rate_hz))  # bins per 1-kHz band
        self.noise = 10.0 ** (noise_db(recorder, self.f) / 10.0)
        self.echoes = [self._echo(rng) for _ in range(echoes)]

    def _echo(self, rng: np.random.Generator) -> NDArray[np.complex128]:
        """Response of the vegetation, unit energy before absorption: heavy-tailed noise, as leaves are grains."""
        span = int(ECHO_SPAN_S * self.rate_hz)
        t = np.arange(span) / self.rate_hz
        noise = rng.standard_normal(span)
        grains = noise * np.sqrt(np.abs(noise)) / (1.0 + self.speed * t / 3.0) ** 1.3 * np.minimum(t / 0.001, 1.0)
        patches = np.repeat(np.exp(0.4 * rng.standard_normal(span // 384 + 1)), 384)[:span]
        grains *= patches
        grains /= np.sqrt(np.sum(np.square(grains)))
        response = np.zeros(len(self.f), dtype=np.complex128)
        for first, last in pairwise(ECHO_EDGES_S):
            part = np.where((t >= first) & (t < last), grains, 0.0)
            response += np.fft.rfft(part, self.n) * np.exp(-self.loss * self.speed * (first + last) / 2)
        return response


def receive(call: Call, path: Path, delay_samples: float, echo: int, bench: Bench) -> Received | None:
    """The call at the microphone, beginning ``delay_samples`` (below 1) into its samples. Shape: ``[bench.n]``

    None where all of it lies above what the rate holds.
    """
    emitted = waveform(call, bench.rate_hz, path.doppler)
    if not emitted.any():
        return None
    spectrum = np.fft.rfft(emitted, bench.n)
    beam = 10.0 ** (beam_db(np.array(path.angle_rad), bench.f, call.peak_hz) / 20.0)
    pascal_like = 10.0 ** ((call.level_db - bench.recorder.full_scale_db) / 20.0) * REFERENCE_DISTANCE_M
    r = path.distance_m
    direct_way = pascal_like / r * np.exp(-bench.loss * (r - REFERENCE_DISTANCE_M)) * beam
    direct_way *= bench.response
    detour = path.image_m - r
    turn = (
        np.exp(-2j * np.pi * bench.f * (detour / bench.speed))
        * np.exp(-bench.loss * detour)
        * (path.ground * r / path.image_m)
    )
    late = 10.0 ** (path.clutter_db / 20.0) * np.sqrt(r / 5.0) / np.maximum(beam, 0.08)
    way = direct_way * (1.0 + turn + late * bench.echoes[echo % len(bench.echoes)])
    way = way * np.exp(-2j * np.pi * bench.f * (delay_samples / bench.rate_hz))
    direct = np.square(np.abs(spectrum * direct_way))
    return Received(
        np.fft.irfft(spectrum * way, bench.n), *_measure(direct, np.square(np.abs(spectrum)), call, path, bench)
    )


def _measure(
    direct: Floats, emitted: Floats, call: Call, path: Path, bench: Bench
) -> tuple[float, float, float, float, float]:
    """Lowest, highest and peak frequency where the direct sound stands out, its level, and its signal-to-noise ratio.

    A frequency counts while its density is within 25 dB of the peak and 3 dB above the self-noise, as an observer marks
    it; a harmonic set apart by more than 5 kHz does not.
    """
    half = bench.width // 2
    total = np.concatenate([np.zeros(1), np.cumsum(direct)])
    smooth = (total[bench.width :] - total[: -bench.width]) / bench.width
    seconds = max(call.duration_s / path.doppler, ANALYSIS_S)
    density = 2.0 * smooth / (bench.rate_hz**2 * seconds)
    noise = bench.noise[half : half + len(density)]
    ratio = density / noise
    top = int(np.argmax(density))
    threshold = np.maximum(10**-2.5 * density[top], np.minimum(2.0 * noise, 0.5 * density[top]))
    seen = _around(np.flatnonzero(density >= threshold), top, 5 * bench.width)
    level = call.level_db + 10.0 * np.log10(np.sum(direct / np.square(bench.response)) / np.sum(emitted) + 1e-30)
    level -= 20.0 * np.log10(10.0 ** ((call.level_db - bench.recorder.full_scale_db) / 20.0))
    f, band = bench.f[half : half + len(density)], slice(top, top + bench.width)
    peak = np.sum(direct[band] * bench.f[band]) / np.sum(direct[band])
    return float(f[seen[0]]), float(f[seen[-1]]), float(peak), float(level), float(10 * np.log10(ratio.max() + 1e-30))


def _around(seen: NDArray[np.intp], top: int, gap: int) -> NDArray[np.intp]:
    """The run of ``seen`` that holds ``top``, bridging gaps of up to ``gap``."""
    runs = np.split(seen, np.flatnonzero(np.diff(seen) > gap) + 1)
    return next(run for run in runs if run[0] <= top <= run[-1])
