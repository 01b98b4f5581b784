"""Recorders of other rates: the same night, heard as far as the rate reaches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from batcache.manifest.manifest import read_manifest
from batcache.synth.create import create
from batcache.synth.night import draw_night
from batcache.synth.render import RATE_HZ, draw_rate, generator
from tests.synth.rendered import ROWS, render_named, write_rows

RATES = (192_000, 250_000, 256_000, 300_000, 384_000, 500_000)
HORSESHOE = "Rhinolophus hipposideros"  # calls at 110 kHz, and fainter an octave below


def bat_alone(species: str, rate_hz: int) -> NDArray[np.float64]:
    """Power of what a species adds to a clip, by frequency. Shape: ``[bins]`` of 0.2 Hz"""
    with_it, without = (render_named("x.wav", names, "night of x", rate_hz).samples for names in ([species], []))
    return np.square(np.abs(np.fft.rfft(with_it.astype(float) - without)))


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_night_is_the_same_at_every_rate_and_lasts_as_long(rate_hz: int) -> None:
    usual, other = (render_named("x.wav", ["Pipistrellus pygmaeus"], "night of x", rate) for rate in (RATE_HZ, rate_hz))
    assert (other.rate_hz, len(other.samples)) == (rate_hz, 5 * rate_hz)
    assert [(event.start_s, event.end_s) for event in other.events] == [(e.start_s, e.end_s) for e in usual.events]
    for event, there in zip(other.events, usual.events, strict=True):
        assert (event.peak_khz, event.level_db) == pytest.approx((there.peak_khz, there.level_db), abs=0.3)
    assert other.night == usual.night


def test_what_lies_above_half_the_rate_is_neither_heard_nor_folded_back() -> None:
    """At 192 kHz, 112 kHz would come back as 80 kHz."""
    assert max(event.peak_khz for event in render_named("x.wav", [HORSESHOE], "night of x", 384_000).events) > 105
    assert max(event.high_khz for event in render_named("x.wav", [HORSESHOE], "night of x", 192_000).events) < 96
    power = bat_alone(HORSESHOE, 192_000)
    below, folded = power[5 * 50_000 : 5 * 60_000], power[5 * 75_000 : 5 * 90_000]
    assert folded.mean() < 1e-2 * below.mean(), "an octave below, and what rounding to 16 bits leaves"


def test_a_call_of_which_nothing_is_heard_is_not_listed() -> None:
    """At 96 kHz, a bat whose lowest partial lies at 56 kHz."""
    assert render_named("x.wav", [HORSESHOE], "night of x", 96_000).events == ()


def test_a_hum_above_half_the_rate_is_not_there() -> None:
    groups = (f"night {i}" for i in range(100))
    group = next(g for g in groups if any(hz > 96_000 for hz, _ in draw_night(generator("night", g)).recorder.tones))
    assert len(render_named("x.wav", [], group, 192_000).samples) == 960_000


def test_all_clips_of_a_night_have_one_rate_and_every_rate_has_its_nights() -> None:
    drawn = [draw_rate(f"night {i}", RATES) for i in range(100)]
    assert set(drawn) == set(RATES) and drawn == [draw_rate(f"night {i}", RATES) for i in range(100)]
    assert {draw_rate(f"night {i}", ()) for i in range(100)} == {RATE_HZ}


def test_files_have_their_nights_rate_and_are_rendered_again_only_where_it_changes(tmp_path: Path) -> None:
    manifest, out = read_manifest([write_rows(tmp_path)]), tmp_path / "out"
    groups = {clip.filename: clip.group or "" for clip in manifest.clips}
    few = replace(manifest, clips=manifest.clips[::2])
    assert create(few, out).written == len(ROWS[::2])
    usual = [clip for clip in few.clips if draw_rate(groups[clip.filename], (192_000, RATE_HZ)) == RATE_HZ]
    again = create(few, out, rates_hz=(192_000, RATE_HZ), force=True)
    assert (again.kept, again.written) == (len(usual), len(few.clips) - len(usual)) and 0 < len(usual) < len(few.clips)
    for clip in few.clips:
        rate = soundfile.info(out / clip.filename).samplerate
        assert rate == draw_rate(groups[clip.filename], (192_000, RATE_HZ))
