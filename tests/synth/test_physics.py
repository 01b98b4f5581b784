"""Sound on its way: ISO 9613-1, spreading, Doppler, ground echo, saturation."""

from dataclasses import replace

import numpy as np
import pytest

from batcache.synth.air import Air, absorption_db_per_m, doppler_factor, sound_speed_m_s, spreading_db
from batcache.synth.calls import Call
from batcache.synth.flight import Flight, geometry, image_distance_m
from batcache.synth.propagate import Bench, Path, Received, receive
from batcache.synth.recorder import Recorder
from batcache.synth.render import quantise

RATE = 384_000.0
PLAIN = Recorder(humps=(), rolloff_hz=1e9, highpass_hz=0.0)
TONE = Call(45e3, 45e3, 45e3, 0.0, 5.0, 5.0, 0.006, 45e3, 9.0, 1.0, 1.0, level_db=110.0)


def bench() -> Bench:
    return Bench(24_576, RATE, Air(), PLAIN, np.random.default_rng(0))


SWEEP = replace(TONE, start_hz=80e3, end_hz=30e3)


def heard(
    distance_m: float, image_m: float | None = None, ground: float = 0.0, doppler: float = 1.0, call: Call = TONE
) -> Received:
    path = Path(distance_m, image_m or distance_m, 0.0, doppler, ground, -300.0)
    return receive(call, path, 0.0, 0, bench())


def test_absorption_equals_the_table_of_iso_9613() -> None:
    """ISO 9613-2, table 2, dB/km at 20 °C, 70 %: 5.0 at 1 kHz, 22.9 at 4, 76.6 at 8 (exact midbands)."""
    midband = 1000.0 * 10.0 ** (3 * np.array([0, 2, 3]) / 10)
    got = 1e3 * absorption_db_per_m(midband, Air(20.0, 70.0))
    assert got == pytest.approx([5.0, 22.9, 76.6], rel=0.02)


def test_absorption_of_ultrasound_is_that_of_the_standard_formula() -> None:
    """20 °C, 50 %, sea level: the formula evaluated apart, and in the ranges published for bats."""
    at_50, at_100 = absorption_db_per_m(np.array([50e3, 100e3]), Air())
    assert at_50 == pytest.approx(1.62, abs=0.05)
    assert at_100 == pytest.approx(3.28, abs=0.15)


@pytest.mark.parametrize("air", [Air(5.0, 95.0), Air(20.0, 50.0), Air(30.0, 20.0)])
def test_absorption_grows_with_frequency(air: Air) -> None:
    assert np.all(np.diff(absorption_db_per_m(np.linspace(1e3, 190e3, 200), air)) > 0)


def test_spreading_loses_6_db_per_doubling() -> None:
    assert np.diff(spreading_db(np.array([1.0, 2.0, 4.0, 8.0]))) == pytest.approx(6.02, abs=0.01)


def test_a_received_level_loses_spreading_and_absorption() -> None:
    """From 5 to 10 m: 6.02 dB and 5 m of absorption at 45 kHz."""
    lost = heard(5.0).level_db - heard(10.0).level_db
    assert lost == pytest.approx(6.02 + 5 * absorption_db_per_m(np.array([45e3]), Air())[0], abs=0.1)


def test_an_approaching_bat_is_heard_1350_hz_higher() -> None:
    """10 m/s at 45 kHz in air of 20 °C: 45 x 10 / (343.2 - 10) = 1.35 kHz."""
    flight = Flight(speed_m_s=10.0, closest_m=0.01, height_m=0.0, closest_s=10.0)
    _, rate, _ = geometry(flight, np.array([5.0]))
    factor = float(doppler_factor(rate, sound_speed_m_s(Air()))[0])
    assert 45e3 * factor - 45e3 == pytest.approx(1350.0, abs=5.0)
    assert heard(5.0, doppler=factor).peak_hz == pytest.approx(46.35e3, abs=60.0)  # a 6-ms call, bins of 16 Hz


def test_the_ground_echo_comes_later_by_the_path_difference() -> None:
    """Microphone 2 m up, bat 6 m up and 10 m away: direct √(10² + 4²), by the ground √(10² + 8²)."""
    flight = Flight(speed_m_s=0.0, closest_m=10.0, height_m=4.0, closest_s=0.0)
    distance, _, _ = geometry(flight, np.array([0.0]))
    image = image_distance_m(flight, np.array([0.0]), 2.0)
    assert (distance[0], image[0]) == pytest.approx((np.hypot(10, 4), np.hypot(10, 8)))
    without, echoed = heard(distance[0], call=SWEEP).samples, heard(distance[0], image[0], 0.8, call=SWEEP).samples
    lag = np.argmax(np.correlate(echoed - without, without[:4096], "valid"))
    assert lag / RATE == pytest.approx(
        (image[0] - distance[0]) / sound_speed_m_s(Air()), abs=3.0 / RATE
    )  # the longer path is duller, which moves the peak by a sample or two


def test_loud_sound_saturates_and_never_wraps() -> None:
    sound = np.array([-3.0, -1.0, 0.0, 0.5, 1.0, 2.5], dtype=np.float32)
    assert quantise(sound).tolist() == [-32768, -32768, 0, 16384, 32767, 32767]
