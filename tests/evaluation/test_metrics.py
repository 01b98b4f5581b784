"""Metrics against scikit-learn, against numbers worked out by hand, and against the laws they must keep."""

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

from batcache.evaluation.metrics import Average, SpeciesMetrics, compute_metrics
from batcache.training.ranking import macro_average_precision

Table = tuple[NDArray[np.float64], NDArray[np.int8], list[str]]

# scikit-learn and we divide the same counts but sum means in another order: a few units in the last place.
NEAR = {"rel": 1e-12, "abs": 1e-12}

KNOWN = [(0, 1), (0,), (1,)]  # mixed, empty, all positive
WITH_UNKNOWN = [*KNOWN, (0, 1, -1), (0, -1), (1, -1), (-1,)]


@st.composite
def tables(draw: st.DrawFn, alphabets: list[tuple[int, ...]] = WITH_UNKNOWN, min_clips: int = 0) -> Table:
    """Scores in eighths, so that ties abound and some lie on the threshold, and labels of every kind of column."""
    clips = draw(st.integers(min_clips, 14))
    columns = draw(st.lists(st.sampled_from(alphabets), min_size=2, max_size=4))
    eighths = draw(hnp.arrays(np.int8, (clips, len(columns)), elements=st.integers(0, 8)))
    labels = [draw(hnp.arrays(np.int8, clips, elements=st.sampled_from(values))) for values in columns]
    return eighths / 8.0, np.stack(labels, axis=1), [f"species {c}" for c in range(len(columns))]


laws = settings(max_examples=25, deadline=None)


@laws
@given(tables())
def test_each_species_agrees_with_sklearn_on_its_known_clips(table: Table) -> None:
    scores, labels, species = table
    for c, row in enumerate(compute_metrics(scores, labels, species).per_species):
        known = labels[:, c] >= 0
        truth, score = labels[known, c], scores[known, c]
        predicted = score >= 0.5
        assert (row.species, row.known, row.support) == (species[c], len(truth), truth.sum())
        if not truth.any():
            assert row.recall is row.roc_auc is row.average_precision is None
            assert row.precision == row.f1 == (0.0 if predicted.any() else None)
            continue
        expected = precision_recall_fscore_support(truth, predicted, average="binary", zero_division=0)
        assert (row.recall, row.f1) == pytest.approx(expected[1:3], **NEAR)
        if truth.all():
            assert row.precision is row.roc_auc is row.average_precision is None, "no report could have been wrong"
        else:
            assert row.precision == pytest.approx(expected[0], **NEAR)
            assert row.roc_auc == pytest.approx(roc_auc_score(truth, score), **NEAR)
            assert row.average_precision == pytest.approx(average_precision_score(truth, score), **NEAR)


@laws
@given(tables(KNOWN, min_clips=1))
def test_averages_agree_with_sklearn_where_all_is_known(table: Table) -> None:
    scores, labels, species = table
    metrics = compute_metrics(scores, labels, species)
    predicted = (scores >= 0.5).astype(np.int8)
    present = np.flatnonzero(labels.any(axis=0)).tolist()
    for average in ("macro", "weighted"):
        ours = getattr(metrics, average)
        if not present:
            assert ours == Average(None, None, None)
            continue
        both = [c for c in present if not labels[:, c].all()]
        for name, number, over in (("precision", 0, both), ("recall", 1, present), ("f1", 2, present)):
            if not over:
                assert getattr(ours, name) is None
                continue
            expected = precision_recall_fscore_support(labels, predicted, labels=over, average=average, zero_division=0)
            assert getattr(ours, name) == pytest.approx(expected[number], **NEAR)
    if present and not labels.all():
        expected = precision_recall_fscore_support(labels, predicted, average="micro", zero_division=0)
        micro = metrics.micro
        assert (micro.precision, micro.recall, micro.f1) == pytest.approx(expected[:3], **NEAR)


@laws
@given(tables())
def test_micro_is_sklearn_on_the_pool_of_known_cells(table: Table) -> None:
    scores, labels, species = table
    micro = compute_metrics(scores, labels, species).micro
    truth, predicted = labels[labels >= 0], scores[labels >= 0] >= 0.5
    if not truth.any():
        nothing = 0.0 if predicted.any() else None
        assert micro == Average(precision=nothing, recall=None, f1=nothing)
        return
    expected = precision_recall_fscore_support(truth, predicted, average="binary", zero_division=0)
    assert (micro.recall, micro.f1) == pytest.approx(expected[1:3], **NEAR)
    assert micro.precision == (None if truth.all() else pytest.approx(expected[0], **NEAR))


