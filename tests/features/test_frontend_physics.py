"""Calls, tones, noise and silence show in the features where and when they sound."""

from math import ceil

import numpy as np
import pytest
import torch

from batcache.features.audio import read_header
from batcache.features.bands import band_edges_hz, dead_bands
from batcache.features.energy import BandEnergy
from tests.conftest import noise, tone
from tests.features.whole import DEFAULT, TARGET, WriteWav, burst_in_noise, features, on_every_engine


@on_every_engine
@pytest.mark.parametrize("header_rate, expansion", [(384_000, 1), (500_000, 1), (38_400, 10), (214_285, 1)])
def test_a_45_khz_call_lights_its_band_at_its_time(write_wav: WriteWav, front_end, header_rate, expansion) -> None:
    rate = header_rate * expansion
    path = write_wav("call.wav", burst_in_noise(45_000, 0.3, rate), header_rate)
    made = features(front_end, path, rate)
    frame, band = np.unravel_index(made.argmax(), made.shape)
    lower, _, upper = band_edges_hz(DEFAULT)[band].tolist()
    assert lower < 45_000 < upper
    assert abs(frame - 300) <= 2  # the call is 5 frames long, and PCEN's onset stands before its middle


def test_a_steady_45_khz_tone_lights_its_band(write_wav: WriteWav, front_end) -> None:
    made = features(front_end, write_wav("tone.wav", tone(45_000, 0.6, 384_000))).astype(float).mean(0)
    lower, _, upper = band_edges_hz(DEFAULT)[made.argmax()].tolist()
    assert lower < 45_000 < upper
    assert made.max() > 2 * np.median(made)  # PCEN lifts a steady tone to 0.45; far bands hold rounding, held down


@on_every_engine
def test_five_seconds_are_5000_frames(write_wav: WriteWav, front_end) -> None:
    assert len(features(front_end, write_wav("five.wav", np.zeros(1_920_000)))) == 5000


@pytest.mark.parametrize("rate", [384_000, 250_000, 256_000, 214_285, 192_000])
@pytest.mark.parametrize("samples", [1, 255, 256, 257, 383, 384, 1000, 20_001])
def test_a_recording_has_as_many_frames_as_whole_hops(write_wav: WriteWav, front_end, rate, samples) -> None:
    path = write_wav("a.wav", noise(0.1, rate)[:samples].clip(-1, 1), rate)
    read = min(samples, round(0.1 * rate))
    samples_at = ceil(read * TARGET / rate) // 256 if rate % 1000 else read * 1000 // rate
    assert len(features(front_end, path, rate)) == samples_at


@on_every_engine
@pytest.mark.parametrize("rate", [384_000, 192_000, 144_000])
def test_stationary_noise_is_stationary_from_the_first_frame(write_wav: WriteWav, front_end, rate) -> None:
    made = features(front_end, write_wav("noise.wav", noise(2, rate, 0.05), rate), rate).astype(float)
    dead = dead_bands(DEFAULT, rate)
    alive = made[:, : DEFAULT.n_mels - dead]
    # 50 frames of 128 bands scatter by 2 %; librosa's own start would be off by a factor of 20.
    assert alive[:50].mean() == pytest.approx(alive[-50:].mean(), rel=0.2)
    assert (alive > 0).all()
    assert (made[:, DEFAULT.n_mels - dead :] == 0).all()
    assert (rate == 384_000) == (dead == 0)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_silence_gives_zero(write_wav: WriteWav, front_end, subtype) -> None:
    assert not features(front_end, write_wav("a.wav", np.zeros(300_000), subtype=subtype)).any()


def test_the_level_of_a_recording_hardly_matters(write_wav: WriteWav, front_end) -> None:
    """E / M^0.98 grows as E^0.02: 20 dB change a value by 4.7 % at most."""
    wave = burst_in_noise(45_000, 0.3, 384_000) + noise(0.7, 384_000, 0.02, seed=1)
    quiet, loud = (
        features(front_end, write_wav(f"{gain}.wav", gain * wave, subtype="FLOAT")).astype(float) for gain in (1, 10)
    )
    # Above 0.1, where steps of float16 are small; half a per cent for them and for eps.
    ratio = (loud / quiet)[quiet > 0.1]
    assert 0.995 < ratio.min() < ratio.max() < 10**0.02 + 0.005


def test_shares_of_energy_tell_where_it_lies(write_wav: WriteWav, front_end) -> None:
    for hz, expected in ((5_000, (1, 0)), (45_000, (0, 0)), (120_000, (0, 1))):
        energy = BandEnergy(DEFAULT)
        path = write_wav("tone.wav", tone(hz, 0.3, 384_000))
        list(front_end.stream(path, read_header(path), 384_000, energy))
        assert energy.shares() == pytest.approx(expected, abs=1e-3)
    assert BandEnergy(DEFAULT).shares() == (0, 0)


def test_an_offset_is_no_energy_below_the_bands(write_wav: WriteWav, front_end) -> None:
    energy = BandEnergy(DEFAULT)
    path = write_wav("tone.wav", tone(45_000, 0.3, 384_000) + 0.03)
    list(front_end.stream(path, read_header(path), 384_000, energy))
    assert energy.shares() == pytest.approx((0, 0), abs=1e-3)


@pytest.mark.parametrize("block", [100_000, 384, 50])
def test_float_samples_beyond_full_scale_are_known_by_their_peak(front_end, block) -> None:
    """Those of each recording of a batch, whatever the blocks."""
    samples = torch.from_numpy(np.stack([noise(0.1, 384_000, 0.1), 32_767 * tone(45_000, 0.1, 384_000)])).float()
    samples[0, 20_000] = -1.25
    energy = BandEnergy(DEFAULT, 3)
    whole = torch.cat([samples, torch.ones(1, samples.shape[1])])
    list(front_end.stream_batch(torch.split(whole, block, 1), 384_000, energy))
    assert [energy.overscale(i) for i in range(3)] == [1.25, 3277, 0]  # four digits; full scale itself is not beyond it


def test_samples_of_16_bits_never_go_beyond_full_scale(front_end) -> None:
    energy = BandEnergy(DEFAULT)
    list(front_end.stream_batch([torch.full((1, 4000), -(2**15), dtype=torch.int16)], 384_000, energy))
    assert energy.overscale() == 0
