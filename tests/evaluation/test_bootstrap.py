"""Intervals come from draws of whole groups, and each draw is what scikit-learn gives with sample weights."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from batcache.evaluation.bootstrap import DRAWS, Ranking, Resampling, bootstrap, resampling
from batcache.evaluation.metrics import compute_metrics
from batcache.evaluation.metrics import judge as judge_predictions
from tests.evaluation.judging import chosen, judge, read_metrics
from tests.evaluation.predicted import predicted
from tests.small_world import SmallWorld

CLIPS = st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 1), st.integers(0, 3)), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(CLIPS)
def test_a_draw_is_judged_as_by_scikit_learn_with_sample_weights_ties_included(
    clips: list[tuple[int, int, int]],
) -> None:
    scores, labels, weights = (np.array(column) for column in zip(*clips, strict=True))
    (ap,), (auc,) = Ranking(scores / 5, labels.astype(np.int8)).judge(weights[:, None])
    counts = (labels >= 0) & (weights > 0)
    if len(set(labels[counts])) < 2:
        assert np.isnan(ap) and np.isnan(auc)
        return
    arguments = {"y_true": labels[counts], "y_score": scores[counts] / 5, "sample_weight": weights[counts]}
    assert ap == pytest.approx(average_precision_score(**arguments), abs=1e-12)
    assert auc == pytest.approx(roc_auc_score(**arguments), abs=1e-12)


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
        (ap,), (auc,) = Ranking(scores[:, c], labels[:, c]).judge(np.ones((60, 1), np.int64))
        assert (ap, auc) == (pytest.approx(row.average_precision), pytest.approx(row.roc_auc))


def test_clips_of_one_group_are_drawn_together_and_as_many_groups_as_there_are() -> None:
    _, _, drawn = some_clips()
    weights = np.concatenate(list(drawn.draw()), axis=1)
    assert weights.shape == (60, DRAWS)
    first = [np.flatnonzero(drawn.unit_of == unit)[0] for unit in range(drawn.units)]
    assert (weights == weights[first][drawn.unit_of]).all() and (weights[first].sum(0) == drawn.units).all()
    assert weights[first].mean() == pytest.approx(1) and weights[first].mean(1) == pytest.approx(1, abs=0.15)


def test_the_interval_is_that_of_scikit_learn_over_the_same_draws_without_absent_species() -> None:
    """One species has a single positive group: some draws have it not, and their mean leaves it out."""
    scores, labels, drawn = some_clips()
    labels[:, 1] = (drawn.unit_of == 0) & (labels[:, 1] == 1)
    found = bootstrap(scores, labels, drawn)
    macro = []
    for weights in np.concatenate(list(drawn.draw()), axis=1).T[:20]:
        repeated = np.repeat(np.arange(len(weights)), weights)
        macro.append(compute_metrics(scores[repeated], labels[repeated], ["A", "B", "C"]).macro_average_precision)
    ours = [np.array([Ranking(scores[:, c], labels[:, c]).judge(w)[0] for c in range(3)]) for w in drawn.draw()]
    values = np.nanmean(np.concatenate(ours, axis=1), axis=0)
    np.testing.assert_allclose(values[:20], np.array(macro, float), atol=1e-12)
    assert np.isnan(np.concatenate(ours, axis=1)[1]).any()
    assert found.macro_average_precision == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))


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
        low, high = bootstrap(scores, labels, drawn).macro_average_precision or (0, 0)
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
    found = bootstrap(scores, labels, drawn)
    assert found.macro_average_precision is None and found.macro_roc_auc is None
    assert found.refusal == "4 groups, expected at least 5"


def test_labels_that_define_nothing_give_no_interval() -> None:
    scores, labels, drawn = some_clips()
    found = bootstrap(scores, np.full_like(labels, -1), drawn)
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
