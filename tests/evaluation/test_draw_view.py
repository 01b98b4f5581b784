"""What is zoomed, how large a page is, what its name makes of it, and what is written beside the pictures."""

from itertools import pairwise
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure

from batcache.config.settings import DataConfig
from batcache.errors import ConfigError, RunError
from batcache.evaluation.calls import Call
from batcache.evaluation.pictures.draw import draw_page
from batcache.evaluation.pictures.panels import Scores, panels_of_run
from batcache.evaluation.pictures.save import save_figure
from batcache.evaluation.pictures.view import View
from batcache.evaluation.pictures.words import describe_labels, shorten
from batcache.inference.predictions import Predictions
from batcache.training.clips.bags import Bag
from tests.evaluation.pictures import panel
from tests.small_world import SmallWorld

FEATURES = DataConfig().features
LONG = "2024/meadow-behind-the-mill/recorder-S4U09523/" * 3 + "S4U09523_20240412_221003_000.wav"


def clicks(*at: int) -> np.ndarray:
    """Three seconds of frames, faint noise, and a bright one at each of these milliseconds, the first brightest."""
    frames = np.random.default_rng(0).random((3000, 128)).astype(np.float16) / 10
    for i, frame in enumerate(at):
        frames[frame, 60:70] = 5 - i
    return frames


@pytest.mark.parametrize(
    ("view", "begin", "end"),
    [
        (View(), 10.0, 13.0),
        (View(start_s=11.0), 11.0, 13.0),
        (View(start_s=11.0, duration_s=0.5), 11.0, 11.5),
        (View(start_s=9.5, duration_s=1.0), 10.0, 10.5),
        (View(start_s=12.9, duration_s=1.0), 12.9, 13.0),
        (View(duration_s=0.1), 11.45, 11.55),
        (View(duration_s=99.0), 10.0, 13.0),
    ],
)
def test_the_part_that_was_asked_for_is_drawn_in_seconds_of_the_recording(view: View, begin: float, end: float) -> None:
    """Of a clip from 10 to 13 s whose loudest moment is at 11.5 s."""
    made = view.cut(panel(frames=clicks(1500, 2900), start_s=10.0), 1000)
    smoothed = 0.003 if view.start_s is None else 1e-9
    assert made.start_s == pytest.approx(begin, abs=smoothed) and len(made.frames) == round((end - begin) * 1000)
    first = round((made.start_s - 10) * 1000)
    np.testing.assert_array_equal(made.frames, clicks(1500, 2900)[first : first + len(made.frames)])


def test_a_zoomed_picture_shows_its_seconds_its_calls_and_evidence_alone(tmp_path: Path, drawn: list[Figure]) -> None:
    calls = (Call("Low", 0.4, 0.42, 20, 40), Call("High", 1.51, 1.52, 20, 60), Call("Sweep", 2.0, 2.1, 20, 60))
    scores = Scores(("Low",), np.ones(1, np.float32), np.ones((6, 1), np.float32), np.arange(7) * 0.5)
    made = panel(frames=clicks(1500), calls=calls, scores=scores)
    draw_page(tmp_path / "a.png", [made], FEATURES, View(start_s=1.45, duration_s=0.1))
    spectrogram, strip = drawn[0].axes
    assert spectrogram.get_xlim() == strip.get_xlim() == pytest.approx((1.45, 1.55))
    (image,) = spectrogram.get_images()
    assert np.asarray(image.get_array()).shape == (128, 100), "a millisecond a column"
    assert [str(line.get_label()) for line in spectrogram.get_lines()] == ["High"]


@pytest.mark.parametrize("seconds", [float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["start", "duration"])
def test_seconds_without_end_or_number_are_refused(name: str, seconds: float) -> None:
    with pytest.raises(ConfigError, match=f"--{name}: {seconds:g}, expected seconds"):
        View(**{f"{name}_s": seconds})


def test_nothing_to_see_is_said_with_where_the_clip_lies(tmp_path: Path) -> None:
    made = panel(name="b.wav", frames=clicks(5), start_s=10.0)
    with pytest.raises(RunError, match=r"--start: b\.wav lies from 10 to 13 s, and nothing of it"):
        draw_page(tmp_path / "a.png", [made], FEATURES, View(start_s=13.0, duration_s=1.0))
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg", ".PDF"])
def test_the_name_decides_what_is_written_and_the_same_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    made = panel(name="Zürich&<b>.wav", frames=clicks(5), present=("Low",))
    for name in ("a", "b"):
        draw_page(tmp_path / f"{name}{suffix}", [made], FEATURES, View(size_in=(8, 4)))
    content = (tmp_path / f"a{suffix}").read_bytes()
    assert content == (tmp_path / f"b{suffix}").read_bytes()
    if suffix == ".png":
        assert matplotlib.image.imread(tmp_path / "a.png").shape[:2] == (400, 800)
    elif suffix == ".svg":
        assert b'width="576pt" height="288pt"' in content and content.count(b"<image ") == 2, "picture, colour bar"
    else:
        assert content.startswith(b"%PDF") and b"/MediaBox [ 0 0 576 288 ]" in content


def test_another_name_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"a\.jpg: expected a name that ends in \.png, \.pdf or \.svg"):
        save_figure(Figure(), tmp_path / "a.jpg")


