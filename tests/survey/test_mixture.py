"""Shares by maximum likelihood: against worked numbers, a grid, scipy, and what must hold whatever is counted."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import chi2

from batcache.survey.mixture import em_step, fit_shares, likelihood_ratios, log_likelihood, p_value

THREE = np.array([[0.90, 0.03, 0.07], [0.10, 0.80, 0.10], [0.05, 0.02, 0.93]])
"""How often files of A, B and C are identified as these."""
B = 1
Floats = NDArray[np.float64]


def ratio_of(counts: tuple[int, ...] | NDArray[np.int64], confusion: Floats, species: int = B) -> float:
    _, ratios = likelihood_ratios(np.array(counts), confusion[None], np.array([species]))
    return float(ratios[0, 0])


def share_of(counts: tuple[int, ...] | NDArray[np.int64], confusion: Floats) -> Floats:
    shares, _ = likelihood_ratios(np.array(counts), confusion[None], np.zeros(0, np.int64))
    return np.array(shares[0])


def random_problem(seed: int, species: int, files: int = 200) -> tuple[NDArray[np.int64], Floats]:
    """Counts of a night whose shares are drawn, by a confusion that is mostly right."""
    random = np.random.default_rng(seed)
    confusion = 0.6 * np.eye(species) + 0.4 * random.dirichlet(np.full(species, 0.7), species)
    return random.multinomial(files, random.dirichlet(np.full(species, 0.5)) @ confusion).astype(np.int64), confusion


@pytest.mark.parametrize(
    ("counts", "ratio", "of_rounding"),
    [
        ((70, 3, 5), 0.92, 0.005),
        ((70, 6, 5), 0.15, 0.005),
        ((70, 10, 5), 0.0016, 0.00005),
        ((3, 3, 0), 0.002, 0.0005),
        ((700, 30, 50), 0.44, 0.005),
        ((700, 40, 50), 0.0097, 0.00005),
    ],
)
def test_ratios_are_those_worked_out_by_hand(counts: tuple[int, ...], ratio: float, of_rounding: float) -> None:
    assert abs(ratio_of(counts, THREE) - ratio) <= of_rounding


def test_ratio_and_p_value_disagree_on_presence_where_they_were_worked_out_to() -> None:
    assert share_of((70, 3, 5), THREE)[B] == pytest.approx(0.011, abs=0.0006)  # 0.0105
    few, more = ratio_of((70, 3, 5), THREE), ratio_of((70, 6, 5), THREE)
    assert p_value(few) == pytest.approx(0.34, abs=0.005)
    assert p_value(more) == pytest.approx(0.026, abs=0.0005)
    assert p_value(more) < 0.05 < more  # absent by the rule of programs in use, present by the test


@pytest.mark.parametrize("ratio", [1e-300, 1e-9, 0.01, 0.15, 0.92, 0.9999])
def test_the_p_value_is_half_the_tail_of_chi_square(ratio: float) -> None:
    assert p_value(ratio) == pytest.approx(chi2.sf(-2 * np.log(ratio), 1) / 2, rel=1e-9)
    assert (p_value(0.0), p_value(1.0)) == (0.0, 1.0)
    assert p_value(1 - 5e-7) == 1.0, "as far as the maxima are exact"


@settings(deadline=None)  # a slow machine is no broken law
@given(seed=st.integers(0, 10_000), species=st.integers(2, 8))
def test_an_em_step_never_lowers_the_likelihood(seed: int, species: int) -> None:
    counts, confusion = random_problem(seed, species)
    shares = np.random.default_rng(seed + 1).dirichlet(np.ones(species))[None]
    before = log_likelihood(counts[None].astype(float), confusion[None], shares)
    for _ in range(20):
        shares = em_step(counts[None].astype(float), confusion[None], shares)
        assert shares.sum() == pytest.approx(1)
        after = log_likelihood(counts[None].astype(float), confusion[None], shares)
        assert after >= before - 1e-9  # rounding of a sum of logs
        before = after


@pytest.mark.parametrize("counts", [(70, 3, 5), (70, 10, 5), (3, 3, 0), (0, 0, 4), (5, 60, 40), (1, 0, 0)])
def test_no_shares_of_a_grid_are_likelier(counts: tuple[int, ...]) -> None:
    steps = 400
    grid = np.array([(i, j, steps - i - j) for i, j in itertools.product(range(steps + 1), repeat=2) if i + j <= steps])
    files = np.array(counts, float)
    of_grid = log_likelihood(files[None], THREE[None], grid / steps)
    for absent in (None, 0, 1, 2):
        there = np.array([species != absent for species in range(3)])
        shares = fit_shares(files[None], THREE[None], there[None])
        found = float(log_likelihood(files[None], THREE[None], shares)[0])
        best = of_grid[(grid[:, ~there] == 0).all(1)].max()
        assert best - 1e-6 <= found <= best + files.sum() / steps**2 * 30  # the grid misses the maximum by a step
        assert (shares[0, ~there] == 0).all() and shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_scipy_finds_no_likelier_shares_of_twenty_species(seed: int) -> None:
    counts, confusion = random_problem(seed, 20)

    def loss(logits: Floats) -> float:
        shares = np.exp(logits - logits.max())
        return -float(log_likelihood(counts[None].astype(float), confusion[None], (shares / shares.sum())[None])[0])

    theirs = minimize(loss, np.zeros(20), method="L-BFGS-B", options={"maxiter": 5_000, "maxfun": 500_000})
    ours = log_likelihood(counts[None].astype(float), confusion[None], share_of(counts, confusion)[None])[0]
    assert ours >= -theirs.fun - 1e-6


@settings(deadline=None)  # a slow machine is no broken law
@given(seed=st.integers(0, 10_000), times=st.integers(2, 9))
def test_times_as_many_files_raise_the_ratio_to_that_power_and_move_no_share(seed: int, times: int) -> None:
    counts, confusion = random_problem(seed, 4, files=40)
    once, often = ratio_of(counts, confusion), ratio_of(times * counts, confusion)
    assert np.log(max(often, 1e-300)) == pytest.approx(max(times * np.log(max(once, 1e-300)), np.log(1e-300)), abs=1e-5)
    np.testing.assert_allclose(share_of(times * counts, confusion), share_of(counts, confusion), atol=2e-3)


@settings(deadline=None)  # a slow machine is no broken law
@given(seed=st.integers(0, 10_000), order=st.permutations(range(4)))
def test_the_order_of_species_and_of_labels_does_not_matter(seed: int, order: list[int]) -> None:
    counts, confusion = random_problem(seed, 4)
    turned = ratio_of(counts[order], confusion[np.ix_(order, order)], order.index(B))
    assert turned == pytest.approx(ratio_of(counts, confusion), rel=1e-5, abs=1e-12)


def test_a_label_that_tells_nothing_changes_nothing() -> None:
    """Files identified as something that each species is as often identified as."""
    wider = np.hstack([0.7 * THREE, np.full((3, 1), 0.3)])
    assert ratio_of((70, 6, 5, 400), wider) == pytest.approx(ratio_of((70, 6, 5), THREE), rel=1e-5)


def test_labels_that_mean_the_same_may_be_counted_together() -> None:
    halves = np.hstack([THREE[:, :1] * 0.25, THREE[:, :1] * 0.75, THREE[:, 1:]])
    assert ratio_of((30, 40, 6, 5), halves) == pytest.approx(ratio_of((70, 6, 5), THREE), rel=1e-5)


def test_what_only_one_species_can_be_identified_as_proves_it() -> None:
    certain = np.array([[0.9, 0.0, 0.1], [0.1, 0.8, 0.1], [0.1, 0.0, 0.9]])
    assert ratio_of((50, 1, 3), certain) == 0.0
    assert ratio_of((50, 0, 3), certain) == 1.0


def test_a_species_that_is_absent_is_called_present_in_one_night_of_twenty() -> None:
    random = np.random.default_rng(1)
    made_by = np.array([0.6, 0.0, 0.4])
    nights = random.multinomial(300, made_by @ THREE, 2_000)
    _, ratios = likelihood_ratios(nights, THREE[None], np.array([B]))
    called = np.mean([p_value(ratio) < 0.05 for ratio in ratios[:, 0]])
    assert 0.035 < called < 0.065  # three standard errors of 2,000 nights
    assert (ratios < 0.05).mean() < 0.015  # a ratio of 0.05 is a p-value of 0.007


def test_many_files_tell_the_true_shares() -> None:
    made_by = np.array([0.70, 0.05, 0.25])
    files = np.random.default_rng(0).multinomial(200_000, made_by @ THREE)
    np.testing.assert_allclose(share_of(files, THREE), made_by, atol=0.01)


def test_of_one_file_the_p_value_is_too_low() -> None:
    """Without B, A is likeliest to be taken for it, in 0.03 of its files: hence the flag "few files"."""
    assert ratio_of((0, 1, 0), THREE) == pytest.approx(0.03 / 0.80, rel=1e-5)
    assert p_value(ratio_of((0, 1, 0), THREE)) < THREE[0, B] / 3
