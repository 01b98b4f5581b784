"""What is drawn and heard is the recording, at its true rate, whatever its file says."""

import io
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from PIL import Image

from batcache.config.features import FeatureConfig
from batcache.errors import AudioError, ReviewError
from batcache.evaluation.report.slow import slow_down
from batcache.features.bands import band_edges_hz
from batcache.inference.recordings.journal import Scored
from batcache.reviewing.picture import COLUMNS, draw_png
from batcache.reviewing.recordings import DRAWN, CachedRecordings, JudgedFiles, Span
from batcache.reviewing.strongest import find_strongest
from tests.reviewing.made import RATE, describe, write_calls
from tests.small_world import SmallWorld


def open_files(folder: Path, expansion: int = 1) -> JudgedFiles:
    """The files of a folder, judged with this factor of time expansion."""
    lines = [json.dumps({"format": "batcache-scored", "format_version": 1, "model": "m", "root": str(folder)}).encode()]
    rows = [describe(path, path.name, expansion) for path in sorted(folder.glob("*.wav"))]
    lines += [msgspec.json.encode(Scored(row, (0.0,), b"")) for row in rows]
    (folder / "scored.jsonl").write_bytes(b"\n".join(lines) + b'\n{"row": {"path"')  # and half a line
    return JudgedFiles(folder, folder)


def loudest_hz(samples: np.ndarray, rate: int) -> float:
    return float(np.fft.rfftfreq(len(samples), 1 / rate)[np.abs(np.fft.rfft(samples)).argmax()])


@pytest.mark.parametrize("expansion", [1, 10])
def test_a_call_is_drawn_and_heard_at_its_true_frequency_and_time(tmp_path: Path, expansion: int) -> None:
    write_calls(tmp_path / "a.wav", 45.0, rate=384_000, expansion=expansion)
    files = open_files(tmp_path, expansion)
    span = files.read_span("a.wav", 0.0, 5.0)
    assert span.seconds == pytest.approx(1.0)
    pulses = find_strongest(span)
    assert [round(pulse.at_s, 1) for pulse in pulses] == [0.6, 0.7, 0.8, 0.9]
    assert all(abs(pulse.peak_khz - 45) < 2 and 2 <= pulse.duration_ms <= 12 for pulse in pulses)
    path, row = files.find_file("a.wav")
    for slower in (5, 10, 20):
        heard, rate = soundfile.read(io.BytesIO(slow_down(path, row, 0.55, 0.3, DRAWN.fmin, slower)))
        assert len(heard) / rate == pytest.approx(0.3 * slower, rel=1e-3)
        assert loudest_hz(heard, rate) == pytest.approx(45_000 / slower, rel=0.01)
    files.close()


def test_a_pulse_is_as_long_as_the_call_though_pcen_grows_used_to_it(tmp_path: Path) -> None:
    """As in the table of predictions: horseshoe bats hold a tone for longer than the level of PCEN stays."""
    samples = 0.001 * np.random.default_rng(0).standard_normal(RATE)
    tone = 0.3 * np.hanning(400)[:200]
    length = round(0.05 * RATE)
    held = np.concatenate([tone, np.full(length - 400, 0.3), tone[::-1]])
    for at in (0.6, 0.8):
        samples[round(at * RATE) :][:length] += held * np.sin(2 * np.pi * 82_000 * np.arange(length) / RATE)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="PCM_16")
    files = open_files(tmp_path)
    pulses = find_strongest(files.read_span("a.wav", 0.0, 1.0))
    assert [pulse.duration_ms for pulse in pulses] == pytest.approx([50, 50], abs=3)
    assert [pulse.peak_khz for pulse in pulses] == pytest.approx([82, 82], rel=0.02)
    files.close()


def test_a_part_of_a_recording_is_drawn_as_in_the_whole_of_it(tmp_path: Path) -> None:
    """PCEN begins anew 0.5 s before, five of its time constants: what it remembers of more is exp(-5), 0.7 %."""
    write_calls(tmp_path / "a.wav", seconds=3.0)
    files = open_files(tmp_path)
    whole, part = files.read_span("a.wav", 0.0, 3.0), files.read_span("a.wav", 1.5, 1.0)
    assert part.frames.shape == (1000, DRAWN.n_mels)
    apart = np.abs(whole.frames[1500:2500] - part.frames)
    assert apart.mean() < 0.02 * whole.frames.max() and np.quantile(apart, 0.99) < 0.1 * whole.frames.max()
    files.close()


def test_a_file_that_was_renamed_is_known_by_its_content_and_another_is_refused(tmp_path: Path) -> None:
    write_calls(tmp_path / "a.wav")
    files = open_files(tmp_path)
    (tmp_path / "a.wav").rename(tmp_path / "b.wav")
    assert files.find_file("b.wav")[1].path == "a.wav"
    write_calls(tmp_path / "a.wav", 60.0)
    for name, said in (("a.wav", "another recording than the one that was judged"), ("c.wav", "no such file")):
        with pytest.raises(AudioError, match=said):
            files.find_file(name)
    files.close()


def test_frames_come_from_the_cache_where_the_recordings_are_gone(small: SmallWorld) -> None:
    cached = CachedRecordings(small.store, None)
    row = small.store.find("night0/0.wav")
    assert row is not None
    whole = cached.read_span("night0/0.wav", 0.0, 10.0)
    assert np.array_equal(whole.frames, small.store.read_frames(row).astype(np.float32))
    part = whole.cut(0.1, 0.2)
    assert part.start_s == pytest.approx(0.1) and len(part.frames) == 50
    with pytest.raises(ReviewError, match="the cache does not tell where its recordings lie"):
        cached.find_file("night0/0.wav")
    with pytest.raises(ReviewError, match=r"gone\.wav: not in"):
        cached.read_span("gone.wav", 0.0, 1.0)


def test_a_call_of_three_frames_stays_in_sight_in_a_picture_of_ten_seconds() -> None:
    frames = np.zeros((10_000, 128), np.float32)
    frames[4321:4324, 60] = 1.0
    picture = np.asarray(Image.open(io.BytesIO(draw_png(Span(frames, 0.0, DRAWN), 0.0, 1.0))))
    assert picture.shape[0] == 128 and picture.shape[1] <= COLUMNS
    line, column = np.unravel_index(picture.argmax(), picture.shape)
    assert line == 128 - 1 - 60 and picture.max() == 255
    assert column == pytest.approx(4322 / 10_000 * picture.shape[1], abs=1)


def test_the_strongest_pulses_are_found_and_nothing_in_what_lasts() -> None:
    frames = np.full((1000, 128), 0.05, np.float32)
    for at, band, height in ((200, 40, 3.0), (500, 90, 5.0), (506, 90, 1.0)):
        frames[at : at + 4, band - 1 : band + 2] += height / 2
        frames[at : at + 4, band] += height / 2
    frames[:, 10] = 2.0
    pulses = find_strongest(Span(frames, 1.0, FeatureConfig()))
    centres = band_edges_hz(FeatureConfig())[:, 1] / 1000
    assert [pulse.peak_khz for pulse in pulses] == pytest.approx(centres[[40, 90]].tolist())
    assert [pulse.at_s for pulse in pulses] == pytest.approx([1.2015, 1.5015], abs=0.002)
    assert find_strongest(Span(np.full((500, 128), 0.3, np.float32), 0.0, FeatureConfig())) == ()
