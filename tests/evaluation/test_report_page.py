"""The page holds the numbers of metrics.json, needs no other file, and shows whatever names as text."""

import json
import re
import shutil
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from batcache.errors import RunError
from batcache.evaluation.judged import read_judged
from batcache.evaluation.report.write import report, write_report
from batcache.inference.predictions import Predictions
from batcache.training.clips.bags import join
from tests.evaluation.judging import chosen, judge, read_metrics
from tests.small_world import SmallWorld

HOSTILE = "<script>alert('1')</script>&\"<img src=x onerror=alert(1)>"
MEGABYTE = 1 << 20


@dataclass
class Page(HTMLParser):
    """What a browser would find: the elements, their attributes, their text, and the rows of tables."""

    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    counted: dict[str, Any] = field(default_factory=dict)
    within_row: bool = False

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "tr":
            self.rows.append([])
            self.within_row = True
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.within_row &= tag != "tr"

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.within_row and self.rows[-1]:
            self.rows[-1][-1] += data.strip()
        if data.lstrip().startswith('{"chart"'):
            self.counted = json.loads(data)


def read_page(place: Path) -> Page:
    page = Page()
    page.feed(place.read_text(encoding="utf-8"))
    page.close()
    return page


@pytest.fixture(scope="module")
def judged_run(small: SmallWorld, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was judged as ``batcache eval`` does, its report beside it. Not to be changed."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("reported") / trained.name))
    assert judge(chosen(run, small)).page == run / "report.html"
    return run


def rewrite(
    judged_run: Path, small: SmallWorld, folder: Path, predictions: Predictions, rename: dict[str, str] | None = None
) -> Path:
    """The report of other predictions, some of whose names stand for those in the CSV."""
    run = Path(shutil.copytree(judged_run, folder / "run"))
    outcome, bags, rename = read_metrics(run)["test"], join(small.manifest, small.store).bags, rename or {}
    for row in outcome["per_species"]:
        row["species"] = rename.get(row["species"], row["species"])
    renamed = [
        structs.replace(bag, clip=structs.replace(bag.clip, filename=rename.get(bag.clip.filename, bag.clip.filename)))
        for bag in bags
    ]
    return write_report(run, "test", outcome, predictions, small.store, renamed, folder)


def test_the_numbers_of_the_page_are_those_of_metrics_json(judged_run: Path) -> None:
    page, outcome = read_page(judged_run / "report.html"), read_metrics(judged_run)["test"]
    rows = {row[0].removesuffix("†"): row[1:] for row in reversed(page.rows)}  # the first table, not the matrix
    for row in outcome["per_species"]:
        values = [row[name] for name in ("precision", "recall", "f1", "average_precision", "roc_auc")]
        shown = ["–" if value is None else f"{value:.3f}" for value in values]
        assert rows[row["species"]] == [str(row["support"]), str(row["known"]), *shown]
    text = " ".join(page.words)
    for value in (outcome["macro_average_precision"], outcome["macro_roc_auc"], outcome["macro"]["f1"]):
        assert f"{value:.3f}" in text
    pool = page.counted["counts"][0]
    assert pool["true"][50] / pool["reported"][50] == outcome["micro"]["precision"]
    assert pool["true"][50] / pool["present"] == outcome["micro"]["recall"]


def test_groups_of_species_are_a_table_of_their_own(judged_run: Path, small: SmallWorld, tmp_path: Path) -> None:
    outcome, predictions = read_judged(judged_run, "test")
    values = {"known": 6, "support": 4, "average_precision": 0.8125, "roc_auc": None, "members_average_precision": 0.5}
    outcome["groups"] = [{"group": HOSTILE, "members": ["Low", "High"], **values}]
    run, bags = Path(shutil.copytree(judged_run, tmp_path / "run")), join(small.manifest, small.store).bags
    page = read_page(write_report(run, "test", outcome, predictions, small.store, bags, tmp_path))
    assert [HOSTILE, "4 of 6", "0.812", "–", "0.500", "Low,High"] in page.rows


def test_the_page_says_what_was_judged_on_what_and_how_sure_it_is(judged_run: Path) -> None:
    page, outcome = read_page(judged_run / "report.html"), read_metrics(judged_run)["test"]
    text = " ".join(" ".join(page.words).split())
    about = json.loads((judged_run / "run.json").read_text())
    for said in (
        judged_run.name,
        f"{outcome['checkpoint']}, epoch {outcome['epoch']}",
        "6 of 6 recordings",
        "trained from chance",
        "12 train, 6 val, 6 test",
        f"torch {about['versions']['torch']}",
        outcome["intervals"]["refusal"],
        *outcome["notes"],
    ):
        assert said in text, said


def test_the_page_needs_nothing_from_outside(judged_run: Path) -> None:
    text = (judged_run / "report.html").read_text(encoding="utf-8")
    assert "http:" not in text and "https:" not in text and "@import" not in text
    assert set(re.findall(r"url\(([^)]*)\)", text)) == {"#shades"}
    leading = [value for name, value in read_page(judged_run / "report.html").attributes if name in ("src", "href")]
    assert leading and all(value.startswith(("data:", "#")) for value in leading)
    assert len(text) < MEGABYTE


def test_a_hostile_name_of_a_species_or_a_file_is_text(judged_run: Path, small: SmallWorld, tmp_path: Path) -> None:
    _, predictions = read_judged(judged_run, "test")
    file = str(predictions.filenames[0])
    names = {"Low": HOSTILE, file: f"</script>{HOSTILE}{{{{ 7 * 7 }}}}.wav"}
    hostile = replace(
        predictions,
        species=np.array([names.get(str(name), str(name)) for name in predictions.species]),
        filenames=np.array([names.get(str(name), str(name)) for name in predictions.filenames]),
    )
    page = read_page(rewrite(judged_run, small, tmp_path, hostile, names))
    harmless = read_page(judged_run / "report.html")
    assert [page.tags.count(tag) for tag in ("script", "img")] == [harmless.tags.count("script"), 0]
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    text = "".join(page.words)
    assert names["Low"] in text and names[file] in text and "49.wav" not in text
    assert names["Low"] in [one["name"] for one in page.counted["counts"]]


def test_the_page_does_not_grow_with_the_clips(judged_run: Path, small: SmallWorld, tmp_path: Path) -> None:
    """30,000 clips: those of the run, over and over, with scores of their own."""
    _, one = read_judged(judged_run, "test")
    times, random = 5_000, np.random.default_rng(0)
    many = {
        name: np.concatenate([value] * times) for name, value in vars(one).items() if name not in ("species", "offsets")
    }
    offsets = np.append(0, np.cumsum(np.tile(np.diff(one.offsets), times)))
    many["scores"] = random.random(many["scores"].shape).astype(np.float32)
    place = rewrite(judged_run, small, tmp_path, Predictions(**many, species=one.species, offsets=offsets))
    assert place.stat().st_size < MEGABYTE
    assert read_page(place).counted["recordings"] == 6


def test_clips_without_labels_are_shown_and_nothing_is_made_up(
    judged_run: Path, small: SmallWorld, tmp_path: Path
) -> None:
    _, predictions = read_judged(judged_run, "test")
    bare = replace(predictions, labels=np.full_like(predictions.labels, -1))
    page = read_page(rewrite(judged_run, small, tmp_path, bare))
    text = " ".join(page.words)
    assert "Highest scores" in text and "No clip is known to hold a species" in text
    assert page.counted["counts"][0]["present"] == 0 and page.tags.count("audio") == 0


def test_where_the_recordings_are_gone_the_page_says_so(judged_run: Path) -> None:
    page = read_page(judged_run / "report.html")
    assert page.tags.count("audio") == 0 and page.tags.count("image") > 0
    assert "No audio: no such file." in page.words


def test_the_report_is_written_again_from_what_was_judged(judged_run: Path, small: SmallWorld, tmp_path: Path) -> None:
    run = Path(shutil.copytree(judged_run, tmp_path / judged_run.name))
    before = (run / "report.html").read_text()
    (run / "report.html").unlink()
    again = report(run, small.folder / "features.zarr", data_dir=small.folder)
    date = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC, batcache"
    outcome = read_metrics(run)["test"]
    assert outcome["notes"] == read_metrics(judged_run)["test"]["notes"]
    assert re.sub(date, "", again.read_text()) == re.sub(date, "", before)


def test_a_split_that_was_not_judged_has_no_report(judged_run: Path, small: SmallWorld) -> None:
    with pytest.raises(RunError, match="val has not been judged"):
        report(judged_run, small.folder / "features.zarr", "val")
    assert not (judged_run / "val_report.html").exists()


def test_an_evaluation_without_its_report_is_not_done(judged_run: Path, small: SmallWorld, tmp_path: Path) -> None:
    run = Path(shutil.copytree(judged_run, tmp_path / judged_run.name))
    assert chosen(run, small).is_done()
    (run / "report.html").unlink()
    assert not chosen(run, small).is_done()


def test_intervals_and_levels_stand_on_the_page_where_there_are_any(run: Path, small: SmallWorld) -> None:
    rows = [row.rpartition(",")[0] for row in small.rows()[18:]]  # without groups, each recording is drawn
    made = judge(chosen(run, small, small.read(rows, "filename,Low,High,Sweep,split")))
    assert made.page is not None and made.metrics.intervals is not None
    page, sure = read_page(made.page), made.metrics.intervals
    found = {row[0]: row[1:] for row in page.rows if row and row[0].endswith(("average", "clip"))}
    spans = [sure.macro.precision, sure.macro.recall, sure.macro.f1, sure.macro_average_precision, sure.macro_roc_auc]
    assert found["macro average"] == ["", *(f"{span[0]:.3f} to {span[1]:.3f}" for span in spans if span)]
    (clip,) = (values for name, values in found.items() if name == "clip")
    assert clip[0] == "6" and clip[1].startswith(f"{made.metrics.macro_average_precision:.3f}")
    assert "few recordings, they are far too narrow" in " ".join(" ".join(page.words).split())
