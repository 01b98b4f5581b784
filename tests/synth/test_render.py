"""A clip depends on its row alone, and its events tell the truth."""

import hashlib

import numpy as np
import pytest

from batcache.synth.repertoire import SPECIES
from batcache.synth.write import guano, wav_bytes
from tests.synth.rendered import render_named


def digest(filename: str, species: list[str], group: str = "lake-01") -> str:
    return hashlib.sha256(render_named(filename, species, group).samples.tobytes()).hexdigest()


def test_the_same_row_renders_the_same_bytes_in_any_order() -> None:
    rows = [("a.wav", ["Pipistrellus pipistrellus", "Nyctalus noctula"]), ("b.wav", []), ("c.wav", ["Myotis myotis"])]
    forward = {name: digest(name, species) for name, species in rows}
    backward = {name: digest(name, species[::-1]) for name, species in reversed(rows)}
    assert forward == backward
    assert len(set(forward.values())) == 3


def test_a_species_sounds_the_same_with_or_without_company() -> None:
    """The second species is added, the first stays: events of the first are equal."""
    alone = render_named("a.wav", ["Eptesicus serotinus"], "lake-01").events
    both = render_named("a.wav", ["Eptesicus serotinus", "Plecotus auritus"], "lake-01").events
    assert alone == tuple(event for event in both if event.species == "Eptesicus serotinus")


@pytest.mark.parametrize("name", [species.name for species in SPECIES])
def test_every_named_species_is_audible(name: str) -> None:
    events = render_named("x.wav", [name], f"night of {name}").events
    assert sum(event.snr_db > 6.0 for event in events) >= 2
    assert all(event.low_khz <= event.peak_khz <= event.high_khz for event in events)


def test_a_clip_without_species_has_no_events() -> None:
    clip = render_named("empty.wav", [], "lake-01")
    assert clip.events == ()
    assert clip.samples.shape == (1_920_000,)
    assert np.std(clip.samples) > 1.0


@pytest.mark.parametrize("name", ["Pipistrellus pygmaeus", "Rhinolophus hipposideros", "Barbastella barbastellus"])
def test_energy_lies_where_the_event_says(name: str) -> None:
    """The loudest call: its density between low and high exceeds that beside, and peaks at the peak."""
    clip = render_named("truth.wav", [name], "truth")
    event = max(clip.events, key=lambda event: event.snr_db)
    first, last = (int(second * clip.rate_hz) for second in (event.start_s, event.end_s))
    sound = clip.samples[first:last].astype(float)
    sound = sound * np.hanning(len(sound))
    f = np.fft.rfftfreq(len(sound), 1 / clip.rate_hz) / 1e3
    power = np.square(np.abs(np.fft.rfft(sound)))
    inside = (f > event.low_khz - 1.0) & (f < event.high_khz + 1.0)
    outside = ~inside & (f > 20.0)
    assert power[inside].mean() > 30.0 * power[outside].mean()
    assert f[np.argmax(power * (f > 15.0))] == pytest.approx(
        event.peak_khz, abs=max(2.0, 0.3 * (event.high_khz - event.low_khz))
    )


def test_the_wav_is_read_back_with_its_guano_chunk() -> None:
    soundfile = pytest.importorskip("soundfile")
    import io

    clip = render_named("a.wav", ["Pipistrellus pipistrellus"], "lake-01")
    content = wav_bytes(clip, "a.wav")
    samples, rate = soundfile.read(io.BytesIO(content), dtype="int16")
    assert rate == 384_000
    assert np.array_equal(samples, clip.samples)
    assert guano(clip, "a.wav").startswith("GUANO|Version: 1.0\n")
    assert content.index(b"guan") > content.index(b"data")
