"""Which species made the files of a night, by maximum likelihood from how often a model confuses them.

Of N files, ``n_j`` were identified as j, and ``C_ij`` is how often a file of i is identified as j. With ``theta_i`` the
share of the files that i made (Britzke et al. 2002):

    log L(theta) = sum_j n_j log(sum_i theta_i C_ij),   theta_i >= 0,  sum_i theta_i = 1

It is concave. The EM step ``theta_i <- theta_i D_i`` with ``D_i = (1/N) sum_j n_j C_ij / sum_l theta_l C_lj`` never
lowers it, and at any theta the maximum is higher by at most ``N (max_i D_i - 1)``, by which we know when to stop.

All functions take P problems at once.
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_PRECISION = 1e-6
"""Of log L: by so much a maximum that is returned may be too low."""
_AS_LIKELY = 1 - 1e-5
"""A ratio above it is 1 to the precision of the two maxima."""
_MOST_STEPS = 5_000
_NEAR = 0.95
"""A long step goes so far on the way to where the first share becomes 0."""
_REVIVE = 1e-3
"""A share that a long step would make negative falls to this part of what two short ones make of it, not to zero:
EM never raises a zero."""


def log_likelihood(counts: Array, confusion: Array, shares: Array) -> Array:
    """``log L``, minus infinity where what was counted cannot come about. Shape: ``[P]``.

    Shape:
        counts: ``[P, J]``, confusion: ``[P, I, J]``, shares: ``[P, I]``
    """
    expected = _expect(confusion, shares)
    with np.errstate(divide="ignore"):
        logs: Array = np.where(counts > 0, counts * np.log(np.where(counts > 0, expected, 1)), 0).sum(-1)
    return logs


def em_step(counts: Array, confusion: Array, shares: Array) -> Array:
    """Shares that are at least as likely, and all that EM does. Shapes as of ``log_likelihood``; returns ``[P, I]``."""
    return shares * _gradient(counts, confusion, shares)


def fit_shares(counts: Array, confusion: Array, may_be_there: NDArray[np.bool_]) -> Array:
    """The most likely shares of the species that may be there; the others have 0. Shape: ``[P, I]``.

    EM steps, between them long ones along the path of two (SQUAREM, Varadhan & Roland 2008) where these gain.

    Shape:
        counts: ``[P, J]``, each with a file at least; confusion: ``[P, I, J]``; may_be_there: ``[P, I]``, one at least
    """
    fitted: Array = may_be_there / may_be_there.sum(-1, keepdims=True)
    left, shares = np.arange(len(fitted)), fitted
    for _ in range(_MOST_STEPS):
        gradient = _gradient(counts, confusion, shares)
        ascent = np.where(may_be_there, gradient, 0).max(-1) - 1
        goes_on = counts.sum(-1) * ascent > _PRECISION
        if not goes_on.all():
            fitted[left] = shares
            left, counts, confusion, may_be_there, shares, gradient = (
                array[goes_on] for array in (left, counts, confusion, may_be_there, shares, gradient)
            )
        if not len(left):
            return fitted
        shares = _long_step(counts, confusion, shares, shares * gradient)
    fitted[left] = shares
    return fitted


def likelihood_ratios(counts: NDArray[np.int64], confusion: Array, tested: NDArray[np.int64]) -> tuple[Array, Array]:
    """The most likely shares, and for each tested species how much less likely all is without it.

    Args:
        counts: files by what they were identified as, of one night or of several. Shape: ``[J]`` or ``[P, J]``
        confusion: one, or several. Shape: ``[P, I, J]`` or ``[1, I, J]``
        tested: which species to leave out in turn. Shape: ``[T]``

    Returns:
        Shares ``[P, I]``, and ratios of the likelihood with a share of 0 to the greatest, 0 to 1, ``[P, T]``.
    """
    problems, species = max(len(np.atleast_2d(counts)), len(confusion)), confusion.shape[1]
    there = np.ones((1 + len(tested), species), bool)
    there[1 + np.arange(len(tested)), tested] = False
    each = len(there)
    files = np.repeat(np.broadcast_to(counts.astype(float), (problems, confusion.shape[2])), each, axis=0)
    matrices = np.repeat(np.broadcast_to(confusion, (problems, *confusion.shape[1:])), each, axis=0)
    shares = fit_shares(files, matrices, np.tile(there, (problems, 1)))
    likelihood = log_likelihood(files, matrices, shares).reshape(problems, each)
    return shares.reshape(problems, each, species)[:, 0], np.exp(np.minimum(likelihood[:, 1:] - likelihood[:, :1], 0))


def p_value(ratio: float) -> float:
    """How often chance alone gives a likelihood ratio so low where the species is absent, with many files.

    A share of 0 lies on the boundary: half of the time the ratio is 1, else -2 log of it is of chi-square with one
    degree of freedom (Self & Liang 1987), whose upper tail at x is ``erfc(sqrt(x / 2))``. With few files this is too
    low: of one file, chance is how often the species that is likeliest to be taken for this one is, about the ratio.

    >>> round(p_value(0.15), 3), p_value(1.0)
    (0.026, 1.0)
    """
    if ratio > _AS_LIKELY:
        return 1.0
    return 0.0 if ratio <= 0 else 0.5 * math.erfc(math.sqrt(-math.log(ratio)))


def _expect(confusion: Array, shares: Array) -> Array:
    expected: Array = np.matmul(shares[:, None], confusion)[:, 0]
    return expected


def _gradient(counts: Array, confusion: Array, shares: Array) -> Array:
    """``D`` of the module's docstring. Shape: ``[P, I]``."""
    expected = _expect(confusion, shares)
    weight = np.divide(counts, expected, out=np.zeros_like(expected), where=(counts > 0) & (expected > 0))
    gradient: Array = np.matmul(confusion, weight[..., None])[..., 0] / counts.sum(-1, keepdims=True)
    return gradient


def _long_step(counts: Array, confusion: Array, shares: Array, once: Array) -> Array:
    """Two EM steps, of which ``once`` is the first; or long ones in their direction, where these are as likely."""
    best = twice = em_step(counts, confusion, once)
    first, bend = once - shares, twice - 2 * once + shares
    bent = np.sqrt((bend**2).sum(-1, keepdims=True))
    length = np.sqrt((first**2).sum(-1, keepdims=True)) / np.where(bent > 0, bent, 1)
    furthest = np.divide(_NEAR * shares, -2 * first, out=np.full_like(shares, np.inf), where=first < 0)
    for long in (np.clip(length, 1, np.maximum(furthest.min(-1, keepdims=True), 1)), np.maximum(length, 1)):
        reached = np.maximum(shares + 2 * long * first + long**2 * bend, _REVIVE * twice)
        reached = em_step(counts, confusion, reached / reached.sum(-1, keepdims=True))
        gains = log_likelihood(counts, confusion, reached) >= log_likelihood(counts, confusion, best)
        best = np.where(gains[:, None], reached, best)
    return best
