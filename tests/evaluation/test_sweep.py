"""Combinations of settings, judged in the same folds; what is done is not done again."""

import csv
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from msgspec import structs

from batcache.cli.sweep_tables import of_sweep
from batcache.cli.terminal import Note, Table
from batcache.config.load import Layer
from batcache.errors import BatcacheError, ConfigError, ManifestError, RunError
from batcache.evaluation.calls import Call
from batcache.evaluation.cross_validate import cross_validate
from batcache.evaluation.evaluate import choose_clips, evaluate
from batcache.evaluation.folds import draw_folds, judge_folds
from batcache.evaluation.sweeps.draw_sweep import draw_sweep
from batcache.evaluation.sweeps.grid import Combination, combine
from batcache.evaluation.sweeps.standings import Outcome, rank, write_outcomes
from batcache.evaluation.sweeps.sweep import SweepReport, SweepStarted, sweep
from batcache.manifest.manifest import Manifest
from batcache.progress import Progress
from batcache.storage.exclusive import lock_file
from batcache.store.reader import Store
from batcache.training.clips.bags import Joined, join
from batcache.training.clips.embeddings import Embedded, Embeddings, adapt_trunk, embed_bags
from batcache.training.runs import BEST, newest_run
from tests.documents import read_document
from tests.small_world import CPU, FRAMES_PER_SECOND, SmallWorld, tweak

Grid = Mapping[str, Sequence[Any]]
SEEDS = {"training.seed": [0, 1]}


@pytest.fixture(scope="module")
def combined(small_heads: Layer) -> Callable[[Grid], tuple[Combination, ...]]:
    """The combinations of a grid: small heads on the small world's trunk, an epoch each."""
    return lambda grid: combine(grid, None, small_heads)


@pytest.fixture(scope="module")
def done(small: SmallWorld, combined: Callable[[Grid], tuple[Combination, ...]], tmp_path_factory: Any) -> SweepReport:
    out = tmp_path_factory.mktemp("sweeps") / "seeds"
    return sweep(combined(SEEDS), small.store, small.manifest, CPU, out, folds=3)


@pytest.fixture
def copy(done: SweepReport, tmp_path: Path) -> Path:
    """The folder of the sweep, to go on in."""
    return Path(shutil.copytree(done.csv.parent, tmp_path / "copy"))


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class _Anew(Embeddings):
    def adapt(self, *of: Any) -> None:
        adapt_trunk(*of)

    def embed(self, *of: Any, **how: Any) -> Embedded:
        return embed_bags(*of, **how)


def read(outcome: Outcome) -> dict[str, Any]:
    return read_document(outcome.file)


def test_the_folds_are_the_same_for_every_combination_and_seed(small: SmallWorld, done: SweepReport) -> None:
    """Told by how many clips of each fold hold each species; the folds of other seeds would differ in it."""

    def supports(seed: int) -> list[list[int]]:
        folds = draw_folds(small.manifest, small.store, 3, seed)
        parts = ([bag.clip.labels for bag in folds.bags if bag.clip.split == name] for name in folds.names)
        return [[sum(row[s] == 1 for row in part) for s in range(3)] for part in parts]

    one, other = (
        [[row["support"] for row in fold["metrics"]["per_species"]] for fold in read(row_done)["folds"]]
        for row_done in done.rows
    )
    assert one == other == supports(0)
    assert any(supports(seed) != one for seed in range(1, 9))


def test_one_combination_is_judged_as_train_folds_judges_it(
    small: SmallWorld, done: SweepReport, combined: Any, tmp_path: Path
) -> None:
    config = tweak(combined(SEEDS)[0].config, training={"run_dir": tmp_path})
    judged = cross_validate(config, small.store, small.manifest, CPU, 3)
    assert read(done.rows[0])["metrics"] == json.loads(json.dumps(judged.metrics.to_plain()))


