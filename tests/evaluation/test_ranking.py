"""A draw is judged as scikit-learn judges with sample weights, by numpy and by the compiled loop alike."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from batcache.evaluation.draws.ranking import Judged, Ranking

CLIPS = st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 1), st.integers(0, 3)), min_size=1, max_size=30)
EACH = [pytest.param(False, id="numpy"), pytest.param(True, id="compiled")]


@pytest.mark.parametrize("compiled", EACH)
@settings(max_examples=60, deadline=None)
@given(clips=CLIPS)
def test_a_draw_is_judged_as_by_scikit_learn_with_sample_weights_ties_included(
    compiled: bool, clips: list[tuple[int, int, int]]
) -> None:
    scores, labels, weights = (np.array(column) for column in zip(*clips, strict=True))
    ranking = Ranking(scores / 5, labels.astype(np.int8), np.arange(len(clips)), threshold=0.4)
    found = ranking.judge(weights[:, None].astype(np.uint8), compiled=compiled)
    counts = (labels >= 0) & (weights > 0)
    truth, score, weight = labels[counts], scores[counts] / 5, weights[counts]
    assert found.positives[0] == weight[truth == 1].sum() and found.reported[0] == weight[score >= 0.4].sum()
    assert found.true[0] == weight[(truth == 1) & (score >= 0.4)].sum()
    if len(set(truth.tolist())) < 2:
        assert np.isnan(found.average_precision[0]) and np.isnan(found.roc_auc[0])
        return
    expected = [of(truth, score, sample_weight=weight) for of in (average_precision_score, roc_auc_score)]
    assert [found.average_precision[0], found.roc_auc[0]] == pytest.approx(expected, abs=1e-12)


def survey(clips: int, units: int, draws: int, seed: int) -> tuple[list[NDArray[Any]], NDArray[np.uint8]]:
    """Scores with ties, labels, some of them unknown, the clips' units, and weights of many draws."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([-1, 0, 1], clips, p=[0.1, 0.8, 0.1]).astype(np.int8)
    scores = np.round(rng.random(clips) + 0.3 * (labels == 1), 4).astype(np.float32)
    return [scores, labels, rng.integers(0, units, clips)], rng.poisson(1, (units, draws)).astype(np.uint8)


def judge_naively(
    scores: NDArray[Any], labels: NDArray[Any], unit_of: NDArray[Any], weights: NDArray[Any], threshold: float
) -> Judged:
    """A loop over draws, each judged by scikit-learn."""
    known = labels >= 0
    truth, score = labels[known], scores[known].astype(np.float64)
    rows = []
    for column in weights.T.astype(np.int64):
        weight = column[unit_of[known]]
        reported = score >= threshold
        rows.append(
            (
                average_precision_score(truth, score, sample_weight=weight),
                roc_auc_score(truth, score, sample_weight=weight),
                weight[reported & (truth == 1)].sum(),
                weight[reported].sum(),
                weight[truth == 1].sum(),
            )
        )
    return Judged(*(np.array(column) for column in zip(*rows, strict=True)))


@pytest.mark.parametrize("compiled", EACH)
def test_many_draws_of_many_clips_are_those_of_a_naive_loop(compiled: bool) -> None:
    clips, weights = survey(20_000, 300, 8, seed=1)
    found, expected = Ranking(*clips, 0.7).judge(weights, compiled=compiled), judge_naively(*clips, weights, 0.7)
    for name, values in vars(expected).items():
        np.testing.assert_allclose(getattr(found, name), values, rtol=1e-10, atol=0, err_msg=name)


@pytest.mark.slow
def test_a_million_clips_are_judged_alike_by_numpy_by_the_loop_and_by_scikit_learn() -> None:
    """Counts are whole numbers and equal; sums of a million fractions round differently."""
    clips, weights = survey(1_000_000, 5_000, 2, seed=2)
    ranking = Ranking(*clips, 0.7)
    by_numpy, by_loop, naive = (
        ranking.judge(weights),
        ranking.judge(weights, compiled=True),
        judge_naively(*clips, weights, 0.7),
    )
    for name, values in vars(naive).items():
        for found in (by_numpy, by_loop):
            if values.dtype.kind == "i":
                np.testing.assert_array_equal(getattr(found, name), values)
            else:
                np.testing.assert_allclose(getattr(found, name), values, rtol=1e-9)


def test_sums_that_pass_32_bits_are_not_left_to_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    clips, weights = survey(100, 100, 3, seed=3)
    expected = Ranking(*clips).judge(weights)
    monkeypatch.setattr("batcache.evaluation.draws.ranking._MOST_SUMMED", 99)
    monkeypatch.setattr("batcache.evaluation.draws.ranking.sum_steps", None)
    np.testing.assert_array_equal(Ranking(*clips).judge(weights, compiled=True).true, expected.true)


def test_precision_recall_and_f1_follow_from_the_counts() -> None:
    clips, weights = survey(500, 500, 4, seed=4)
    found = Ranking(*clips, 0.7).judge(weights)
    scores, labels, _ = clips
    known = labels >= 0
    for d in range(4):
        arguments = labels[known], scores[known].astype(float) >= 0.7
        weight = weights[clips[2], d][known]
        expected = [of(*arguments, sample_weight=weight) for of in (precision_score, recall_score, f1_score)]
        true, reported, positives = found.true[d], found.reported[d], found.positives[d]
        ours = [true / reported, true / positives, 2 * true / (reported + positives)]
        assert ours == pytest.approx(expected, rel=1e-12)
