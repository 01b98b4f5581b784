"""Intervals come from draws of whole groups, and each draw is what scikit-learn gives with sample weights."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from batcache.evaluation.bootstrap import bootstrap
from batcache.evaluation.draws.ranking import Ranking
from batcache.evaluation.draws.units import DRAWS, Resampling, resampling
from batcache.evaluation.judge import judge as judge_predictions
from batcache.evaluation.metrics import compute_metrics
from tests.evaluation.judging import chosen, judge, read_metrics
from tests.evaluation.predicted import predicted
from tests.small_world import SmallWorld

SPECIES = ["A", "B", "C"]


def some_clips(clips: int = 60, groups: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray, Resampling]:
    """Scores and labels of three species, the last of them unknown in half of the clips."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (clips, 3)).astype(np.int8)
    scores = labels + rng.normal(0, 1.2, (clips, 3))
    labels[::2, 2] = -1
    return scores, labels, Resampling("group", groups, rng.permutation(np.arange(clips) % groups))


def test_every_clip_once_gives_the_metrics_themselves() -> None:
    scores, labels, _ = some_clips()
    metrics = compute_metrics(scores, labels, ["A", "B", "C"])
    for c, row in enumerate(metrics.per_species):
        once = Ranking(scores[:, c], labels[:, c], np.arange(60)).judge(np.ones((60, 1), np.uint8))
        assert once.average_precision == pytest.approx(row.average_precision)
        assert once.roc_auc == pytest.approx(row.roc_auc)


@pytest.mark.parametrize("units", [12, 5000])
def test_as_many_groups_are_drawn_as_there_are_each_once_on_average_and_always_the_same(units: int) -> None:
    """Few are drawn as one multinomial sample, many by counting random numbers."""
    drawn = Resampling("group", units, np.arange(units))
    weights = np.concatenate(list(drawn.draw(100)), axis=1)
    assert weights.shape == (units, DRAWS) and (weights.sum(0, dtype=np.int64) == units).all()
    assert weights.mean(1) == pytest.approx(1, abs=0.16) and weights.var() == pytest.approx(1 - 1 / units, rel=0.03)
    np.testing.assert_array_equal(np.concatenate(list(drawn.draw(37)), axis=1), weights)


def naive_figures(
    scores: NDArray[np.float64], labels: NDArray[np.int8], drawn: Resampling
) -> tuple[dict[str, list[float | None]], dict[str, list[float | None]]]:
    """All figures of each draw, by repeating clips and judging them: averages, and those of the first species."""
    averages: dict[str, list[float | None]] = {}
    first: dict[str, list[float | None]] = {}
    for weights in np.concatenate(list(drawn.draw(DRAWS)), axis=1).T:
        clips = np.repeat(np.arange(len(labels)), weights[drawn.unit_of])
        found = compute_metrics(scores[clips], labels[clips], SPECIES, 0.6)
        for name in ("macro_average_precision", "macro_roc_auc"):
            averages.setdefault(name, []).append(getattr(found, name))
        for name in ("macro", "micro", "weighted"):
            for figure, value in vars(getattr(found, name)).items():
                averages.setdefault(f"{name} {figure}", []).append(value)
        for figure in ("precision", "recall", "f1", "average_precision", "roc_auc"):
            first.setdefault(figure, []).append(getattr(found.per_species[0], figure))
    return averages, first


def test_every_interval_is_that_of_a_naive_loop_over_the_same_draws() -> None:
    """One species has a single positive group: some draws have it not, and their means leave it out."""
    scores, labels, drawn = some_clips()
    labels[:, 1] = (drawn.unit_of == 0) & (labels[:, 1] == 1)
    found = bootstrap(scores, labels, SPECIES, drawn, 0.6)
    averages, first = naive_figures(scores, labels, drawn)

    def middle(values: list[float | None]) -> object:
        return pytest.approx(tuple(np.percentile([v for v in values if v is not None], [2.5, 97.5])), abs=1e-12)

    for name, values in averages.items():
        average, _, figure = name.partition(" ")
        interval = getattr(found, average)
        assert (getattr(interval, figure) if figure else interval) == middle(values), name
    for figure, values in first.items():
        assert getattr(found.per_species["A"], figure) == middle(values), figure


def test_a_species_that_few_groups_hold_or_lack_is_flagged_and_has_no_interval() -> None:
    scores, labels, drawn = some_clips()
    labels[:, 1] = drawn.unit_of < 4
    labels[:, 2] = drawn.unit_of >= 4
    found = bootstrap(scores, labels, SPECIES, drawn).per_species
    assert [(one.holding, one.lacking, one.few) for one in found.values()][1:] == [(4, 8, True), (8, 4, True)]
    assert not found["A"].few and found["A"].f1 and found["A"].roc_auc
    assert all(value is None for name, value in vars(found["B"]).items() if name not in ("holding", "lacking", "few"))


@pytest.mark.parametrize(("groups", "few"), [(9, True), (10, False)])
def test_few_groups_are_said_under_ten(groups: int, few: bool) -> None:
    scores, labels, drawn = some_clips(groups=groups)
    assert bootstrap(scores, labels, SPECIES, drawn).few_units is few


