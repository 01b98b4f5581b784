"""What a sample tells of all recordings, against scipy and against what happens in many samples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, hypergeom

from batcache.reviewing.bound import most_wrong
from batcache.reviewing.stopping import most_wrong_to_stop


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_bound_is_the_largest_number_with_which_so_few_are_found_in_more_than_5_in_100_samples(
    data: st.DataObject,
) -> None:
    recordings = data.draw(st.integers(1, 3000))
    checked = data.draw(st.integers(0, recordings))
    wrong = data.draw(st.integers(0, min(checked, 30)))
    bound = most_wrong(recordings, checked, wrong)
    assert wrong <= bound <= recordings - (checked - wrong)
    assert hypergeom(recordings, bound, checked).cdf(wrong) > 0.05 - 1e-9
    if bound < recordings - (checked - wrong):
        assert hypergeom(recordings, bound + 1, checked).cdf(wrong) <= 0.05 + 1e-9


def test_of_very_many_recordings_the_bound_is_that_of_clopper_and_pearson() -> None:
    for checked, wrong in ((20, 0), (100, 3), (400, 40)):
        share = most_wrong(1_000_000, checked, wrong) / 1_000_000
        assert share == pytest.approx(beta(wrong + 1, checked - wrong).ppf(0.95), abs=1e-4)  # of 1 in a million each


def test_where_all_were_checked_the_bound_is_what_was_found() -> None:
    assert [most_wrong(50, 50, wrong) for wrong in (0, 7, 50)] == [0, 7, 50]


def ends(recordings: int, wrong: int, error: float, samples: int) -> float:
    """In what share of random orders the sample ends before all are checked."""
    random, limits = np.random.default_rng(1), np.array(most_wrong_to_stop(recordings, error))
    all_of_them = np.arange(recordings) < wrong
    count = 0
    for _ in range(samples):
        found = np.cumsum(random.permutation(all_of_them))[: len(limits) - 1]
        count += bool((found <= limits[1 : len(found) + 1])[: recordings - 1].any())
    return count / samples


@pytest.mark.parametrize(("recordings", "error"), [(100, 0.1), (2000, 0.1), (300, 0.05)])
def test_a_sample_that_is_looked_at_after_every_answer_ends_wrongly_in_at_most_5_of_100_surveys(
    recordings: int, error: float
) -> None:
    """With the plain bound in its place it would be about 20: four standard errors of 2,000 samples are 0.02."""
    assert ends(recordings, int(error * recordings) + 1, error, 2000) < 0.05 + 0.02


@pytest.mark.parametrize("error", [0.1, 0.05])
def test_a_sample_without_a_wrong_one_ends_early(error: float) -> None:
    limits = most_wrong_to_stop(10_000, error)
    assert limits.index(0) < 5 / error, "by the plain bound, which may not be looked at each time, 3 / error"
    assert ends(10_000, 0, error, 10) == 1


def test_a_sample_ends_only_where_the_plain_bound_is_reached_too() -> None:
    for checked, wrong in enumerate(most_wrong_to_stop(500, 0.1)):
        if wrong >= 0:
            assert most_wrong(500, checked, wrong) <= 50


def test_a_survey_of_few_recordings_ends_with_the_last_of_them() -> None:
    limits = most_wrong_to_stop(5, 0.1)
    assert limits[:5] == (-1,) * 5 and limits[5] == 0