def test_a_page_too_small_for_its_clips_is_refused_with_what_they_need(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"--size: 6 by 4 inches, expected at least 8x4\.8 for these clips"):
        draw_page(tmp_path / "a.png", [panel()] * 5, FEATURES, View(size_in=(6, 4)))
    draw_page(tmp_path / "a.png", [panel()] * 5, FEATURES, View(size_in=(8, 4.8)))


def test_every_picture_has_a_colour_bar_of_its_values(
    tmp_path: Path, drawn: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[Colorbar] = []
    make = Figure.colorbar
    monkeypatch.setattr(Figure, "colorbar", lambda *args, **kwargs: bars.append(make(*args, **kwargs)) or bars[-1])
    draw_page(tmp_path / "a.png", [panel(frames=clicks(5)), panel(frames=clicks(9) * np.float16(0.1))], FEATURES)
    for axes, bar in zip(drawn[0].axes, bars, strict=True):
        (image,) = axes.get_images()
        assert (bar.vmin, bar.vmax) == image.get_clim() and bar.ax.get_ylabel() == "PCEN"
        picture, place = axes.get_window_extent(), bar.ax.get_window_extent()
        assert picture.x1 < place.x0 and place.x1 < drawn[0].bbox.x1


@pytest.mark.parametrize("size", [None, (8.0, 5.0), (30.0, 10.0)])
def test_long_names_collide_with_nothing(tmp_path: Path, drawn: list[Figure], size: tuple[float, float] | None) -> None:
    species = ("Myotis mystacinus/brandtii/alcathoe", "ANameWithoutAnySpaceInItThatIsLong", "Nyctalus noctula", "Low")
    calls = tuple(Call(name, 0.2 * i, 0.2 * i + 0.1, 20.0, 40.0) for i, name in enumerate(species))
    scores = Scores(species, np.ones(4, np.float32), np.ones((6, 4), np.float32), np.arange(7) * 0.5)
    made = panel(name=LONG, remark="doubtful", frames=clicks(5), present=species * 2, calls=calls, scores=scores)
    draw_page(tmp_path / "a.png", [made] * 4, FEATURES, View(size_in=size))
    pictures, strips = drawn[0].axes[::2], drawn[0].axes[1::2]
    for picture, strip in zip(pictures, strips, strict=True):
        frame, title, legend = picture.get_window_extent(), picture._left_title, picture.get_legend()  # type: ignore[attr-defined]
        assert title.get_window_extent().x1 <= frame.x1 + 1 and legend is not None
        assert frame.x0 <= legend.get_window_extent().x0 and legend.get_window_extent().x1 <= frame.x1
        labels = [label.get_window_extent() for label in strip.get_yticklabels()]
        assert all(label.x0 >= 0 for label in labels)
        assert all(upper.y0 >= lower.y0 + 0.75 * lower.height for lower, upper in pairwise(labels))
        assert frame.y0 > strip.get_window_extent().y1
    name = pictures[0].get_title(loc="left").split("\n")[0]
    assert name.startswith("doubtful: 2024/") and name.endswith(".wav")
    assert ("…" in name) == (size is None or size[0] < 30), "where there is room, all of it is shown"


@pytest.mark.parametrize("longest", range(3, 30))
def test_a_shortened_text_keeps_both_ends_and_is_no_longer_than_said(longest: int) -> None:
    text = "recorder-7_20240412_221003.wav"
    made = shorten(text, longest)
    assert len(made) == longest and made[0] == text[0] and made[-1] == text[-1]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"present": ("A", "B")}, "A, B"),
        ({}, "no species marked"),
        ({"is_labelled": False, "unlabelled": ("A", "B")}, "not labelled"),
        ({"present": ("A",), "unlabelled": ("B", "C")}, "A; not labelled: B, C"),
        ({"unlabelled": tuple("ABCD")}, "no species marked; not labelled: 4 species"),
    ],
)
def test_what_is_not_labelled_is_said_so(fields: dict[str, object], said: str) -> None:
    assert describe_labels(panel(**fields)) == said


def test_labels_of_a_run_say_what_nobody_knows(small: SmallWorld, judged: tuple[list[Bag], Predictions]) -> None:
    bags, found = judged
    panels = panels_of_run(small.store, bags, found, {}, [str(name) for name in found.filenames])
    for r, made in enumerate(panels):
        named = {1: made.present, -1: made.unlabelled}
        for label, names in named.items():
            assert list(names) == [str(name) for name in found.species[found.labels[r] == label]]
        assert made.is_labelled == (found.labels[r] >= 0).any()