def test_intervals_hold_the_truth_of_simulated_surveys_about_as_often_as_they_say() -> None:
    """200 surveys of 60 nights of three clips, in which all clips of a night are easy or hard together."""
    rng, surveys, nights = np.random.default_rng(5), 200, 60

    def survey(nights: int) -> tuple[NDArray[np.float64], NDArray[np.int8], Resampling]:
        night = np.repeat(np.arange(nights), 3)
        labels = (rng.random((nights, 3))[night] < 0.4).astype(np.int8)
        scores = 0.5 + 0.25 * (labels - 0.4) + 0.15 * rng.normal(size=(nights, 3))[night]
        return scores + 0.1 * rng.normal(size=scores.shape), labels, Resampling("night", nights, night)

    large = compute_metrics(*survey(100_000)[:2], SPECIES)
    held: dict[str, list[bool]] = {}
    for _ in range(surveys):
        sure = bootstrap(*survey(nights)[:2], SPECIES, Resampling("night", nights, np.repeat(np.arange(nights), 3)))
        row, of_row = large.per_species[0], sure.per_species["A"]
        for name, truth, interval in (
            ("AP", row.average_precision, of_row.average_precision),
            ("ROC-AUC", row.roc_auc, of_row.roc_auc),
            ("F1", row.f1, of_row.f1),
            ("macro AP", large.macro_average_precision, sure.macro_average_precision),
            ("macro F1", large.macro.f1, sure.macro.f1),
            ("micro precision", large.micro.precision, sure.micro.precision),
            ("weighted recall", large.weighted.recall, sure.weighted.recall),
        ):
            assert truth is not None and interval is not None
            held.setdefault(name, []).append(interval[0] <= truth <= interval[1])
    shares = {name: np.mean(values) for name, values in held.items()}
    assert all(0.90 <= share <= 0.99 for share in shares.values()), shares  # 95 % of 200: 0.92 to 0.98


def test_it_neither_depends_on_the_order_of_clips_nor_on_how_many_draws_are_held_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evidence = list(np.random.default_rng(1).random((40, 1, 2)))
    labels = [[i % 3 == 0, i % 2] for i in range(40)]
    groups = [f"night {i % 8}" for i in range(40)]
    expected = judge_predictions(predicted(evidence, labels, groups=groups), {}).intervals
    order = np.random.default_rng(2).permutation(40)
    moved = predicted([evidence[i] for i in order], [labels[i] for i in order], groups=[groups[i] for i in order])
    monkeypatch.setattr("batcache.evaluation.bootstrap._CELLS_AT_ONCE", 40 * 7)
    assert judge_predictions(moved, {}).intervals == expected


def test_more_groups_give_a_narrower_interval() -> None:
    widths = []
    for groups in (10, 40, 160):
        scores, labels, drawn = some_clips(4 * groups, groups)
        low, high = bootstrap(scores, labels, SPECIES, drawn).macro_average_precision or (0, 0)
        widths.append(high - low)
        estimate = compute_metrics(scores, labels, ["A", "B", "C"]).macro_average_precision
        assert estimate is not None and low < estimate < high
    assert widths == sorted(widths, reverse=True) and widths[0] > 2 * widths[2]


def test_recordings_are_drawn_where_no_group_is_known_and_clips_of_one_recording_together() -> None:
    evidence, labels = list(np.random.default_rng(0).random((6, 1, 1))), [[i % 2] for i in range(6)]
    grouped = resampling(predicted(evidence, labels, groups=["a", "a", "b", "b", "", ""]))
    assert (grouped.unit, grouped.units) == ("group", 4)
    for groups in ((), [""] * 6):
        alone = resampling(predicted(evidence, labels, groups=groups))
        assert (alone.unit, alone.units) == ("recording", 6)


def test_few_groups_give_no_interval_and_the_reason() -> None:
    scores, labels, drawn = some_clips(groups=4)
    found = bootstrap(scores, labels, SPECIES, drawn)
    assert found.macro_average_precision is None and found.macro_roc_auc is None
    assert found.refusal == "4 groups, expected at least 5"


def test_labels_that_define_nothing_give_no_interval() -> None:
    scores, labels, drawn = some_clips()
    found = bootstrap(scores, np.full_like(labels, -1), SPECIES, drawn)
    assert (found.macro_average_precision, found.macro_roc_auc, found.refusal) == (None, None, None)


def test_an_evaluation_files_intervals_of_the_groups_of_its_csv(run: Path, small: SmallWorld) -> None:
    report = judge(chosen(run, small))
    assert report.predictions.groups.tolist() == ["night 6"] * 3 + ["night 7"] * 3
    filed = read_metrics(run)["test"]["intervals"]
    assert filed["refusal"] == "2 groups, expected at least 5" and filed["macro_average_precision"] is None
    without = small.read([row.rpartition(",")[0] for row in small.rows()[18:]], "filename,Low,High,Sweep,split")
    sure = judge(chosen(run, small, without)).metrics.intervals
    assert sure is not None and (sure.unit, sure.units) == ("recording", 6)
    assert sure.macro_average_precision is not None and sure.macro_roc_auc is not None
