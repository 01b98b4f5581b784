"""What was reviewed calibrates a model and teaches another, as it stands and without a recording."""

import shutil
from pathlib import Path

import pytest

import batcache
from batcache.reviewing.journal import Journal
from batcache.reviewing.open import Opened, open_target
from batcache.reviewing.said import Said
from tests.small_world import SETTINGS, SPECIES, SmallWorld

pytestmark = pytest.mark.slow


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / trained.name))  # as deep as it was: it names its cache from there


def truth(small: SmallWorld) -> dict[str, tuple[int, ...]]:
    return {clip.filename: clip.labels for clip in small.manifest.clips}


def answer_all(opened: Opened, labels: dict[str, tuple[int, ...]]) -> Path:
    """Say of each clip what is so; returns the table."""
    with Journal(opened.judged, None, opened.recordings.content_of) as journal:
        for clip, name in enumerate(opened.judged.paths):
            known = {one: label for one, label in zip(SPECIES, labels.get(name, ()), strict=False) if label >= 0}
            journal.add(clip, "random", Said(known, True, {"random": "right"}), "right")
        return journal.table_file


def learn_from(table: Path, small: SmallWorld, out: Path) -> Path:
    settings = {"model": SETTINGS["model"], "training": {"epochs": 1, "run_dir": str(out)}}
    cache = small.folder / "features.zarr"
    return batcache.train(table, cache, data_dir=small.folder, config=settings, device="cpu").run


def test_reviewed_predictions_of_a_cache_calibrate_and_train_without_a_recording(
    small: SmallWorld, run: Path, tmp_path: Path
) -> None:
    assert not list(small.folder.rglob("*.wav"))
    cache = small.folder / "features.zarr"
    batcache.predict(cache, run, tmp_path / "out", device="cpu")
    opened = open_target(tmp_path / "out")
    assert opened.recordings.read_span(opened.judged.paths[0], 0.0, 1.0).seconds > 0.4
    table = answer_all(opened, truth(small))
    assert table == tmp_path / "out" / "reviewed.csv"
    made = batcache.calibrate(run, table, tmp_path / "out")
    assert "columns that the model does not know" not in " ".join(made.notes)
    learnt = learn_from(table, small, tmp_path / "runs")
    split = (learnt / "split.csv").read_text().splitlines()
    assert len(split) - 1 == sum(any(label >= 0 for label in labels) for labels in truth(small).values()) - 1  # broken


def test_the_reviewed_clips_of_a_run_train_without_a_recording(small: SmallWorld, run: Path, tmp_path: Path) -> None:
    batcache.evaluate(run, device="cpu")
    opened = open_target(run)
    assert opened.judged.has_spans and opened.recordings.read_span("night6/0.wav", 0.0, 1.0).seconds > 0.4
    table = answer_all(opened, truth(small))
    learnt = learn_from(table, small, tmp_path / "runs")
    clips = {line.split(",")[0] for line in (learnt / "split.csv").read_text().splitlines()[1:]}
    assert clips == {clip.filename for clip in small.manifest.clips if clip.split == "test"}
