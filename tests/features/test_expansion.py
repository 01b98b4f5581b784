"""The laws of ``batcache.features.expansion``: a factor is right or doubtful, never wrong in silence."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from batcache.features.audio import AudioHeader, read_header
from batcache.features.expansion import FACTORS, Expansion, decide, find_expansion
from batcache.features.metadata import Metadata, read_metadata
from batcache.features.pulses import MOST_SAMPLES, Pulses, find_pulses
from tests.conftest import noise, tone

WriteWav = Callable[..., Path]
NOWHERE = Path("not to be opened.wav")


def header_of(rate: int, seconds: float = 1.0) -> AudioHeader:
    return AudioHeader(rate, 1, round(rate * seconds), "PCM_16", b"", 44, 2 * round(rate * seconds), False)


def says(rate: int, told: float | None = None, seconds: float = 1.0, **metadata: float) -> Expansion:
    """What is found without opening the file."""
    return find_expansion(NOWHERE, header_of(rate, seconds), Metadata(**metadata), told)


def calls(
    rate: int,
    hz: float = 45_000,
    sweep_hz: float = 8_000,
    call_s: float = 0.006,
    every_s: float = 0.09,
    count: int = 12,
) -> np.ndarray:
    """Falling calls in noise, as a bat makes them, sampled at a true rate; float32."""
    samples = noise(count * every_s, rate, 0.002)
    time_s = np.arange(round(call_s * rate)) / rate
    phase = 2 * np.pi * ((hz + sweep_hz / 2) * time_s - sweep_hz / call_s / 2 * time_s**2)
    call = 0.3 * np.hanning(len(time_s)) * np.sin(phase)
    for i in range(count):
        first = round((i + 0.3) * every_s * rate)
        samples[first : first + len(call)] += call[: max(0, len(samples) - first)]
    return samples.astype(np.float32)


def heard(samples: np.ndarray, header_rate: int) -> Expansion:
    return decide(find_pulses([samples], header_rate), header_rate)


def is_wrong(found: Expansion, truth: float) -> bool:
    return not found.warning and found.factor != truth


# --- who is asked, in which order ---


def test_the_manifest_is_believed_before_all_else() -> None:
    assert says(38_400, told=8.0, guano_expansion=10.0, wamd_expansion=20.0) == Expansion(8.0, "manifest")
    assert says(38_400, told=1.0, guano_expansion=10.0) == Expansion(1.0, "manifest")


def test_guano_then_wamd_are_believed() -> None:
    assert says(38_400, guano_expansion=10.0) == Expansion(10.0, "guano TE")
    assert says(38_400, guano_expansion=10.0, guano_rate=384_000.0) == Expansion(10.0, "guano TE")
    assert says(38_400, guano_rate=384_000.0) == Expansion(10.0, "guano Samplerate")
    assert says(38_400, guano_rate=384_000.0, wamd_expansion=10.0) == Expansion(10.0, "guano Samplerate")
    assert says(38_400, wamd_expansion=10.0) == Expansion(10.0, "wamd")
    assert says(384_000, guano_expansion=1.0, guano_rate=384_000.0) == Expansion(1.0, "guano TE")
    assert says(96_000, guano_rate=96_000.0) == Expansion(1.0, "guano Samplerate")
    assert says(44_100, wamd_expansion=12.5) == Expansion(12.5, "wamd")


def test_a_samplerate_that_repeats_the_header_beside_a_te_is_no_contradiction_where_length_confirms_the_te() -> None:
    found = says(38_400, seconds=50.0, guano_expansion=10.0, guano_rate=38_400.0, guano_length_s=5.0)
    assert found == Expansion(10.0, "guano TE")
    found = says(38_400, guano_expansion=10.0, guano_rate=38_400.0)
    assert found == Expansion(10.0, "guano TE", "guano Samplerate says 1")


def test_a_length_in_true_seconds_confirms_a_samplerate() -> None:
    found = says(38_400, seconds=50.0, guano_rate=384_000.0, guano_length_s=5.0)
    assert found == Expansion(10.0, "guano Samplerate")


@pytest.mark.parametrize(
    "rate, metadata, reason",
    [
        (38_400, {"guano_expansion": 10.0, "wamd_expansion": 8.0}, "wamd says 8"),
        (38_400, {"guano_expansion": 1.0, "guano_rate": 384_000.0}, "guano Samplerate says 10"),
        (38_400, {"guano_rate": 384_000.0, "wamd_expansion": 1.0}, "wamd says 1"),
        (256_000, {"guano_expansion": 1.0, "guano_rate": 384_000.0}, "1.5 times the header's"),
        (256_000, {"guano_rate": 384_000.0}, "1.5 times the header's"),  # resampled, its metadata not
        (48_000, {"guano_rate": 384_000.0, "guano_length_s": 1.0}, "guano Length says 1"),  # decimated
        (384_000, {"guano_expansion": 10.0}, "makes 3,840,000 Hz"),  # restored to its true rate, its TE not
    ],
)
def test_metadata_that_contradict_each_other_are_doubted(rate, metadata, reason) -> None:
    assert reason in says(rate, **metadata).warning


def test_an_impossible_factor_is_not_taken() -> None:
    assert says(384_000, guano_expansion=10.0).factor == 1


@pytest.mark.parametrize("rate", [192_000, 250_000, 384_000, 500_000, 960_000])
def test_full_spectrum_files_are_not_opened(rate) -> None:
    assert says(rate) == Expansion(1.0, "full-spectrum rate")


@pytest.mark.parametrize("rate", [12_000, 38_400, 44_100, 96_000, 144_000])
def test_below_full_spectrum_a_rate_alone_decides_nothing(write_wav: WriteWav, rate) -> None:
    for samples in (noise(0.5, rate), np.zeros(rate // 2), np.zeros(3), tone(rate / 5, 0.5, rate)):
        path = write_wav("a.wav", samples, rate)
        found = find_expansion(path, read_header(path), Metadata(), None)
        assert (found.factor, found.source) == (1.0, "assumed") and found.warning


# --- what the sound proves ---


def test_a_call_has_its_frequency_and_duration() -> None:
    pulses = find_pulses([calls(384_000)], 384_000)
    assert len(pulses.hz) == 12 and pulses.falls.all()
    np.testing.assert_allclose(pulses.hz, 45_000, atol=3_000)  # two bins of 1.5 kHz
    np.testing.assert_allclose(pulses.duration_s, 0.006, atol=0.002)  # its ends fade; a window is 0.7 ms
    np.testing.assert_allclose(np.diff(pulses.start_s), 0.09, atol=2e-4)


def test_clicks_and_hum_are_no_pulses() -> None:
    samples = noise(1.0, 384_000, 0.002)
    samples[10_000::20_000] += 0.9
    assert len(find_pulses([(samples + tone(20_000, 1.0, 384_000)).astype(np.float32)], 384_000).hz) == 0


def test_no_more_is_read_than_a_million_samples() -> None:
    def endless() -> Iterator[np.ndarray]:
        for read in range(10**6):
            assert read * 70_000 < MOST_SAMPLES + 70_000
            yield np.zeros(70_000, np.int16)

    find_pulses(endless(), 96_000)


def test_calls_of_true_time_prove_that_nothing_is_expanded() -> None:
    assert heard(calls(96_000, hz=35_000), 96_000) == Expansion(1.0, "band content")
    assert heard(calls(144_000), 144_000) == Expansion(1.0, "band content")


def test_slowed_calls_at_a_recorders_tenth_prove_ten() -> None:
    assert heard(calls(384_000), 38_400) == Expansion(10.0, "band content")
    assert heard(calls(500_000), 62_500) == Expansion(8.0, "band content")


def test_slowed_calls_at_a_common_rate_are_doubtful() -> None:
    found = heard(calls(441_000), 44_100)
    assert found.factor == 10 and "common rate" in found.warning


def test_slowed_calls_at_a_rate_of_two_recorders_are_doubtful() -> None:
    found = heard(calls(312_500), 31_250)
    assert found.source == "band content" and "8 or 10 or 16" in found.warning


def test_what_rises_like_no_bat_is_doubtful() -> None:
    assert "rise" in heard(calls(384_000, sweep_hz=-8_000), 38_400).warning


def test_three_calls_are_not_enough() -> None:
    for samples, rate in ((calls(384_000, count=3), 38_400), (calls(96_000, hz=35_000, count=3), 96_000)):
        found = heard(samples, rate)
        assert found.factor == 1 and found.warning


@pytest.mark.parametrize("rate", [22_050, 38_400, 44_100, 48_000, 96_000])
def test_what_people_and_birds_say_is_never_ten_undoubted(rate) -> None:
    """Syllables of 0.15 s, four a second, below 3 kHz; and trills of 50 ms, ten a second, at 4 kHz."""
    speech = calls(rate, hz=700, sweep_hz=100, call_s=0.15, every_s=0.25, count=20)
    trill = calls(rate, hz=4_000, sweep_hz=1_000, call_s=0.05, every_s=0.1, count=40)
    assert is_wrong(heard(speech, rate), 1) is False and is_wrong(heard(trill, rate), 1) is False


def pulses_of(start_s: list[float], duration_s: list[float], hz: list[float]) -> Pulses:
    count = min(map(len, (start_s, duration_s, hz)))
    start, duration, high = (np.array(values[:count]) for values in (sorted(start_s), duration_s, hz))
    return Pulses(start, duration, high, np.ones(count, np.bool_))


floats = st.lists(st.floats(0.0, 1.0), max_size=30)


@given(start=floats, duration=floats, hz=floats, rate=st.integers(8_000, 191_999))
@settings(deadline=None)
def test_any_pulses_at_any_rate_give_a_possible_factor(start, duration, hz, rate) -> None:
    found = decide(pulses_of([60 * s for s in start], duration, [rate / 2 * f for f in hz]), rate)
    assert found.factor in (1, *FACTORS) and rate * found.factor <= 2_000_000
    assert found.source == "band content" or (found.factor == 1 and found.warning)


@given(factor=st.sampled_from(FACTORS), rate=st.integers(8_000, 191_999), hz=st.floats(15e3, 120e3))
@settings(deadline=None)
def test_slowed_bat_calls_are_never_taken_for_true_ones(factor, rate, hz) -> None:
    steady = pulses_of([0.1 * factor * i for i in range(20)], [0.005 * factor] * 20, [hz / factor] * 20)
    found = decide(steady, rate)
    assert found.warning or found.factor != 1


# --- what real recordings prove ---


def samples_of(path: Path) -> np.ndarray:
    samples: np.ndarray = soundfile.read(path, dtype="float32", always_2d=True)[0][:, 0]
    return samples


def test_without_the_manifest_no_real_recording_is_wrong(real, recordings) -> None:
    outcome = {"right": 0, "doubtful": 0}
    for row in recordings:
        path = real / row["filename"]
        header = read_header(path)
        found = find_expansion(path, header, read_metadata(path, header), None)
        assert not is_wrong(found, float(row["time_expansion"])), f"{path.name}: {found}"
        outcome["doubtful" if found.warning else "right"] += 1
    assert outcome == {"right": 78, "doubtful": 3}


def test_without_metadata_no_real_recording_is_wrong(real, recordings) -> None:
    """Most of the 30 slowed files still come out; so do those of true rate."""
    right = 0
    for row in recordings:
        path = real / row["filename"]
        found = find_expansion(path, read_header(path), Metadata(), None)
        truth = float(row["time_expansion"])
        assert not is_wrong(found, truth), f"{path.name}: {found}"
        right += truth != 1 and found.factor == truth
    assert right >= 15


@pytest.mark.slow
@pytest.mark.parametrize("rate", [30_000, 38_400, 44_100, 48_000, 62_500, 96_000, 144_000])
def test_a_real_recording_decimated_to_a_lower_true_rate_is_never_found_expanded(real, recordings, rate) -> None:
    for row in recordings:
        true_rate = int(row["true_sample_rate"])
        if true_rate > rate:
            found = heard(soxr.resample(samples_of(real / row["filename"]), true_rate, rate), rate)
            assert not is_wrong(found, 1), f"{row['filename']}: {found}"
            assert found.factor == 1 or rate < 96_000, f"{row['filename']}: {found}"


@pytest.mark.slow
@pytest.mark.parametrize("factor", FACTORS)
def test_a_real_recording_relabelled_as_slowed_is_right_or_doubtful(real, recordings, factor) -> None:
    outcome = []
    for row in recordings:
        rate = round(int(row["true_sample_rate"]) / factor)
        found = heard(samples_of(real / row["filename"]), rate)
        assert not is_wrong(found, factor), f"{row['filename']}: {found}"
        outcome.append(found.factor == factor)
    assert sum(outcome) >= 25, "and a good part are found"


@pytest.mark.slow
@pytest.mark.parametrize("factor", FACTORS)
def test_a_real_recording_relabelled_with_its_metadata_left_in_is_right_or_doubtful(
    real, recordings, factor, tmp_path
) -> None:
    for row in recordings:
        content = bytearray((real / row["filename"]).read_bytes())
        header = read_header(real / row["filename"])
        place = content.index(header.format) + 4
        rate = round(header.rate * float(row["time_expansion"]) / factor)
        block = int.from_bytes(content[place + 8 : place + 10], "little")
        content[place : place + 8] = rate.to_bytes(4, "little") + (rate * block).to_bytes(4, "little")
        path = tmp_path / "relabelled.wav"
        path.write_bytes(content)
        metadata = replace(read_metadata(path, header), wamd_expansion=None)  # which said ten, of another header
        found = find_expansion(path, read_header(path), metadata, None)
        assert not is_wrong(found, factor), f"{row['filename']}: {found}"