def test_shared_embeddings_give_the_numbers_of_those_computed_anew(
    small: SmallWorld, combined: Any, tmp_path: Path
) -> None:
    config = tweak(combined(SEEDS)[0].config, training={"run_dir": tmp_path})
    folds, shared = draw_folds(small.manifest, small.store, 3, 0), Embeddings()
    there = judge_folds(config, small.store, folds, CPU, shared).predictions
    newest = newest_run(tmp_path)
    anew = judge_folds(config, small.store, folds, CPU, _Anew()).predictions
    assert np.array_equal(there.scores, anew.scores, equal_nan=True)
    assert np.array_equal(there.evidence, anew.evidence, equal_nan=True)
    chosen = choose_clips(newest / BEST, small.store, folds.part("fold 3"), "test", as_trained=False)
    frames = evaluate(chosen, CPU).predictions.scores
    np.testing.assert_allclose(there.scores[-len(frames) :], frames, atol=2e-3)  # embeddings lie in half precision


def test_a_sweep_that_is_done_trains_nothing_anew(
    small: SmallWorld, combined: Any, done: SweepReport, copy: Path
) -> None:
    before, told = files(copy), list[Progress]()
    again = sweep(combined(SEEDS), small.store, small.manifest, CPU, copy, folds=3, on_progress=told.append)
    assert {progress.stage for progress in told} == {"sweep"}
    assert isinstance(told[0].result, SweepStarted) and told[0].result.done == 2
    assert files(copy) == before
    assert [row.macro_average_precision for row in again.rows] == [row.macro_average_precision for row in done.rows]


