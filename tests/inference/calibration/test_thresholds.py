"""A threshold that promises a precision keeps it; where too little is known it says so."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from batcache.inference.calibration.bounds import bound_below, chance_of_as_many, fewest_to_promise
from batcache.inference.calibration.platt import Platt, logits_of, sigmoid
from batcache.inference.calibration.thresholds import BEST_F1, NOTHING, PROMISED, choose_threshold
from tests.inference.calibration.simulated import draw, precision_above


@pytest.mark.parametrize(("right", "of"), [(29, 29), (48, 50), (95, 100), (1, 1), (3, 7), (9990, 10_000), (12.5, 13.2)])
def test_the_bound_is_that_of_clopper_and_pearson(right: float, of: float) -> None:
    assert bound_below(right, of) == pytest.approx(stats.beta.ppf(0.05, right, of - right + 1), abs=1e-12)
    assert chance_of_as_many(right, of, 0.8) == pytest.approx(stats.beta.cdf(0.8, right, of - right + 1), abs=1e-10)


def test_29_of_29_are_just_enough_for_a_precision_of_0_9() -> None:
    assert round(bound_below(29, 29), 3) == 0.902
    assert bound_below(28, 28) < 0.9 < bound_below(29, 29)
    assert 28 < fewest_to_promise(0.9) < 29
    logits = np.concatenate([np.linspace(2, 5, 29), np.full(50, -3.0)])
    labels, groups = np.repeat([1, 0], [29, 50]), np.arange(79)
    found = choose_threshold(logits, labels, groups, None, 0.9)
    assert (found.basis, found.promised, found.clips, found.positives, found.groups) == (PROMISED, 0.9, 79, 29, 79)
    assert found.value == pytest.approx(sigmoid(np.array(2.0)), abs=2e-6)
    assert choose_threshold(logits[1:], labels[1:], groups[1:], None, 0.9).basis == NOTHING


def test_one_wrong_clip_among_the_first_ends_the_walk() -> None:
    logits = np.concatenate([[6.0], np.linspace(2, 5, 29), np.full(50, -3.0)])
    labels = np.concatenate([[0], np.repeat([1, 0], [29, 50])])
    assert choose_threshold(logits, labels, np.arange(80), None, 0.9).basis == NOTHING


@pytest.mark.parametrize(("precision", "clips", "slope"), [(0.9, 400, 1.0), (0.9, 2000, 0.6), (0.8, 300, 1.0)])
def test_in_95_of_100_draws_a_promised_precision_holds(precision: float, clips: int, slope: float) -> None:
    """Also in those draws in which something is promised at all, which are fewer."""
    rng, promised, broken, draws = np.random.default_rng(7), 0, 0, 250
    for _ in range(draws):
        logits, labels = draw(rng, clips, 0.0, slope)
        found = choose_threshold(logits, labels, np.arange(clips), None, precision)
        if found.promised is not None:
            promised += 1
            broken += precision_above(found.value, 0.0, slope) < precision
    assert promised > draws / 2
    assert broken <= 0.05 * promised


def test_clips_of_one_night_count_as_one_however_many() -> None:
    logits, labels = np.concatenate([np.full(3000, 4.0), np.full(50, -3.0)]), np.repeat([1, 0], [3000, 50])
    of_nights = np.concatenate([np.arange(3000) % 28, np.arange(28, 78)])
    assert choose_threshold(logits, labels, of_nights, None).promised is None
    of_nights[:3000] = np.arange(3000) % 40
    assert choose_threshold(logits, labels, of_nights, None).promised == 0.9
    of_nights[:2900] = 0  # forty nights still, but one of them has nearly all
    assert choose_threshold(logits, labels, of_nights, None).promised is None


def test_where_nights_are_right_or_wrong_as_a_whole_a_promise_still_holds() -> None:
    """In a tenth more of the nights than the promise allows, all that is reported is another bat."""
    rng, broken = np.random.default_rng(8), 0
    for _ in range(300):
        nights = np.repeat(np.arange(60), rng.integers(1, 30, 60))
        wrong = rng.random(60) < 0.11
        labels = np.where(wrong[nights], 0, 1)
        logits = rng.normal(3, 0.5, len(nights))
        broken += choose_threshold(logits, labels, nights, None, 0.9).promised is not None
    assert broken <= 0.05 * 300, f"{broken} of 300"


def test_a_threshold_does_not_depend_on_the_order_of_clips_or_on_the_names_of_groups() -> None:
    rng = np.random.default_rng(9)
    logits, labels = draw(rng, 600)
    groups, order = rng.integers(0, 200, 600), rng.permutation(600)
    one = choose_threshold(logits, labels, groups, None)
    assert one == choose_threshold(logits[order], labels[order], 1000 - groups[order], None) and one.promised


def test_too_few_for_a_promise_leave_the_best_f1_by_their_probabilities() -> None:
    rng = np.random.default_rng(10)
    logits, labels = draw(rng, 4000, -2.0, 1.0)
    platt = Platt(-2.0, 1.0)
    found = choose_threshold(logits, labels, np.arange(4000) % 25, platt)
    assert found.basis == BEST_F1 and found.promised is None
    scores = sigmoid(logits)
    best = max(f1_score(labels, scores >= t) for t in np.linspace(0.05, 0.99, 95))
    assert f1_score(labels, scores >= found.value) == pytest.approx(best, abs=0.01)


@pytest.mark.parametrize("present", [0, 2, 40])
def test_species_of_one_label_or_of_too_few_groups_get_no_threshold_of_their_own(present: int) -> None:
    logits, labels = np.linspace(-3, 3, 40), (np.arange(40) < present).astype(np.int8)
    groups = np.zeros(40, int) if present == 40 else np.arange(40)
    found = choose_threshold(logits, labels, groups, Platt(0.0, 1.0))
    assert (found.value, found.basis, found.promised) == (0.5, NOTHING, None)


def test_without_clips_there_is_nothing_to_promise() -> None:
    nothing = choose_threshold(np.array([np.nan, 1.0]), np.array([1, -1]), np.array([0, 1]), None)
    assert (nothing.basis, nothing.clips) == (NOTHING, 0)


def test_scores_that_tie_are_above_a_threshold_together() -> None:
    logits, labels = logits_of(np.repeat([0.9, 0.2], [40, 40])), np.repeat([1, 0], [40, 40])
    found = choose_threshold(logits, labels, np.arange(80), None)
    assert found.promised and 0.2 < found.value <= 0.9 and found.value == pytest.approx(0.9, abs=2e-6)
    labels[:10] = 0  # wherever they stand in the table
    assert choose_threshold(logits, labels, np.arange(80), None).promised is None
