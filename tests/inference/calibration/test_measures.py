"""The measures are scikit-learn's where it has them; a prevalence that shifted is found again."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as reference_log_loss

from batcache.inference.calibration.calibrate import calibrate, cross_calibrate
from batcache.inference.calibration.measures import brier_score, calibration_error, log_loss, measure, reliability
from batcache.inference.calibration.platt import sigmoid
from batcache.inference.calibration.prevalence import estimate_prevalence, shift
from tests.inference.calibration.simulated import draw


def test_the_measures_are_those_of_scikit_learn() -> None:
    logits, labels = draw(np.random.default_rng(0), 3000, 0.5, 0.5)
    p = sigmoid(logits)
    assert brier_score(p, labels) == pytest.approx(brier_score_loss(labels, p))
    assert log_loss(p, labels) == pytest.approx(reference_log_loss(labels, p), rel=1e-5)
    curve = reliability(p, labels)
    shares, means = calibration_curve(labels, p, n_bins=10)
    np.testing.assert_allclose([one.share for one in curve], shares)
    np.testing.assert_allclose([one.mean for one in curve], means)
    assert sum(one.clips for one in curve) == 3000


def test_the_calibration_error_is_the_distance_between_what_is_said_and_what_comes_true() -> None:
    p, labels = np.repeat([0.15, 0.85], [4, 2]), np.array([1, 0, 0, 0, 1, 1])
    assert calibration_error(reliability(p, labels)) == pytest.approx(4 / 6 * 0.1 + 2 / 6 * 0.15)
    assert measure(np.full((2, 3), np.nan), np.ones((2, 3))).calibration_error is None


@pytest.mark.parametrize("now", [0.02, 0.1, 0.5])
def test_a_shifted_prevalence_is_found_without_labels(now: float) -> None:
    rng, then = np.random.default_rng(1), 0.3

    def clips(share: float, count: int) -> tuple[np.ndarray, np.ndarray]:
        there = rng.random(count) < share
        x = rng.normal(0, 1, count) + 2.5 * there
        return there, sigmoid(2.5 * x - 2.5**2 / 2 + np.log(then / (1 - then)))  # Bayes' rule at ``then``

    _, before = clips(then, 20_000)
    there, p = clips(now, 20_000)
    assert estimate_prevalence(before, then) == pytest.approx(then, abs=0.01)
    found = estimate_prevalence(p, then)
    assert found == pytest.approx(now, abs=0.01)
    after = shift(p, then, found)
    errors = [calibration_error(reliability(each, there)) for each in (p, after)]
    assert errors[1] is not None and errors[0] is not None and errors[1] < 0.01
    if now != then:
        assert errors[1] < errors[0]


def test_the_same_prevalence_changes_no_probability_and_a_shift_goes_back() -> None:
    p = np.array([0.0, 0.2, 0.9, 1.0, np.nan])
    np.testing.assert_allclose(shift(p, 0.3, 0.3), p)
    np.testing.assert_allclose(shift(shift(p, 0.3, 0.01), 0.01, 0.3), p)
    assert shift(np.array(0.9), 0.1, 0.01) == pytest.approx(0.45, abs=0.005)


def test_a_clips_own_label_has_no_part_in_its_cross_calibrated_probability() -> None:
    rng = np.random.default_rng(2)
    logits, labels = draw(rng, 60)
    groups = np.repeat(np.arange(20), 3)
    before = cross_calibrate(logits[:, None], labels[:, None], groups)
    for group in (0, 7):
        other = np.where(groups == group, 1 - labels, labels)
        after = cross_calibrate(logits[:, None], other[:, None], groups)
        np.testing.assert_array_equal(after[groups == group], before[groups == group])
        assert (after != before).any()


def test_species_are_calibrated_each_on_its_own_clips() -> None:
    rng = np.random.default_rng(3)
    low, high = draw(rng, 3000, -2.0, 0.7), draw(rng, 3000, 1.0, 0.7)
    logits = np.stack([low[0], high[0], np.full(3000, np.nan)], 1)
    labels = np.stack([low[1], high[1], np.zeros(3000, np.int8)], 1)
    found = calibrate(["Low", "High", "Sweep"], logits, labels, np.arange(3000), "folds")
    assert found.platts[0] is not None and found.platts[1] is not None and found.platts[2] is None
    assert found.platts[0].intercept == pytest.approx(-2, abs=0.3) and found.platts[1].intercept == pytest.approx(
        1, abs=0.2
    )
    assert found.common_slope == pytest.approx(0.7, abs=0.05)
    assert found.prevalence[0] == pytest.approx(low[1].mean()) and found.prevalence[2] is None
    p = found.probabilities(logits)
    assert p.shape == logits.shape and np.isnan(p[:, 2]).all()
    np.testing.assert_array_equal(p[:, 1], found.platts[1].probabilities(logits[:, 1]))