def test_a_stopped_sweep_goes_on_after_the_last_combination_that_was_done(
    small: SmallWorld, combined: Any, done: SweepReport, tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if progress.stage == "combination 2 of 2, folds" and progress.done == 2:
            raise KeyboardInterrupt

    call = combined(SEEDS), small.store, small.manifest, CPU, tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        sweep(*call, folds=3, on_progress=stop)
    kept = {name: content for name, content in files(tmp_path / "out").items() if name.startswith("outcomes")}
    assert len(kept) == 1
    told: list[Progress] = []
    report = sweep(*call, folds=3, on_progress=told.append)
    assert not [progress for progress in told if progress.stage.startswith("combination 1 ")]
    now = files(tmp_path / "out")
    assert all(now[name] == content for name, content in kept.items())
    assert {name.split("/")[0] for name in now} == {"outcomes", "sweep.csv", "sweep.json", "sweep.lock", "sweep.png"}
    assert [row.macro_average_precision for row in report.rows] == [row.macro_average_precision for row in done.rows]


def test_more_values_are_added_and_another_sweep_is_refused(small: SmallWorld, combined: Any, copy: Path) -> None:
    more, told = combined({"training.seed": [0, 1, 2]}), list[Progress]()
    report = sweep(more, small.store, small.manifest, CPU, copy, folds=3, on_progress=told.append)
    assert len(report.rows) == 3 and told[0].result.done == 2  # type: ignore[union-attr]
    before = files(copy)
    relabelled = small.read([row.replace("night0/2.wav,0", "night0/2.wav,1") for row in small.rows()])
    for others, manifest, folds in (
        (combined(SEEDS), small.manifest, 3),
        (more, small.manifest, 2),
        (more, relabelled, 3),
    ):
        with pytest.raises(RunError, match=r"holds another sweep: . combinations? of other settings, clips or folds"):
            sweep(others, small.store, manifest, CPU, copy, folds=folds)
    assert files(copy) == before


def test_a_folder_of_something_else_and_one_in_use_are_refused(
    small: SmallWorld, combined: Any, tmp_path: Path, copy: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sweep.csv").write_text("mine")
    call = combined(SEEDS), small.store, small.manifest, CPU
    with pytest.raises(RunError, match="holds something else than a sweep"):
        sweep(*call, tmp_path / "mine", folds=3)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["sweep.csv"]
    with lock_file(copy / "sweep.lock"), pytest.raises(RunError, match="another process sweeps into it"):
        sweep(*call, copy, folds=3)
    for out in (tmp_path / "mine" / "sweep.csv", tmp_path / "mine" / "sweep.csv" / "out"):
        with pytest.raises(RunError, match="cannot hold a sweep"):
            sweep(*call, out, folds=3)
    (next((copy / "outcomes").iterdir())).write_text('{"format_version": 1}')
    with pytest.raises(RunError, match=r"outcomes.*json: cannot be read \(lacks 'metrics'\)\. Delete it"):
        sweep(*call, copy, folds=3)


def test_what_another_process_writes_is_not_judged(small: SmallWorld, combined: Any, copy: Path) -> None:
    """It may have begun another sweep, whose record is not there yet."""
    others = combined({"training.seed": [5]}), small.store, small.manifest, CPU
    with lock_file(copy / "sweep.lock"), pytest.raises(RunError, match="another process sweeps into it"):
        sweep(*others, copy, folds=3)
    with pytest.raises(RunError, match="holds another sweep"):
        sweep(*others, copy, folds=3)


@pytest.mark.parametrize("change", ["groups", "calls"])
def test_other_groups_and_other_known_calls_are_another_sweep(
    small: SmallWorld, combined: Any, copy: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Groups decide the intervals, calls how often the evidence lies on one; here the folds stay the same."""
    folds = draw_folds(small.manifest, small.store, 3, 0)
    first, *others = folds.bags
    without = structs.replace(first, clip=structs.replace(first.clip, group=None))
    calls = {first.clip.filename: (Call("Low", 0.1, 0.2),)}
    other = replace(folds, bags=(without, *others)) if change == "groups" else replace(folds, calls=calls)
    monkeypatch.setattr("batcache.evaluation.sweeps.sweep.draw_folds", lambda *_: other)
    with pytest.raises(RunError, match="holds another sweep: 2 combinations"):
        sweep(combined(SEEDS), small.store, small.manifest, CPU, copy, folds=3)


def test_only_calls_of_clips_that_are_judged_count(small: SmallWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name: (Call("Low", 0.1, 0.2),) for name in ("night0/0.wav", "night6/0.wav", "elsewhere.wav")}
    monkeypatch.setattr("batcache.evaluation.folds.read_calls", lambda _: known)
    assert {*draw_folds(small.manifest, small.store, 3, 0).calls} == {"night0/0.wav"}  # night6 is of split test


def begin(small: SmallWorld, combinations: Sequence[Combination], out: Path) -> SweepStarted:
    """What a sweep of three folds tells before it trains anything."""
    told: list[SweepStarted] = []

    def stop(progress: Progress) -> None:
        assert isinstance(progress.result, SweepStarted)
        told.append(progress.result)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(combinations, small.store, small.manifest, CPU, out, folds=3, on_progress=stop)
    return told[0]


def test_what_is_to_be_known_of_any_combination_is_told_once(
    small: SmallWorld, combined: Any, trained: Path, tmp_path: Path
) -> None:
    alone = Path(shutil.copy(trained / BEST, tmp_path / "alone.pt"))
    trunk = str(combined(SEEDS)[0].config.model.init)
    grid = {"model.init": [trunk, str(alone)], "training.max_instances": [60, 2], "training.seed": [0, 1]}
    notes = begin(small, combined(grid), tmp_path / "out").notes
    assert len(notes) == len(set(notes))
    unknown = f"not every clip that {alone} has learnt from is known: scores on such clips are too good"
    assert notes.count(unknown) == 1
    assert sum("last longer than 1 s" in note for note in notes) == 1


@pytest.mark.parametrize(
    ("grid", "named"),
    [
        ({"training.workers": [1, 2]}, "training.workers"),
        ({"training.patience": [15, 5], "training.seed": [0, 1]}, "training.patience"),
        ({"training.workers": [1, 2], "training.patience": [15, 5]}, "training.workers, training.patience"),
        ({"model.pooling_type": ["max", "mean"], "augmentation.noise_std": [0.1, 0.2]}, "augmentation.noise_std"),
    ],
)
def test_combinations_that_are_the_same_training_are_refused(
    small: SmallWorld, combined: Any, tmp_path: Path, grid: Grid, named: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^--over {re.escape(named)}: no effect here"):
        sweep(combined(grid), small.store, small.manifest, CPU, tmp_path / "out", folds=3)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("grid", "splits"),
    [
        ({"model.pooling_type": ["max", "mean"], "training.seed": [0, 1, 2]}, 1),
        ({"data.clips_per_species": [1, 2], "training.seed": [0, 1]}, 4),
    ],
)
def test_folds_are_checked_once_for_each_choice_of_clips(
    small: SmallWorld, combined: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid: Grid, splits: int
) -> None:
    joined: list[Manifest] = []

    def watch(manifest: Manifest, store: Store) -> Joined:
        joined.append(manifest)
        return join(manifest, store)

    monkeypatch.setattr("batcache.training.loop.join", watch)
    begin(small, combined(grid), tmp_path / "out")
    assert len(joined) == 3 * splits, "three folds"


@pytest.mark.parametrize(
    ("grid", "error"),
    [
        ({"model.init": ["none", "nowhere.pt"]}, RunError),
        ({"training.class_weights": ["balanced", {"Yeti": 3}]}, ConfigError),
        ({"model.conv_layers": [None, [4, 8]]}, ConfigError),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is(
    small: SmallWorld, combined: Any, tmp_path: Path, grid: Grid, error: type[BatcacheError]
) -> None:
    with pytest.raises(error):
        sweep(combined(grid), small.store, small.manifest, CPU, tmp_path / "out", folds=3)
    assert not (tmp_path / "out").exists()


def test_one_fold_and_more_folds_than_groups_are_refused(small: SmallWorld, combined: Any, tmp_path: Path) -> None:
    for folds, error in ((1, ConfigError), (7, ManifestError)):
        with pytest.raises(error):
            sweep(combined(SEEDS), small.store, small.manifest, CPU, tmp_path / "out", folds=folds)


def test_the_table_has_a_row_a_combination(done: SweepReport) -> None:
    rows = list(csv.DictReader(done.csv.read_text().splitlines()))
    assert [row["training.seed"] for row in rows] == ["0", "1"]
    for row, outcome in zip(rows, done.rows, strict=True):
        assert float(row["macro_ap"]) == pytest.approx(outcome.macro_average_precision, abs=5e-5)  # four digits
        assert float(row["seconds"]) == pytest.approx(outcome.seconds, abs=0.05) and outcome.seconds > 0
        assert (row["species"], row["labels"]) == ("3", str(outcome.labels))
    assert done.picture.read_bytes().startswith(b"\x89PNG")


def test_labels_of_clips_that_a_model_was_not_taught_do_not_count(
    small: SmallWorld, combined: Any, done: SweepReport, tmp_path: Path
) -> None:
    """Sweep in one night alone: the model of the fold that this night is in has not met it."""
    cells = [row.split(",") for row in small.rows()]
    once = [[*r[:3], r[3] if r[5] == "night 0" and r[3] == "1" else "0", *r[4:]] for r in cells]
    manifest = small.read([",".join(row) for row in once])
    (row,) = sweep(combined({"training.seed": [0]}), small.store, manifest, CPU, tmp_path / "out", folds=3).rows
    known = [label >= 0 for clip in draw_folds(manifest, small.store, 3, 0).manifest.clips for label in clip.labels]
    assert row.labels < sum(known)
    told = " ".join(note for fold in read(row)["folds"] for note in fold["notes"])
    assert "not taught" in told and "Sweep (no training clip known to be with it)" in told
    known = [
        label >= 0 for clip in draw_folds(small.manifest, small.store, 3, 0).manifest.clips for label in clip.labels
    ]
    assert all(whole.labels == sum(known) for whole in done.rows)


def test_rows_that_are_judged_on_other_labels_are_not_to_be_compared(done: SweepReport) -> None:
    def said(report: SweepReport) -> list[str]:
        return [block.text for block in of_sweep(report) if isinstance(block, Note)]

    one, other = done.rows
    unlike = replace(done, rows=(one, replace(other, labels=other.labels - 3)))
    assert said(done) == []
    (note,) = said(unlike)
    assert f"over 3 species and {one.labels - 3} to {one.labels} labels" in note and "compare rows" in note


def outcome(seed: int, ap: float | None, pooling: str = "max") -> Outcome:
    return Outcome(
        {"model.pooling_type": pooling, "training.seed": seed},
        ap,
        0.5,
        3,
        54,
        0.75,
        0.25,
        10.0,
        2.0 + seed,
        Path("a.json"),
    )


def test_seeds_are_averaged_and_the_best_mean_comes_first() -> None:
    rows = [outcome(0, 0.2), outcome(1, 0.6), outcome(0, 0.5, "mean"), outcome(1, 0.7, "mean"), outcome(0, None, "x")]
    best, second, last = rank(rows)
    assert (best.values, best.lowest, best.highest) == ({"model.pooling_type": "mean"}, 0.5, 0.7)
    assert (best.mean, second.mean, last.mean) == (pytest.approx(0.6), pytest.approx(0.4), None)
    assert (best.seconds, len(best.outcomes), last.lowest) == (2.5, 2, None)
    assert (best.on_a_call, best.by_chance) == (0.75, 0.25)


def test_a_sweep_says_what_chance_would_come_to(
    small: SmallWorld, combined: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each clip of Low the call lies in the first instance."""
    bags = draw_folds(small.manifest, small.store, 3, 0).bags
    calls = {bag.clip.filename: (Call("Low", 0.1, 0.2),) for bag in bags}
    monkeypatch.setattr("batcache.evaluation.folds.read_calls", lambda _: calls)
    report = sweep(combined({"training.seed": [0]}), small.store, small.manifest, CPU, tmp_path / "out", folds=3)
    of_low = [bag for bag in bags if bag.clip.labels[0] == 1]
    chance = sum(1 / bag.instances(round(0.5 * FRAMES_PER_SECOND)) for bag in of_low) / len(of_low)
    (row,), (standing,) = report.rows, report.standings
    assert row.by_chance == standing.by_chance == pytest.approx(chance) and row.on_a_call is not None
    (written,) = csv.DictReader(report.csv.read_text().splitlines())
    assert (written["by_chance"], written["on_a_call"]) == (f"{chance:.4f}", f"{row.on_a_call:.4f}")
    (table,) = [block for block in of_sweep(report) if isinstance(block, Table)]
    assert table.rows[0][table.header.index("by chance")] == f"{chance:.3f}"


def test_the_picture_shows_accuracy_evidence_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr("batcache.evaluation.sweeps.draw_sweep.save_figure", lambda figure, _: drawn.append(figure))
    rows = [outcome(0, 0.2), outcome(1, 0.6), outcome(0, None, "mean")]
    draw_sweep(tmp_path / "a.png", rank(rows), "3 folds")
    draw_sweep(tmp_path / "a.png", rank([replace(row, on_a_call=None, by_chance=None) for row in rows]), "3 folds")
    (aps, evidence, seconds), without = drawn[0].axes, drawn[1].axes
    labels = ["macro average precision in 3 folds", "evidence on a call", "seconds of training"]
    assert [axes.get_xlabel() for axes in (aps, evidence, seconds)] == labels
    assert [axes.get_xlabel() for axes in without] == [labels[0], labels[2]]
    assert [label.get_text() for label in aps.get_yticklabels()] == ["max", "mean"]
    shown = [[[float(x) for x in line.get_xdata()] for line in axes.lines] for axes in (aps, evidence, seconds)]
    assert shown[0] == [[0.2, 0.6], [0.4, 0.4], []]
    assert shown[1] == [[0.75, 0.75], [0.75, 0.75], [0.25, 0.25], [0.75], [0.75, 0.75], [0.25, 0.25]]
    assert shown[2] == [[2.0, 3.0], [2.5, 2.5], [2.0], [2.0, 2.0]]


def test_no_cell_of_the_table_is_a_formula(tmp_path: Path) -> None:
    values = {"model.init": "=cmd|' /C calc'!A0", "model.conv_layers": [16, 32], "training.class_weights": None}
    write_outcomes(tmp_path / "a.csv", [replace(outcome(0, 0.5), values=values)])
    (row,) = csv.DictReader((tmp_path / "a.csv").read_text().splitlines())
    assert list(row.values())[:3] == ["'=cmd|' /C calc'!A0", "[16, 32]", "null"]