@laws
@given(tables())
def test_macro_ranking_metrics_average_the_species_not_left_out(table: Table) -> None:
    scores, labels, species = table
    metrics = compute_metrics(scores, labels, species)
    for average, of_one in (("macro_roc_auc", "roc_auc"), ("macro_average_precision", "average_precision")):
        covered = [row for row in metrics.per_species if row.species not in metrics.left_out[average]]
        values = [getattr(row, of_one) for row in covered]
        assert getattr(metrics, average) == (pytest.approx(np.mean(values), **NEAR) if values else None)


@laws
@given(tables())
def test_the_fast_path_gives_the_same_macro_average_precision(table: Table) -> None:
    scores, labels, species = table
    expected = compute_metrics(scores, labels, species).macro_average_precision
    found = macro_average_precision(scores, labels)
    assert found == (None if expected is None else pytest.approx(expected, **NEAR))


@laws
@given(tables(), st.data())
def test_scores_of_unknown_cells_change_nothing(table: Table, data: st.DataObject) -> None:
    scores, labels, species = table
    anything = data.draw(hnp.arrays(np.float64, scores.shape, elements=st.floats(-1e300, 1e300)))
    other = np.where(labels == -1, anything, scores)
    assert compute_metrics(other, labels, species) == compute_metrics(scores, labels, species)


@laws
@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_clips_and_species_changes_only_the_order(table: Table, random: Any) -> None:
    scores, labels, species = table
    clips, columns = list(range(len(scores))), list(range(len(species)))
    random.shuffle(clips)
    random.shuffle(columns)
    straight = compute_metrics(scores, labels, species)
    shuffled = compute_metrics(scores[clips][:, columns], labels[clips][:, columns], [species[c] for c in columns])
    assert shuffled.per_species == tuple(straight.per_species[c] for c in columns)
    assert {k: set(v) for k, v in shuffled.left_out.items()} == {k: set(v) for k, v in straight.left_out.items()}
    reordered = {"per_species": straight.per_species, "left_out": straight.left_out}
    assert replace(shuffled, **reordered) == straight


@laws
@given(tables())
def test_perfect_scores_give_one(table: Table) -> None:
    _, labels, species = table
    metrics = compute_metrics((labels == 1).astype(np.float64), labels, species)
    averages = [metrics.macro, metrics.micro, metrics.weighted]
    values = [value for average in averages for value in asdict(average).values()]
    assert set(values) <= {1.0, None}
    assert {metrics.macro.recall, metrics.micro.f1} == ({1.0} if (labels == 1).any() else {None})
    if (labels == 1).any() and (labels == 0).any():
        assert metrics.micro.precision == 1
    assert {metrics.macro_roc_auc, metrics.macro_average_precision} <= {1.0, None}


@laws
@given(tables())
def test_plain_metrics_survive_json(table: Table) -> None:
    plain = compute_metrics(*table).to_plain()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_an_example_worked_by_hand() -> None:
    # Columns: mixed; mixed with unknowns; absent with one false alarm; present only; nobody knows.
    scores = np.array(
        [
            [0.9, 0.8, 0.1, 0.9, 0.9],
            [0.8, 0.3, 0.2, 0.4, 0.1],
            [0.5, 0.2, 0.7, 0.6, 0.5],
            [0.3, 0.9, 0.3, 0.2, 0.3],
        ]
    )
    labels = np.array(
        [
            [1, 0, 0, 1, -1],
            [0, 1, 0, 1, -1],
            [1, 0, 0, -1, -1],
            [0, -1, 0, -1, -1],
        ],
        dtype=np.int8,
    )
    metrics = compute_metrics(scores, labels, list("ABCDE"))
    assert metrics.per_species == (
        # A: hits 0.9 and 0.5 (on the threshold), false alarm 0.8. Of 4 pairs 3 in order; AP = (1 + 2/3) / 2.
        SpeciesMetrics("A", 4, 2, 2 / 3, 1.0, 0.8, 0.75, pytest.approx(5 / 6)),
        # B: false alarm 0.8, missed 0.3, and 0.9 is unknown. One of 2 pairs in order; the hit ranks second.
        SpeciesMetrics("B", 3, 1, 0.0, 0.0, 0.0, 0.5, 0.5),
        SpeciesMetrics("C", 4, 0, 0.0, None, 0.0, None, None),
        # D: hit 0.9, missed 0.4; nothing that could be reported wrongly.
        SpeciesMetrics("D", 2, 2, None, 0.5, pytest.approx(2 / 3), None, None),
        SpeciesMetrics("E", 0, 0, None, None, None, None, None),
    )
    near = pytest.approx
    assert metrics.macro == Average(near(1 / 3), near(0.5), near((0.8 + 2 / 3) / 3))  # over A, B, D; A, B
    assert metrics.micro == Average(near(3 / 6), near(3 / 5), near(6 / 11))  # 3 hits, 6 predicted, 5 there
    assert metrics.weighted == Average(near(4 / 9), near(3 / 5), near((1.6 + 4 / 3) / 5))
    assert metrics.macro_roc_auc == near(0.625)
    assert metrics.macro_average_precision == near(2 / 3)
    assert metrics.left_out == {
        "macro": ("C", "E"),
        "micro": ("E",),
        "weighted": ("C", "E"),
        "macro_roc_auc": ("C", "D", "E"),
        "macro_average_precision": ("C", "D", "E"),
    }
    assert (metrics.clips, metrics.threshold) == (4, 0.5)


