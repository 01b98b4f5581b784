"""Scores become probabilities by the line that logistic regression draws, and few clips lean on the other species."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from batcache.inference.calibration.measures import calibration_error, reliability
from batcache.inference.calibration.platt import MOST, fit_common_slope, fit_platt, logits_of, sigmoid
from tests.inference.calibration.simulated import draw


@pytest.mark.parametrize(("intercept", "slope"), [(0.0, 1.0), (-2.0, 0.4), (1.5, 2.0)])
def test_with_many_clips_it_is_logistic_regression(intercept: float, slope: float) -> None:
    logits, labels = draw(np.random.default_rng(0), 20_000, intercept, slope)
    fitted = fit_platt(logits, labels)
    reference = LogisticRegression(C=np.inf).fit(logits[:, None], labels)
    assert fitted is not None
    assert fitted.slope == pytest.approx(reference.coef_[0, 0], rel=4e-3), "the ridge is worth a few clips"
    assert fitted.intercept == pytest.approx(reference.intercept_[0], abs=8e-3)


def test_a_model_that_is_well_calibrated_stays_as_it_is() -> None:
    logits, labels = draw(np.random.default_rng(1), 20_000)
    fitted = fit_platt(logits, labels)
    assert fitted is not None
    assert (fitted.intercept, fitted.slope) == pytest.approx((0, 1), abs=0.06), "2 standard errors of such a draw"
    assert np.abs(fitted.probabilities(logits) - sigmoid(logits)).max() < 0.02


def test_a_model_that_is_too_sure_is_not_afterwards() -> None:
    rng = np.random.default_rng(2)
    (logits, labels), (others, theirs) = draw(rng, 3000, -1.0, 0.4), draw(rng, 3000, -1.0, 0.4)
    fitted = fit_platt(logits, labels)
    assert fitted is not None
    before, after = (calibration_error(reliability(p, theirs)) for p in (sigmoid(others), fitted.probabilities(others)))
    assert before is not None and after is not None
    assert before > 0.1 and after < 0.03


def test_few_clips_take_the_slope_of_the_other_species_and_many_their_own() -> None:
    rng = np.random.default_rng(3)
    others = [draw(rng, 2000, -1.0, 0.3) for _ in range(4)]
    common = fit_common_slope(others)
    assert common == pytest.approx(0.3, abs=0.03)
    apart = np.array([-6.0, -5.0, -4.0, 4.0]), np.array([0, 0, 0, 1])
    few = fit_platt(*apart, common)
    assert few is not None and 0.2 < few.slope < 0.6, "separated: alone it would be without end"
    many = fit_platt(*draw(rng, 20_000, 0.0, 1.5), common)
    assert many is not None and many.slope == pytest.approx(1.5, abs=0.06)


def test_species_with_little_to_tell_do_not_move_the_common_slope() -> None:
    rng = np.random.default_rng(4)
    told = [draw(rng, 3000, -1.0, 0.5) for _ in range(3)]
    silent = [(np.array([3.0, 4.0]), np.array([1, 1])), (np.array([3.0, np.nan]), np.array([-1, 1]))]
    assert fit_common_slope([*told, *silent]) == pytest.approx(fit_common_slope(told))
    assert fit_common_slope(silent) == 1.0


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0, 0], [-1, -1, -1], [1, -1, 1]])
def test_without_both_labels_there_is_no_calibration(labels: list[int]) -> None:
    assert fit_platt(np.array([1.0, 2.0, 3.0]), np.array(labels)) is None


def test_scores_that_fall_where_the_species_is_there_are_not_calibrated() -> None:
    logits, labels = draw(np.random.default_rng(5), 2000, 0.0, -1.0)
    assert fit_platt(logits, labels) is None


def test_unknown_labels_and_missing_scores_change_nothing() -> None:
    logits, labels = draw(np.random.default_rng(6), 500)
    more = np.concatenate([logits, [9.0, -9.0, np.nan]]), np.concatenate([labels, [-1, -1, 1]])
    assert fit_platt(*more) == fit_platt(logits, labels)


@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.integers(0, 1)), min_size=2, max_size=30))
def test_probabilities_of_any_clips_are_finite_and_rise_with_scores(clips: list[tuple[float, int]]) -> None:
    fitted = fit_platt(np.array([x for x, _ in clips]), np.array([y for _, y in clips]))
    if fitted is not None:
        p = fitted.probabilities(np.linspace(-20, 20, 41))
        assert np.isfinite(p).all() and (np.diff(p) >= 0).all() and p.min() >= 0 and p.max() <= 1


def test_scores_and_logits_are_each_others_inverse_as_far_as_scores_reach() -> None:
    logits = np.linspace(-12, 12, 25)
    np.testing.assert_allclose(logits_of(sigmoid(logits)), logits, atol=1e-9)
    assert logits_of(np.array([0.0, 1.0], np.float32)).tolist() == [-MOST, MOST]
    assert np.isnan(logits_of(np.array([np.nan]))).all()
