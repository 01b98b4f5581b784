"""Calls obey their frequency law, whatever their shape."""

import numpy as np
import pytest

from batcache.synth.calls import Call, cycles, frequency_hz, waveform
from batcache.synth.repertoire import SPECIES

RATE = 384_000.0
TONE = Call(45e3, 45e3, 45e3, 0.0, 5.0, 5.0, 0.02, 45e3, 9.0, 0.3, 0.3)
SWEEP = Call(90e3, 40e3, 30e3, 10e3, 2.5, 5.0, 0.004, 45e3, 0.8, 1.0, 0.7)


def spectrum_peak_hz(x: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(x, 2**17))
    return float(np.argmax(power) * RATE / 2**17)


def test_a_constant_call_at_45_khz_comes_out_at_45_khz() -> None:
    assert spectrum_peak_hz(waveform(TONE, RATE)) == pytest.approx(45e3, abs=10.0)  # bins of 2.9 Hz, line 50 Hz wide


@pytest.mark.parametrize("bend", [-2.0, 0.0, 1e-4, 2.5, 40.0])
def test_the_phase_is_the_integral_of_the_frequency(bend: float) -> None:
    call = Call(90e3, 40e3, 30e3, 10e3, bend, 5.0, 0.004, 45e3, 0.8, 1.0, 0.7)
    u = np.linspace(0.0, 1.0, 200_001)
    f = frequency_hz(call, u)
    summed = np.concatenate([[0.0], np.cumsum((f[1:] + f[:-1]) / 2)]) * call.duration_s / 200_000
    assert np.abs(cycles(call, u) - summed).max() < 1e-4  # cycles; the trapezoid rule errs by about 1e-6


def test_a_sweep_starts_and_ends_where_it_says() -> None:
    first, last = frequency_hz(SWEEP, np.array([0.0, 1.0]))
    assert (first, last) == pytest.approx((90e3, 30e3))


def test_the_doppler_factor_raises_frequency_and_shortens_the_call() -> None:
    x = waveform(TONE, RATE, doppler=1.03)
    assert spectrum_peak_hz(x) == pytest.approx(46.35e3, abs=10.0)
    assert len(x) == pytest.approx(0.02 * RATE / 1.03, abs=1)


def test_partials_above_nyquist_leave_no_alias() -> None:
    """The third harmonic of 80 kHz is 240 kHz, whose alias would be 144 kHz."""
    call = Call(80e3, 80e3, 80e3, 0.0, 5.0, 5.0, 0.02, 80e3, 9.0, 2.0, 2.0, partials=((1.0, 0.0), (3.0, 0.0)))
    power = np.square(np.abs(np.fft.rfft(waveform(call, RATE))))
    f = np.fft.rfftfreq(len(waveform(call, RATE)), 1 / RATE)
    assert power[np.abs(f - 144e3) < 3e3].sum() < 1e-9 * power.sum()


def test_every_species_stays_below_nyquist_and_above_10_khz() -> None:
    for species in SPECIES:
        for kind in species.types:
            assert kind.start_khz.high < 0.9 * RATE / 2e3
            assert kind.knee_khz.low + kind.end_khz > 10.0
