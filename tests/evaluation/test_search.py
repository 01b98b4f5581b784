"""A search asks for the same trials each time, and takes from its folder what has been done."""

import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from batcache.config.load import Layer
from batcache.errors import ConfigError, RunError
from batcache.evaluation.sweeps.grid import Range, combine, read_grid
from batcache.evaluation.sweeps.search import Space, search
from batcache.evaluation.sweeps.sweep import SweepReport, SweepStarted, sweep
from batcache.progress import Progress
from tests.small_world import CPU, SmallWorld

pytest.importorskip("optuna")

RATE, SIZE, POOLING = "training.learning_rate", "model.head_size", "model.pooling_type"
GRID: Mapping[str, Sequence[Any] | Range] = {RATE: Range(1e-4, 1e-1), SIZE: Range(2, 6), POOLING: ["max", "mean"]}


@pytest.fixture(scope="module")
def done(small: SmallWorld, small_heads: Layer, tmp_path_factory: pytest.TempPathFactory) -> SweepReport:
    out = tmp_path_factory.mktemp("searches") / "out"
    return search(Space(GRID, None, small_heads), 4, small.store, small.manifest, CPU, out, folds=2)


def test_every_trial_lies_within_the_ranges_and_whole_numbers_stay_whole(done: SweepReport) -> None:
    assert len(done.rows) == 4 and list(done.rows[0].values) == list(GRID)
    for row in done.rows:
        rate, size = row.values[RATE], row.values[SIZE]
        assert 1e-4 <= rate <= 1e-1 and float(f"{rate:.3g}") == rate
        assert size in range(2, 7) and isinstance(size, int) and row.values[POOLING] in ("max", "mean")
    assert len({row.values[RATE] for row in done.rows}) == 4


def test_a_stopped_search_goes_on_to_what_an_undisturbed_one_finds(
    small: SmallWorld, small_heads: Layer, done: SweepReport, tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if progress.stage == "combination 3 of 4, folds":
            raise KeyboardInterrupt

    call, told = (
        (Space(GRID, None, small_heads), 4, small.store, small.manifest, CPU, tmp_path / "out"),
        list[Progress](),
    )
    with pytest.raises(KeyboardInterrupt):
        search(*call, folds=2, on_progress=stop)
    again = search(*call, folds=2, on_progress=told.append)
    assert isinstance(told[0].result, SweepStarted)
    assert (told[0].result.combinations, told[0].result.done) == (4, 2)
    assert not any(progress.stage.startswith("combination 2") for progress in told), "what was done is not done again"
    for here, there in zip(again.rows, done.rows, strict=True):
        assert (here.values, here.macro_average_precision) == (there.values, there.macro_average_precision)


def test_more_trials_go_on_with_the_same_search(
    small: SmallWorld, small_heads: Layer, done: SweepReport, tmp_path: Path
) -> None:
    out, told = Path(shutil.copytree(done.csv.parent, tmp_path / "out")), list[Progress]()
    space = Space(GRID, None, small_heads)
    more = search(space, 5, small.store, small.manifest, CPU, out, folds=2, on_progress=told.append)
    assert [row.values for row in more.rows[:4]] == [row.values for row in done.rows] and len(more.rows) == 5
    assert {p.stage.split(",")[0] for p in told} == {"sweep", "combination 5 of 5"}
    other = Space({**GRID, SIZE: Range(2, 7)}, None, small_heads)
    with pytest.raises(RunError, match="holds another sweep"):
        search(other, 5, small.store, small.manifest, CPU, out, folds=2)
    with pytest.raises(RunError, match="holds another sweep"):
        sweep(combine({POOLING: ["max"]}, None, small_heads), small.store, small.manifest, CPU, out, folds=2)


def test_each_trial_is_judged_with_every_seed(small: SmallWorld, small_heads: Layer, tmp_path: Path) -> None:
    grid = {SIZE: Range(2, 6), "training.seed": [3, 4]}
    report = search(Space(grid, None, small_heads), 2, small.store, small.manifest, CPU, tmp_path / "out", folds=2)
    sizes = [row.values[SIZE] for row in report.rows]
    assert [row.values["training.seed"] for row in report.rows] == [3, 4] * len(set(sizes))
    assert sizes[0] == sizes[1] and all(len(standing.outcomes) == 2 for standing in report.standings)


def test_without_optuna_the_remedy_is_said(
    small: SmallWorld, small_heads: Layer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)  # what makes an import of it fail
    with pytest.raises(ConfigError, match=r"^--trials: needs Optuna, .*\. pip install 'batcache\[optuna\]'"):
        search(Space(GRID, None, small_heads), 4, small.store, small.manifest, CPU, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("training.sed=0..3", "--over training.sed: no such setting. Did you mean training.seed?"),
        ("training.seed=0..3", "--over training.seed: a range, expected values. Pass --over training.seed=0,1,2"),
        ("training.seed=0,1", "--trials: no setting to search"),
        ("model.head_size=6..2", "--over model.head_size: 6..2, expected the lower end first"),
        ("model.head_size=0..4", "--over model.head_size: 0: "),
        ("model.dropout=0..1.5", "--over model.dropout: 1.5: "),
        ("model.heads=1,0", "--over model.heads: 0: "),
        ("training.patience=3..9", "--over training.patience: no effect here"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_training(
    small: SmallWorld, small_heads: Layer, tmp_path: Path, given: str, said: str
) -> None:
    grid = read_grid([given])
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        search(Space(grid, None, small_heads), 2, small.store, small.manifest, CPU, tmp_path / "out", folds=2)
    assert not (tmp_path / "out").exists()


def test_a_range_needs_trials(small_heads: Layer) -> None:
    with pytest.raises(ConfigError, match=r"--over model\.head_size: a range, expected values\. Pass --trials"):
        combine({SIZE: Range(2, 6)}, None, small_heads)


def test_only_numbers_between_two_dots_are_a_range() -> None:
    given = {"model.head_size": "16..128", RATE: "1e-4..1e-2", "model.dropout": "0..0.5", "model.init": "../one,a..b"}
    read = read_grid(f"{key}={text}" for key, text in given.items())
    assert list(read.values()) == [Range(16, 128), Range(1e-4, 1e-2), Range(0.0, 0.5), ["../one", "a..b"]]
    assert [value.is_wide for value in read.values() if isinstance(value, Range)] == [False, True, False]
