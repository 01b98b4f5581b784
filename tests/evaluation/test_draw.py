"""Pictures are true: a tone lies at its tick, calls and evidence at their seconds, remarks are earned."""

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import soundfile
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from batcache.config.settings import DataConfig
from batcache.errors import ManifestError, RunError
from batcache.evaluation.draw import draw_page
from batcache.evaluation.evaluate import EvalReport, choose_clips, evaluate
from batcache.evaluation.panels import (
    Call,
    Panel,
    Scores,
    choose_telling,
    panels_of_run,
    panels_of_store,
    read_calls,
)
from batcache.inference.predictions import Predictions
from batcache.manifest.manifest import read_manifest
from batcache.store.build.build import build
from batcache.store.reader import Store
from batcache.synth.ledger import EVENT_COLUMNS
from batcache.synth.repertoire import BY_NAME
from batcache.training.bags import Bag, join
from batcache.training.runs import BEST
from tests.conftest import noise, tone
from tests.small_world import CPU, SPECIES, SmallWorld

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


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved, to look into."""
    figures: list[Figure] = []
    save = Figure.savefig

    def note(figure: Figure, *arguments: object, **options: object) -> None:
        figures.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", note)
    return figures


@pytest.fixture(scope="module")
def judged(small: SmallWorld, trained: Path) -> tuple[list[Bag], Predictions]:
    report = evaluate(choose_clips(trained / BEST, small.store, small.manifest, "test", as_trained=True), CPU)
    assert isinstance(report, EvalReport)
    return list(join(small.manifest, small.store).bags), report.predictions


def panel(**fields: Any) -> Panel:
    return replace(Panel("a.wav", "", 0.0, np.zeros((800, 128), np.float16), (), (), None), **fields)


def ticks_of(axes: Axes) -> dict[str, float]:
    return {label.get_text(): float(y) for label, y in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)}


# Reading calls


def test_calls_are_read_from_the_simulators_table(tmp_path: Path) -> None:
    place = tmp_path / "events.csv"
    rows = [
        "a/b.wav,Myotis myotis,0.5,0.505,25.1,88.2,35,70,20,search,1",
        "a/b.wav,Myotis myotis,1,1.01,25,80,35,70,20,search,1",
    ]
    place.write_text("\n".join([",".join(EVENT_COLUMNS), *rows]) + "\n")
    assert read_calls(place) == {
        "a/b.wav": (Call("Myotis myotis", 0.5, 0.505, 25.1, 88.2), Call("Myotis myotis", 1.0, 1.01, 25.0, 80.0))
    }


def test_calls_are_read_from_the_experts_table(real: Path) -> None:
    calls = read_calls(real / "events.csv")
    name = "audio/Car340319-2015-Pass1-G2-16701_0_20150718_031633_453.wav"
    first = calls[name][0]
    assert (first.species, first.start_s, first.low_khz, first.high_khz) == ("Eptesicus serotinus", 0.0, 30.0, 36.75)
    assert first.end_s == pytest.approx(0.00283, abs=1e-9)
    rows = (real / "events.csv").read_text().splitlines()[1:]
    assert sum(map(len, calls.values())) == len(rows)


@pytest.mark.parametrize(
    "header",
    [
        "time,what",
        "filename,start_s,end_s,species",
        "filename,start_s,fmin_khz,fmax_khz,species",
        "filename,start_s,end_s,fmin_khz,fmax_khz",
        "",
    ],
)
def test_a_table_with_other_columns_holds_no_calls(tmp_path: Path, header: str) -> None:
    (tmp_path / "events.csv").write_text(f"{header}\na.wav,x,y,z,u\n")
    assert read_calls(tmp_path / "events.csv") == {}
    assert read_calls(tmp_path / "none.csv") == {}


@pytest.mark.parametrize("species", [" Myotis", "Myotis ", "", " "])
def test_a_species_with_blanks_around_it_is_read_without_them_and_drawn(tmp_path: Path, species: str) -> None:
    (tmp_path / "events.csv").write_text(
        f"filename,species,start_s,end_s,fmin_khz,fmax_khz\na.wav,{species},0,1,20,30\n"
    )
    (call,) = read_calls(tmp_path / "events.csv")["a.wav"]
    assert call.species == (species.strip() or "unknown")
    draw_page(tmp_path / "a.png", [panel(calls=(call,))], DataConfig().features)


def test_a_row_that_ends_before_its_species_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("filename,start_s,end_s,fmin_khz,fmax_khz,species\na.wav,0,1,20,30\n")
    with pytest.raises(ManifestError, match=r"events\.csv: not a table of calls"):
        read_calls(tmp_path / "events.csv")


@pytest.mark.parametrize("row", ["a.wav,Bat,x,1,20,30", "a.wav,Bat,0", "a.wav,Bat,0,1,20,"])
def test_a_row_without_its_numbers_is_an_error(tmp_path: Path, row: str) -> None:
    (tmp_path / "events.csv").write_text(f"filename,species,start_s,end_s,fmin_khz,fmax_khz\n{row}\n")
    with pytest.raises(ManifestError, match=r"events\.csv: not a table of calls"):
        read_calls(tmp_path / "events.csv")


# Choosing


def predictions(scores: list[list[float]], labels: list[list[int]]) -> Predictions:
    count = len(scores)
    return Predictions(
        filenames=np.array([f"{i}.wav" for i in range(count)]),
        start_s=np.zeros(count),
        duration_s=np.full(count, np.nan),
        species=np.array(["A", "B"]),
        scores=np.array(scores, np.float32),
        labels=np.array(labels, np.int8),
        evidence=np.zeros((count, 2), np.float32),
        evidence_start_s=np.zeros(count),
        evidence_end_s=np.ones(count),
        offsets=np.arange(count + 1),
    )


def test_the_telling_clips_are_the_best_the_worst_and_the_unsure_each_once() -> None:
    chosen = choose_telling(
        predictions(
            [
                [0.99, 0.01],
                [0.98, 0.02],
                [0.03, 0.97],
                [0.01, 0.01],
                [0.5, 0.01],
                [0.02, 0.98],
                [0.9, 0.45],
                [0.1, 0.99],
            ],
            [[1, 0], [1, 0], [0, 1], [0, 0], [1, 0], [1, 0], [1, 0], [1, 1]],
        )
    )
    assert chosen == [(0, "good"), (2, "good"), (5, "bad"), (7, "bad"), (4, "doubtful"), (6, "doubtful")]


def test_one_species_alone_still_fills_the_page_and_an_unlabelled_clip_is_never_chosen() -> None:
    labels = [[-1, -1], [1, -1], [1, -1], [1, -1], [1, -1], [0, -1], [0, -1]]
    scores = [[0.5, 0.5], [0.9, 0.5], [0.8, 0.5], [0.1, 0.5], [0.2, 0.5], [0.4, 0.5], [0.3, 0.5]]
    chosen = choose_telling(predictions(scores, labels))
    assert chosen[:4] == [(1, "good"), (2, "good"), (3, "bad"), (4, "bad")]
    assert sorted(i for i, _ in chosen) == [1, 2, 3, 4, 5, 6]


def test_where_nothing_is_labelled_the_surest_clips_are_chosen() -> None:
    scores = [[0.2, 0.1], [0.4, 0.9], [0.6, 0.1]]
    assert choose_telling(predictions(scores, [[-1, -1]] * 3), 2) == [(1, "likely"), (2, "likely")]


def test_of_few_clips_each_is_chosen_once() -> None:
    chosen = choose_telling(predictions([[0.9, 0.1], [0.2, 0.1]], [[1, 0], [1, 0]]))
    assert sorted(i for i, _ in chosen) == [0, 1]


def test_a_runs_panels_are_the_six_that_tell_most(small: SmallWorld, judged: tuple[list[Bag], Predictions]) -> None:
    bags, found = judged
    panels = panels_of_run(small.store, bags, found, {})
    assert len({panel.name for panel in panels}) == 6
    assert [panel.remark for panel in panels] == ["good"] * 2 + ["bad"] * 2 + ["doubtful"] * 2


def test_named_clips_come_in_the_order_of_their_names_with_what_is_known_of_them(
    small: SmallWorld, judged: tuple[list[Bag], Predictions]
) -> None:
    bags, found = judged
    names, call = ["night7/1.wav", "night6/2.wav"], Call("Low", 0.1, 0.2, 44, 46)
    one, other = panels_of_run(small.store, bags, found, {names[0]: (call,)}, names)
    assert [one.name, other.name] == names and one.remark == ""
    assert one.calls == (call,) and other.calls == ()
    i = found.filenames.tolist().index(names[0])
    assert one.scores is not None and np.array_equal(one.scores.scores, found.scores[i])
    assert len(one.scores.edges_s) == len(one.scores.evidence) + 1
    assert one.present == tuple(np.array(SPECIES)[found.labels[i] == 1])
    plain = panels_of_store(small.store, bags, SPECIES, {}, names)
    assert [panel.name for panel in plain] == names and plain[0].scores is None
    assert np.array_equal(plain[0].frames, one.frames)


def test_every_clip_of_a_named_recording_is_shown(small: SmallWorld) -> None:
    rows = ["late.wav,1,0,0,0.0,0.5", "late.wav,1,0,0,1.0,0.5"]
    bags = join(small.read(rows, "filename,Low,High,Sweep,start_s,duration_s"), small.store).bags
    panels = panels_of_store(small.store, bags, SPECIES, {}, ["late.wav"])
    assert [panel.start_s for panel in panels] == [0.0, 1.0]


def test_two_judged_clips_that_begin_together_are_each_drawn_at_their_own_length(
    small: SmallWorld, trained: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    rows = ["late.wav,1,0,0,0.2,0.5", "late.wav,1,0,0,0.2,1.0", "late.wav,1,0,0,0.2,"]
    manifest = small.read(rows, "filename,Low,High,Sweep,start_s,duration_s")
    report = evaluate(choose_clips(run / BEST, small.store, manifest, "test", as_trained=False), CPU)
    assert isinstance(report, EvalReport)
    bags, found = join(manifest, small.store).bags, report.predictions
    panels = panels_of_run(small.store, bags, found, {}, ["late.wav"])
    assert [len(panel.frames) / 500 for panel in panels] == [0.5, 1.0, 1.3]
    assert [len(panel.scores.evidence) for panel in panels if panel.scores] == [1, 2, 3]


def test_a_store_shows_its_first_clips(small: SmallWorld, judged: tuple[list[Bag], Predictions]) -> None:
    bags, _ = judged
    assert [p.name for p in panels_of_store(small.store, bags, SPECIES, {})] == [b.clip.filename for b in bags[:6]]


def test_an_unknown_clip_is_an_error_that_names_a_near_one(
    small: SmallWorld, judged: tuple[list[Bag], Predictions]
) -> None:
    bags, found = judged
    with pytest.raises(RunError, match=r"night6/11\.wav is not among the judged clips\. Did you mean night6/1\.wav\?"):
        panels_of_run(small.store, bags, found, {}, ["night6/11.wav"])
    with pytest.raises(RunError, match=r"Did you mean night0/1\.wav\?"):
        panels_of_store(small.store, bags, SPECIES, {}, ["night0/11.wav"])
    with pytest.raises(
        RunError,
        match=r"built last\. Give its name as it stands there\.$",
    ):
        panels_of_store(small.store, bags, SPECIES, {}, ["xyz"])


def test_a_judged_clip_that_is_gone_is_an_error(small: SmallWorld, judged: tuple[list[Bag], Predictions]) -> None:
    bags, found = judged
    fewer = [bag for bag in bags if bag.clip.filename != "night6/1.wav"]
    with pytest.raises(RunError, match=r"night6/1\.wav: was judged, and is no longer in the CSV"):
        panels_of_run(small.store, fewer, found, {}, ["night6/1.wav"])


# Drawing


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
