"""What a report shows and plays of a clip: the window at its seconds and kHz, the tone ten times lower."""

import base64
import wave
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from msgspec import structs
from numpy.typing import NDArray
from PIL import Image

from batcache.config.settings import DataConfig
from batcache.errors import AudioError
from batcache.evaluation.report.gallery import WINDOW_S, draw_window, hang
from batcache.evaluation.report.slow import band_limit, slow_down
from batcache.manifest.manifest import read_manifest
from batcache.store.build.build import build
from batcache.store.reader import Store
from batcache.training.clips.bags import Bag, join
from tests.conftest import noise, tone
from tests.evaluation.predicted import predicted

RATE = 384_000
BURST_S = 0.02
AT_S = 1.23


def recording() -> NDArray[np.float64]:
    """A burst of 45 kHz at 1.23 s of 2 s, with hum of 2 kHz under it all."""
    samples = noise(2.0, RATE, 1e-4) + tone(2e3, 2.0, RATE)
    first, call = round(AT_S * RATE), tone(45e3, BURST_S, RATE)
    samples[first : first + len(call)] += call * np.hanning(len(call))
    return samples


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Bag, Path]:
    """The recording as it is, as a file time-expanded ten times, and one that is short."""
    folder = tmp_path_factory.mktemp("world")
    soundfile.write(folder / "bat.wav", recording(), RATE, subtype="PCM_16")
    soundfile.write(folder / "slow.wav", recording(), RATE // 10, subtype="PCM_16")
    soundfile.write(folder / "short.wav", recording()[: RATE // 20], RATE, subtype="PCM_16")
    (folder / "clips.csv").write_text("filename,Bat,time_expansion\nbat.wav,1,1\nslow.wav,1,10\nshort.wav,0,1\n")
    manifest = read_manifest([folder / "clips.csv"])
    build(manifest, folder / "features.zarr", DataConfig(), "cpu", workers=1)
    store = Store(folder / "features.zarr")
    return store, join(manifest, store).bags[0], folder


def bag_of(world: tuple[Store, Bag, Path], name: str) -> Bag:
    store, _, folder = world
    return next(bag for bag in join(read_manifest([folder / "clips.csv"]), store).bags if bag.clip.filename == name)


def samples_of(wav: bytes) -> tuple[NDArray[np.int16], int]:
    with wave.open(BytesIO(wav)) as file:
        assert file.getnchannels() == 1 and file.getsampwidth() == 2
        return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()


def pixels(png: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(base64.b64decode(png.partition(",")[2]))))  # places in the palette


def test_the_window_holds_the_loudest_moment_in_its_middle_at_its_khz(world: tuple[Store, Bag, Path]) -> None:
    store, bag, _ = world
    window = draw_window(store, bag, 1.0, 1.5)
    shades = pixels(window.png)
    row, column = np.unravel_index(np.argmax(shades), shades.shape)
    assert window.seconds == pytest.approx(WINDOW_S) and shades.shape == (store.features.n_mels, 200)
    assert window.start_s + column / 1000 == pytest.approx(AT_S + BURST_S / 2, abs=0.01)
    assert column == pytest.approx(100, abs=10)
    ticks = {khz: share for share, khz in window.khz}
    assert ticks[50] < (row + 0.5) / len(shades) < ticks[40], "shares from above"


def test_a_window_ends_where_the_clip_does(world: tuple[Store, Bag, Path]) -> None:
    store, _, _ = world
    short = bag_of(world, "short.wav")
    window = draw_window(store, short, 0.0, 0.5)
    assert (window.start_s, window.seconds) == (0.0, 0.05)
    part = structs.replace(bag_of(world, "bat.wav"), start=1200, stop=1300)
    window = draw_window(store, part, 1.2, 1.7)
    assert (window.start_s, window.seconds) == (pytest.approx(1.2), pytest.approx(0.1))


@pytest.mark.parametrize("name", ["bat.wav", "slow.wav"])
def test_a_tone_of_45_khz_is_heard_at_4500_hz_for_ten_times_as_long(name: str, world: tuple[Store, Bag, Path]) -> None:
    """Also of a file that is time-expanded already; the hum of 2 kHz is gone."""
    _, _, folder = world
    samples, rate = samples_of(slow_down(folder / name, bag_of(world, name).row, AT_S - 0.1, 0.2, 10_000))
    assert rate == 24_000 and len(samples) / rate == pytest.approx(2.0)
    spectrum = np.abs(np.fft.rfft(samples))
    hertz = np.fft.rfftfreq(len(samples), 1 / rate)
    assert hertz[np.argmax(spectrum)] == pytest.approx(4_500, abs=50)
    assert spectrum[hertz < 990].max() < 1e-2 * spectrum.max()
    loudest = np.argmax(np.abs(samples)) / rate
    assert loudest == pytest.approx(10 * (0.1 + BURST_S / 2), abs=0.05)
    assert np.abs(samples).max() == pytest.approx(0.9 * 32767, rel=0.01)


def test_a_recording_of_a_low_rate_keeps_its_rate() -> None:
    played, rate = band_limit(tone(30e3, 0.1, 192_000), 192_000, 10_000)
    assert rate == 192_000 and len(played) == 19_200
    middle = slice(2_000, -2_000)
    assert np.allclose(played[middle], tone(30e3, 0.1, 192_000)[middle], atol=1e-3)


def test_another_recording_of_the_same_name_is_not_played(world: tuple[Store, Bag, Path], tmp_path: Path) -> None:
    _, bag, folder = world
    soundfile.write(tmp_path / "bat.wav", recording()[::-1], RATE, subtype="PCM_16")
    with pytest.raises(AudioError, match="another recording"):
        slow_down(tmp_path / "bat.wav", bag.row, 0.0, 0.2, 10_000)
    with pytest.raises(AudioError, match="no such file"):
        slow_down(tmp_path / "none.wav", bag.row, 0.0, 0.2, 10_000)
    (tmp_path / "copy.wav").write_bytes((folder / "bat.wav").read_bytes())
    assert slow_down(tmp_path / "copy.wav", bag.row, 0.0, 0.2, 10_000), "a copy, of another time, is the same"


def test_an_exhibit_shows_the_strongest_evidence_and_all_of_it(world: tuple[Store, Bag, Path]) -> None:
    store, bag, folder = world
    evidence = np.array([[0.1], [0.2], [0.9], [0.3]])
    predictions = replace(predicted([evidence], [[1]]), filenames=np.array(["bat.wav"]), species=np.array(["Bat"]))
    (one,) = hang(store, [bag], predictions, folder, 0.5)
    assert (one.kind, one.species, one.label, one.present) == ("right", "Bat", 1, ("Bat",))
    assert one.spectrogram.start_s < AT_S < one.spectrogram.start_s + one.spectrogram.seconds
    assert np.allclose(one.bars, [(0, 0.25, 0.1), (0.25, 0.25, 0.2), (0.5, 0.25, 0.9), (0.75, 0.25, 0.3)])
    assert one.audio is not None and one.audio.startswith("data:audio/wav;base64,") and not one.silence


def test_long_evidence_keeps_its_peaks(world: tuple[Store, Bag, Path]) -> None:
    store, bag, folder = world
    evidence = np.zeros((4_000, 1))
    evidence[2, 0] = 0.8
    evidence[3_333, 0] = 0.7
    predictions = replace(predicted([evidence], [[1]]), filenames=np.array(["bat.wav"]), species=np.array(["Bat"]))
    (one,) = hang(store, [bag], predictions, folder, 0.5)
    begins, lengths, values = np.array(one.bars).T
    assert len(values) <= 150 and lengths.sum() == pytest.approx(1)
    assert begins[np.argmax(values)] == 0 and sorted(values)[-2:] == pytest.approx([0.7, 0.8])
