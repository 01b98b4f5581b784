"""Sharing units, such as site-nights, among splits: whole, near the shares asked for, with every label on each side.

A search from many seeded beginnings. Each begins with the rarest labels and then takes, over and over, the best of the
moves of one unit and the swaps of two; the assignment of least cost wins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

_BEGINNINGS = ((20, 128), (200, 16))
"""Up to so many units, so many; of few units every choice matters, and costs little. With more, two."""
_ALL_CHANGES = 1500  # up to so many moves and swaps, all are tried; else so many are drawn
_MOST_STEPS = 300
_MOST_FAILURES = 8


@dataclass(frozen=True, eq=False)
class Units:
    """What is to be shared among splits.

    Attributes:
        sizes: how many clips each unit has. Shape: ``[U]``, at least 1.
        counts: how many of them bear each label. Shape: ``[U, K]``.
        weights: how much each label matters. Shape: ``[K]``.
        fixed: the number of the split that a unit must have, -1 where it is free. Shape: ``[U]``.
    """

    sizes: NDArray[np.int64]
    counts: NDArray[np.int64]
    weights: NDArray[np.float64]
    fixed: NDArray[np.int64]


def assign(units: Units, shares: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """The number of each unit's split, decided by seed and the units' order.

    What counts, in this order: no split is empty; the first split has every label; sizes near the shares, weighed
    against labels that a split lacks though there are units enough, and against labels shared unevenly.

    Shape:
        shares: ``[S]``, which add up to 1; returns: ``[U]``
    """
    generator = np.random.default_rng(seed)
    cost = _Cost(units, shares)
    best, least = None, np.inf
    for _ in range(next((many for most, many in _BEGINNINGS if len(units.sizes) <= most), 2)):
        splits = _begin(units, shares, generator)
        reached = _improve(splits, units, cost, len(shares), generator)
        if reached < least:
            best, least = splits, reached
    assert best is not None, "a cost is finite"
    return best


class _Cost:
    """How bad an assignment is, from what each split holds; for many assignments at once."""

    def __init__(self, units: Units, shares: NDArray[np.float64]) -> None:
        there = units.counts.sum(0) > 0
        self.totals, self.shares = np.maximum(units.counts.sum(0), 1), shares
        self.weights = units.weights * there
        self.per_label = self.weights / max(self.weights.sum(), 1)
        self.possible = np.minimum((units.counts > 0).sum(0), len(shares))
        self.clips = units.sizes.sum()

    def __call__(self, sizes: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Shapes: sizes ``[..., S]``, counts ``[..., S, K]``; returns ``[...]``."""
        empty = (sizes == 0).sum(-1)
        lost = (counts[..., 0, :] == 0) @ self.weights
        uneven = (np.abs(sizes / self.clips - self.shares) / self.shares).sum(-1)
        lacking = (self.possible - (counts > 0).sum(-2)) @ self.per_label
        unbalanced = np.abs(counts / self.totals - self.shares[:, None]).sum(-2) @ self.per_label
        whole: NDArray[np.float64] = 1e6 * empty + 1e3 * lost + 10 * uneven + 4 * lacking + unbalanced
        return whole.round(9)  # so that no rounding decides


def _begin(units: Units, shares: NDArray[np.float64], generator: Generator) -> NDArray[np.int64]:
    """Units in random order within those of the same rarest label, each such stretch cut by the shares."""
    totals = np.where(units.counts.sum(0) > 0, units.counts.sum(0), np.inf)
    rarest = np.where(units.counts > 0, totals, np.inf).argmin(1) if units.counts.shape[1] else 0 * units.sizes
    order = np.lexsort((generator.random(len(rarest)), rarest))
    splits = np.empty(len(rarest), np.int64)
    for label in np.unique(rarest):
        stretch = order[rarest[order] == label]
        sizes = units.sizes[stretch]
        middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
        splits[stretch] = np.searchsorted(np.cumsum(shares)[:-1], middles)
    return np.where(units.fixed >= 0, units.fixed, splits)


def _improve(splits: NDArray[np.int64], units: Units, cost: _Cost, n_splits: int, generator: Generator) -> float:
    """Change ``splits`` for the better, in place, until nothing helps; returns its cost."""
    one_hot = np.eye(n_splits, dtype=np.int64)
    sizes = one_hot[splits].T @ units.sizes
    counts = one_hot[splits].T @ units.counts
    least, failures = float(cost(sizes, counts)), 0
    free = np.flatnonzero(units.fixed < 0)
    every = len(free) * (n_splits + (len(free) - 1) / 2) <= _ALL_CHANGES
    for _ in range(_MOST_STEPS if len(free) else 0):
        moved, target, swapped = _changes(splits, free, n_splits, None if every else generator)
        step = one_hot[target] - one_hot[splits[moved]]  # [P, S]
        with_other = (swapped >= 0).astype(np.int64)
        size = units.sizes[moved] - with_other * units.sizes[swapped]
        count = units.counts[moved] - with_other[:, None] * units.counts[swapped]
        costs = cost(sizes + step * size[:, None], counts + step[:, :, None] * count[:, None, :])
        best = int(costs.argmin())
        if costs[best] >= least:
            failures += 1
            if every or failures == _MOST_FAILURES:
                break
            continue
        least, failures = float(costs[best]), 0
        sizes, counts = sizes + step[best] * size[best], counts + step[best][:, None] * count[best]
        if swapped[best] >= 0:
            splits[swapped[best]] = splits[moved[best]]
        splits[moved[best]] = target[best]
    return least


def _changes(
    splits: NDArray[np.int64], free: NDArray[np.int64], n_splits: int, generator: Generator | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Units to move, the split of each afterwards, and the unit that comes back for it, -1 for none: all, or drawn."""
    if generator is None:
        moved, target = (axis.ravel() for axis in np.meshgrid(free, np.arange(n_splits), indexing="ij"))
        one, other = (free[axis] for axis in np.triu_indices(len(free), 1))
    else:
        half = _ALL_CHANGES // 2
        moved, target = generator.choice(free, half), generator.integers(0, n_splits, half)
        one, other = generator.choice(free, half), generator.choice(free, half)
    swapped = np.concatenate([np.full(len(moved), -1), other])
    return np.concatenate([moved, one]), np.concatenate([target, splits[other]]), swapped
