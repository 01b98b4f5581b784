"""Pictures are true: a tone lies at its tick, calls and evidence at their seconds, remarks are earned."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import soundfile
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from batcache.config.settings import DataConfig
from batcache.errors import RunError
from batcache.evaluation.pictures.draw import draw_page
from batcache.evaluation.pictures.panels import Call, Scores, panels_of_run, panels_of_store
from batcache.inference.predictions import Predictions
from batcache.manifest.manifest import read_manifest
from batcache.store.build.build import build
from batcache.store.reader import Store
from batcache.synth.repertoire import BY_NAME
from batcache.training.clips.bags import Bag, join
from tests.conftest import noise, tone
from tests.evaluation.pictures import panel
from tests.small_world import SmallWorld

RATE = 384_000
TICKS_KHZ = (15, 20, 30, 40, 50, 60, 80, 100)
SETTINGS = {
    "default": DataConfig(),
    "low and coarse": DataConfig(fmin=4_000, fmax=60_000, n_mels=48),
    "high and fine": DataConfig(fmin=14_000, fmax=200_000, n_mels=160, target_sample_rate=480_000, n_fft=2048),
}


def burst(khz: float, at_s: float, seconds: float) -> NDArray[np.float64]:
    """A tone of 20 ms at a time, faded in and out, in faint noise: short, or PCEN would forget it."""
    samples = noise(seconds, RATE, 1e-4)
    first, call = round(at_s * RATE), tone(khz * 1e3, 0.02, RATE)
    samples[first : first + len(call)] += call * np.hanning(len(call))
    return samples


def build_store(
    folder: Path, recordings: dict[str, NDArray[np.float64]], config: DataConfig
) -> tuple[Store, list[Bag]]:
    for name, samples in recordings.items():
        soundfile.write(folder / name, samples, RATE, subtype="PCM_16")
    (folder / "clips.csv").write_text("filename,Bat\n" + "".join(f"{name},1\n" for name in recordings))
    manifest = read_manifest([folder / "clips.csv"])
    build(manifest, folder / "features.zarr", config, "cpu", workers=1)
    store = Store(folder / "features.zarr")
    return store, list(join(manifest, store).bags)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Bag]]:
    """A 45-kHz burst at 0.3 s, a tenth of a second, and silence."""
    recordings = {"tone.wav": burst(45, 0.3, 0.8), "short.wav": noise(0.1, RATE), "silence.wav": np.zeros(RATE // 2)}
    return build_store(tmp_path_factory.mktemp("world"), recordings, DataConfig())


def ticks_of(axes: Axes) -> dict[str, float]:
    return {label.get_text(): float(y) for label, y in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)}


def test_a_tone_of_45_khz_lies_between_the_ticks_of_40_and_50_in_the_png(
    world: tuple[Store, list[Bag]], tmp_path: Path, drawn: list[Figure]
) -> None:
    store, bags = world
    draw_page(tmp_path / "tone.png", panels_of_store(store, bags, ["Bat"], {}, ["tone.wav"]), store.features)
    pixels = matplotlib.image.imread(tmp_path / "tone.png")[..., :3]
    (axes,) = drawn[0].axes
    box = axes.get_window_extent()
    top, bottom = len(pixels) - round(box.y1), len(pixels) - round(box.y0)
    inside = pixels[top + 2 : bottom - 2, round(box.x0) + 2 : round(box.x1) - 2].sum(2)
    row, column = np.unravel_index(np.argmax(inside), inside.shape)
    from_bottom = len(pixels) - (top + 2 + row)
    khz = {name: axes.transData.transform((0, y))[1] for name, y in ticks_of(axes).items()}
    assert khz["40"] < from_bottom < khz["50"]
    second, _ = axes.transData.inverted().transform((box.x0 + 2 + column, from_bottom))
    assert second == pytest.approx(0.31, abs=0.015), "the middle of 0.3 to 0.32 s, the seconds axis"


@pytest.mark.parametrize("name", SETTINGS)
def test_a_tone_lights_the_row_of_its_tick_whatever_the_bands(name: str, tmp_path: Path, drawn: list[Figure]) -> None:
    """Within one mel band: a tick may stand between two centres."""
    config = SETTINGS[name]
    ticks = [khz for khz in TICKS_KHZ if config.fmin < 900 * khz and 1_050 * khz < config.fmax]
    samples = sum((burst(khz, 0.1 + 0.3 * i, 0.3 * len(ticks) + 0.2) for i, khz in enumerate(ticks)))
    assert isinstance(samples, np.ndarray)
    store, bags = build_store(tmp_path, {"tones.wav": samples}, config)
    draw_page(tmp_path / "tones.png", panels_of_store(store, bags, ["Bat"], {}), store.features)
    (axes,) = drawn[0].axes
    (image,) = axes.get_images()
    left, right, low, _ = image.get_extent()
    values, found = np.asarray(image.get_array()), ticks_of(axes)
    per_second = values.shape[1] / (right - left)
    for i, khz in enumerate(ticks):
        first = round((0.1 + 0.3 * i) * per_second)
        brightest = np.argmax(values[:, first : first + round(0.02 * per_second)].max(1))
        assert brightest + low + 0.5 == pytest.approx(found[str(khz)], abs=1), khz


def test_calls_are_marked_above_their_highest_frequency_in_the_colour_of_their_species(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    one, other = Call("Myotis myotis", 0.2, 0.25, 40.0, 60.0), Call("Low", 0.5, 0.51, 20.0, 28.0)
    draw_page(tmp_path / "a.png", [panel(calls=(one, other, one))], DataConfig().features)
    (axes,) = drawn[0].axes
    ticks, marks = ticks_of(axes), {str(line.get_label()): line for line in axes.get_lines()}
    assert list(marks) == ["M. myotis", "Low"]
    assert np.allclose(marks["M. myotis"].get_xdata(), [0.225, 0.225])
    assert np.allclose(marks["Low"].get_xdata(), [0.505])
    assert ticks["60"] < marks["M. myotis"].get_ydata()[0] < ticks["80"]
    assert ticks["20"] < marks["Low"].get_ydata()[0] < ticks["40"]
    legend = axes.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == list(marks)
    assert len({line.get_color() for line in marks.values()}) == 2


def test_twenty_species_of_a_page_are_told_apart_and_each_has_one_mark_in_every_clip(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    calls = [Call(name, 0.1, 0.2, 20.0, 30.0) for name in BY_NAME]
    clips = [panel(calls=tuple(calls[:12])), panel(calls=tuple(calls[::-1]))]
    draw_page(tmp_path / "a.png", clips, DataConfig().features)
    one, other = (
        {str(line.get_label()): (line.get_color(), line.get_marker()) for line in axes.get_lines()}
        for axes in drawn[0].axes
    )
    assert len(set(other.values())) == 20 and one.items() <= other.items()
    for (colour, shape), (next_colour, next_shape) in pairwise(one.values()):
        assert colour != next_colour and shape != next_shape
    for axes in drawn[0].axes:
        legend, frame = axes.get_legend(), axes.get_window_extent()
        assert legend is not None
        box = legend.get_window_extent()
        assert frame.x0 < box.x0 and box.x1 < frame.x1


def test_a_call_of_one_frame_stays_in_sight_in_a_long_clip(tmp_path: Path, drawn: list[Figure]) -> None:
    frames = np.zeros((30_000, 128), np.float16)
    frames[17_777, 64] = 3.0
    draw_page(tmp_path / "a.png", [panel(frames=frames)], DataConfig().features)
    (image,) = drawn[0].axes[0].get_images()
    values = np.asarray(image.get_array())
    assert values.max() == 3.0
    row, column = np.unravel_index(np.argmax(values), values.shape)
    assert row == 64 and column / values.shape[1] == pytest.approx(17_777 / 30_000, abs=2e-3)


def test_evidence_has_a_row_for_each_species_that_is_there_and_then_the_highest(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    species = ("Myotis myotis", "Myotis brandtii", "Low", "High", "Sweep", "Plecotus auritus")
    scores = np.array([0.1, 0.9, 0.8, 0.7, 0.2, 0.05], np.float32)
    evidence = np.tile(scores, (3, 1))
    there = ("Myotis myotis", "Plecotus auritus", "Sweep")
    told = Scores(species, scores, evidence, np.array([0.0, 0.5, 1.0, 1.2]))
    draw_page(tmp_path / "a.png", [panel(present=there, scores=told)], DataConfig().features)
    spectrogram, strip = drawn[0].axes
    assert list(ticks_of(strip)) == ["P. auritus 0.05", "M. myotis 0.10", "Sweep 0.20", "M. brandtii 0.90"]
    bold = [label.get_fontweight() == "bold" for label in strip.get_yticklabels()]
    assert bold == [True, True, True, False]
    (mesh,) = strip.collections
    shown = np.asarray(mesh.get_array()).reshape(4, 3)
    assert np.allclose(shown, np.array([0.05, 0.1, 0.2, 0.9])[:, None])
    assert strip.get_xlim() == spectrogram.get_xlim()


def test_evidence_goes_from_the_first_frame_of_a_clip_to_its_last(
    small: SmallWorld, judged: tuple[list[Bag], Predictions], tmp_path: Path, drawn: list[Figure]
) -> None:
    """Also where the last instance is shorter than the others, as it is in most of these clips."""
    panels = panels_of_run(small.store, *judged, {})
    draw_page(tmp_path / "a.png", panels, small.store.features)
    spectrograms, strips = drawn[0].axes[::2], drawn[0].axes[1::2]
    assert len(strips) == len(panels) == 6 and any(len(panel.frames) % 250 for panel in panels)
    for spectrogram, strip in zip(spectrograms, strips, strict=True):
        (mesh,) = strip.collections
        assert isinstance(mesh, QuadMesh)
        edges = np.asarray(mesh.get_coordinates())[..., 0]
        assert (edges.min(), edges.max()) == pytest.approx(spectrogram.get_xlim(), abs=1e-9)


def test_the_title_says_remark_name_and_species_as_they_are(tmp_path: Path, drawn: list[Figure]) -> None:
    clip = panel(name="a$_$^^.wav", remark="bad", present=("M. $x$", "B"))
    draw_page(tmp_path / "a.png", [clip, panel()], DataConfig().features)
    titles = [axes.get_title(loc="left") for axes in drawn[0].axes]
    assert titles == ["bad: a$_$^^.wav\nM. $x$, B", "a.wav\nno species marked"]


@pytest.mark.parametrize("name", ["short.wav", "silence.wav"])
def test_a_short_and_a_silent_clip_are_drawn(world: tuple[Store, list[Bag]], tmp_path: Path, name: str) -> None:
    store, bags = world
    (plain,) = panels_of_store(store, bags, ["Bat"], {}, [name])
    told = Scores(("Bat",), np.zeros(1, np.float32), np.zeros((1, 1), np.float32), np.array([0.0, 0.1]))
    draw_page(tmp_path / "a.png", [plain, replace(plain, scores=told)], store.features)
    pixels = matplotlib.image.imread(tmp_path / "a.png")
    assert pixels.shape[:2] == (270, 1280)


def test_a_silent_clip_is_dark(world: tuple[Store, list[Bag]], drawn: list[Figure], tmp_path: Path) -> None:
    store, bags = world
    draw_page(tmp_path / "a.png", panels_of_store(store, bags, ["Bat"], {}, ["silence.wav"]), store.features)
    (image,) = drawn[0].axes[0].get_images()
    assert max(image.to_rgba(np.zeros(1))[0][:3]) < 0.02 < max(to_rgb("white"))
    assert np.asarray(image.get_array()).max() < 0.1 * image.get_clim()[1]


def test_the_same_panels_give_the_same_bytes(
    small: SmallWorld, judged: tuple[list[Bag], Predictions], tmp_path: Path
) -> None:
    panels = panels_of_run(small.store, *judged, {})
    for name in ("a.png", "b.png"):
        draw_page(tmp_path / name, panels, small.store.features)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert matplotlib.image.imread(tmp_path / "a.png").shape[:2] == (810, 1280)


def test_nothing_to_draw_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"a\.png: no clip to draw"):
        draw_page(tmp_path / "a.png", [], DataConfig().features)
    assert not list(tmp_path.iterdir())


def test_a_louder_recording_of_log_mel_frames_is_drawn_alike(tmp_path: Path, drawn: list[Figure]) -> None:
    """A level of 20 dB more is 1 more in each of its values; silence beside it stays black."""
    frames = np.random.default_rng(0).integers(8, 24, (800, 128)) / 8
    frames[300:320, 60] = 5
    for name, louder in (("usual.png", 0), ("louder.png", 1)):
        heard = panel(frames=np.where(np.arange(128) < 100, frames + louder, 0).astype(np.float16))
        draw_page(tmp_path / name, [heard], DataConfig(compression="log"))
    beside = drawn[0].axes[0].get_window_extent().x1 + 3  # the colour bar's numbers are those of the level
    usual, louder_one = (
        matplotlib.image.imread(tmp_path / name)[:, : round(beside)] for name in ("usual.png", "louder.png")
    )
    assert np.abs(usual - louder_one).max() < 0.02, "a colour of 256"