def test_a_species_that_is_there_but_never_predicted_scores_zero() -> None:
    metrics = compute_metrics(np.array([[0.1], [0.2]]), np.array([[1], [0]], dtype=np.int8), ["A"])
    assert metrics.macro == metrics.micro == metrics.weighted == Average(0.0, 0.0, 0.0)


def test_a_species_left_out_of_macro_does_not_move_it_but_its_false_alarms_lower_micro() -> None:
    scores, labels = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[1, 0], [0, 0]], dtype=np.int8)
    alone = compute_metrics(scores[:, :1], labels[:, :1], ["there"])
    both = compute_metrics(scores, labels, ["there", "absent"])
    assert both.macro == alone.macro == Average(1.0, 1.0, 1.0)
    assert both.micro.precision == 0.5


def test_the_threshold_decides_precision_and_recall_but_no_ranking() -> None:
    scores, labels = np.array([[0.3], [0.6], [0.8]]), np.array([[1], [0], [1]], dtype=np.int8)
    low, high = (compute_metrics(scores, labels, ["A"], threshold) for threshold in (0.3, 0.7))
    assert low.micro.recall == 1.0 and high.micro.recall == 0.5
    assert low.micro.precision == pytest.approx(2 / 3) and high.micro.precision == 1.0
    assert low.macro_roc_auc == high.macro_roc_auc == 0.5
    assert (low.threshold, high.threshold) == (0.3, 0.7)


def test_float32_scores_are_compared_with_the_threshold_as_the_numbers_they_are() -> None:
    scores, labels = np.array([[0.7], [0.1]], dtype=np.float32), np.array([[1], [0]], dtype=np.int8)
    assert float(scores[0, 0]) < 0.7 < float(scores[0, 0]) + 1e-7  # 0.7 in float32 lies just below
    assert compute_metrics(scores, labels, ["A"], 0.7).micro.recall == 0.0
    assert compute_metrics(scores, labels, ["A"], float(scores[0, 0])).micro.recall == 1.0


def test_the_order_of_species_does_not_move_the_last_digit_of_a_mean() -> None:
    labels = np.ones((10, 3), dtype=np.int8)
    scores = (np.arange(10)[:, None] < [1, 2, 3]).astype(np.float64)  # recalls 0.1, 0.2, 0.3
    there, back = (compute_metrics(scores[:, order], labels, list("ABC")) for order in ([0, 1, 2], [2, 1, 0]))
    assert 0.1 + 0.2 + 0.3 != 0.3 + 0.2 + 0.1
    assert there.macro == back.macro


def test_without_clips_everything_is_undefined_and_every_species_left_out() -> None:
    metrics = compute_metrics(np.zeros((0, 2)), np.zeros((0, 2), dtype=np.int8), ["A", "B"])
    assert metrics.macro == metrics.micro == metrics.weighted == Average(None, None, None)
    assert metrics.macro_roc_auc is metrics.macro_average_precision is None
    assert metrics.per_species[1] == SpeciesMetrics("B", 0, 0, None, None, None, None, None)
    assert set(metrics.left_out.values()) == {("A", "B")}
    assert macro_average_precision(np.zeros((0, 2)), np.zeros((0, 2), dtype=np.int8)) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_refused_even_where_the_label_is_unknown(bad: float) -> None:
    scores, labels = np.array([[0.5], [bad]]), np.array([[1], [-1]], dtype=np.int8)
    with pytest.raises(AssertionError, match="not finite"):
        compute_metrics(scores, labels, ["A"])
    with pytest.raises(AssertionError, match="not finite"):
        macro_average_precision(scores, labels)


def test_shapes_names_and_labels_that_disagree_are_refused() -> None:
    scores, labels = np.full((3, 2), 0.5), np.ones((3, 2), dtype=np.int8)
    with pytest.raises(AssertionError, match="scores"):
        compute_metrics(scores[:2], labels, ["A", "B"])
    with pytest.raises(AssertionError, match="names"):
        compute_metrics(scores, labels, ["A"])
    with pytest.raises(AssertionError, match="labels"):
        compute_metrics(scores, labels * np.int8(2), ["A", "B"])
