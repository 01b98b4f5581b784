"""Sounds without bats: the same each time, within 16 bits, of many kinds."""

import numpy as np
import pytest
from scipy.signal import hilbert

from batcache.synth.no_bats import _tone, draw_no_bats


@pytest.mark.parametrize("rate_hz", [192_000, 384_000])
def test_a_number_is_one_sound_of_five_seconds(rate_hz: int) -> None:
    sound = draw_no_bats(5, rate_hz)
    assert sound.dtype == np.int16 and sound.shape == (5 * rate_hz,)
    assert np.array_equal(sound, draw_no_bats(5, rate_hz))
    assert not np.array_equal(sound, draw_no_bats(8, rate_hz))


@pytest.mark.slow
def test_there_are_silence_an_offset_and_clipping_and_much_else_that_sounds() -> None:
    sounds = [draw_no_bats(number, 192_000).astype(np.float64) for number in range(30)]
    assert any(not sound.any() for sound in sounds), "digital silence"
    assert any(abs(sound.mean()) > 10 * sound.std() + 100 for sound in sounds), "an offset"
    assert any((abs(sound) >= 32767).mean() > 0.01 for sound in sounds), "clipping"
    assert sum(sound.std() > 3 for sound in sounds) > 20


@pytest.mark.parametrize("rate_hz", [44_100, 384_000])
def test_some_tones_warble_as_wide_as_a_bats_sweep_and_none_beyond_what_a_recorder_hears(rate_hz: int) -> None:
    reaches = []
    for number in range(30):
        sound = _tone(2 * rate_hz, rate_hz, np.random.default_rng(number))
        phase = np.unwrap(np.angle(hilbert(sound)))
        hz = np.convolve(np.diff(phase), np.ones(200) / 200, "valid") * rate_hz / (2 * np.pi)
        low, high = np.quantile(hz, [0.02, 0.98])
        reaches.append(high - low)
        assert high < rate_hz / 2
    assert 3 <= sum(reach > 1000 for reach in reaches) <= 25
