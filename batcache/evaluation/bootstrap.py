"""How sure metrics are: what they would have been, had other site-nights been recorded.

Whole groups are drawn with replacement, as many as there are, and every clip counts as often as its group was drawn
(Efron's bootstrap by clusters: clips of one night are no independent witnesses). Without groups, recordings are drawn.
From the metrics of many draws come 95 % percentile intervals.

With few groups these are too narrow, and lie too high where species are rare: a positive that is drawn twice makes its
own rank look better. For nine species, each in a tenth of the groups of three clips, 95 % intervals held the mean of
samples of that size in 87 % of 150 simulated surveys of 20 groups and in 93 % of those of 40; their middle lay above
the figure by 0.05 and 0.03.

A draw follows the rules of ``compute_metrics``: a species that has no positive in it has no average precision, no
ROC-AUC, no recall and no F1 there, and the draw's averages leave it out.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batcache.evaluation.draws.ranking import Floats, Judged, Ranking
from batcache.evaluation.draws.units import DRAWS, FEW_UNITS, FEWEST_UNITS, Resampling
from batcache.storage.ahead import take_ahead

_CELLS_AT_ONCE = 1 << 18  # clips x draws: arrays of 2 MB, which caches hold
_COMPILED_FROM = 1 << 28  # cells of all species: numpy takes about as long for them as compiling takes
_WEIGHTS_AT_ONCE = 1 << 27  # bytes
_MOST_DRAWS = 512

Interval = tuple[float, float]


@dataclass(frozen=True)
class AverageIntervals:
    """95 % intervals of one way of averaging: lowest and highest; None where nothing defines the value."""

    precision: Interval | None = None
    recall: Interval | None = None
    f1: Interval | None = None


@dataclass(frozen=True)
class SpeciesIntervals:
    """How sure the metrics of a species are.

    Attributes:
        holding: groups, or recordings, with a clip that holds the species.
        lacking: those with a clip that is known to lack it.
        few: either is fewer than ``FEWEST_UNITS``: the metrics mean little, and no interval would tell how little.
        precision: lowest and highest, None where ``few``, or where nothing was drawn.
        recall: the same, as are ``f1``, ``average_precision`` and ``roc_auc``.
    """

    holding: int
    lacking: int
    few: bool
    precision: Interval | None = None
    recall: Interval | None = None
    f1: Interval | None = None
    average_precision: Interval | None = None
    roc_auc: Interval | None = None


@dataclass(frozen=True)
class Intervals:
    """95 % intervals, from ``draws`` draws of whole groups or recordings.

    Attributes:
        unit: ``group``, or ``recording`` where no group is known.
        units: how many there are to draw from.
        few_units: they are fewer than ``FEW_UNITS``: the intervals are far too narrow.
        draws: how often they were drawn.
        macro_average_precision: lowest and highest; None where ``refusal`` says why, or where it is not defined.
        macro_roc_auc: the same.
        macro: of precision, recall and F1, as are ``micro`` and ``weighted``.
        per_species: by name.
        any_species: of whether any species is there; None where that was not judged.
        refusal: why there are no intervals; None where there are.
    """

    unit: str
    units: int
    few_units: bool
    draws: int
    macro_average_precision: Interval | None
    macro_roc_auc: Interval | None
    refusal: str | None
    macro: AverageIntervals = AverageIntervals()
    micro: AverageIntervals = AverageIntervals()
    weighted: AverageIntervals = AverageIntervals()
    per_species: dict[str, SpeciesIntervals] = field(default_factory=dict)
    any_species: SpeciesIntervals | None = None


def bootstrap(
    scores: NDArray[np.floating[Any]],
    labels: NDArray[np.int8],
    species: Sequence[str],
    drawn: Resampling,
    threshold: float = 0.5,
    any_species: tuple[NDArray[np.floating[Any]], NDArray[np.int8]] | None = None,
) -> Intervals:
    """Intervals of every species' metrics, and of their averages.

    Shape:
        - scores: ``[R, C]``, finite where the label is known
        - labels: ``[R, C]``, 1 present, 0 absent, -1 unknown
        - any_species: scores and labels ``[R]`` of whether any species is there, which no average covers
    """
    columns = [(scores[:, c], labels[:, c]) for c in range(len(species))] + ([any_species] if any_species else [])
    sure = [SpeciesIntervals(*count_units(drawn, column)) for _, column in columns]
    draws, averages = 0, {}
    if not drawn.refusal:
        rankings = [Ranking(*column, drawn.unit_of, threshold) for column in columns]
        draws, judged = DRAWS, judge_draws(rankings, drawn)
        sure = [one if one.few else _of_species(one, of) for one, of in zip(sure, judged, strict=True)]
        averages = _of_averages(judged[: len(species)])
    return Intervals(
        drawn.unit,
        drawn.units,
        drawn.units < FEW_UNITS,
        draws,
        averages.pop("macro_average_precision", None),
        averages.pop("macro_roc_auc", None),
        drawn.refusal,
        **averages,
        per_species=dict(zip(species, sure, strict=False)),
        any_species=sure[-1] if any_species else None,
    )


def count_units(drawn: Resampling, labels: NDArray[np.int8]) -> tuple[int, int, bool]:
    """How many units hold a species, how many lack it in some clip, and whether either is too few. Shape: ``[R]``"""
    holding, lacking = (len(np.unique(drawn.unit_of[labels == value])) for value in (1, 0))
    return holding, lacking, min(holding, lacking) < FEWEST_UNITS


def judge_draws(rankings: Sequence[Ranking], drawn: Resampling) -> list[Judged]:
    """Every ranking under all draws, in as many threads as there are processors."""
    clips = max(1, len(drawn.unit_of))
    compiled = clips * DRAWS * len(rankings) >= _COMPILED_FROM
    at_once = min(_WEIGHTS_AT_ONCE // max(1, drawn.units), _MOST_DRAWS) if compiled else _CELLS_AT_ONCE // clips
    with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(os.cpu_count()) as pool:
        blocks = [
            list(pool.map(lambda ranking: ranking.judge(weights, compiled=compiled), rankings))  # noqa: B023
            for weights in take_ahead(ahead, drawn.draw(max(1, at_once)), 1)
        ]
    return [
        Judged(*(np.concatenate([getattr(one, name) for one in of_ranking]) for name in Judged.__annotations__))
        for of_ranking in zip(*blocks, strict=True)
    ]


def _of_species(sure: SpeciesIntervals, judged: Judged) -> SpeciesIntervals:
    figures = (
        *_precision_recall_f1(judged.true, judged.reported, judged.positives, _lacks_absent(judged)),
        *_orders(judged),
    )
    return SpeciesIntervals(sure.holding, sure.lacking, sure.few, *map(percentile_interval, figures))


def _lacks_absent(judged: Judged) -> NDArray[np.bool_]:
    """Where a draw holds clips with the species and none that is known to lack it. Shape: ``[D]``"""
    return (judged.positives > 0) & np.isnan(judged.average_precision)


def _orders(judged: Judged) -> tuple[Floats, Floats]:
    return judged.average_precision, judged.roc_auc


def _of_averages(judged: Sequence[Judged]) -> dict[str, Any]:
    """Intervals of all averages over species, by name."""
    if not judged:
        return {}
    true, reported, positives = (
        np.array([getattr(one, name) for one in judged]) for name in ("true", "reported", "positives")
    )
    without = np.array([_lacks_absent(one) for one in judged])
    figures = np.array(_precision_recall_f1(true, reported, positives, without))  # [3, C, D]
    there = positives > 0
    macro = [mean_over_species(np.where(there, figure, np.nan)) for figure in figures]
    weighted = [mean_over_species(np.where(there, figure, np.nan), positives) for figure in figures]
    micro = _precision_recall_f1(true.sum(0), reported.sum(0), positives.sum(0), np.logical_and.reduce(without, axis=0))
    averages = {
        name: AverageIntervals(*map(percentile_interval, values))
        for name, values in (("macro", macro), ("micro", micro), ("weighted", weighted))
    }
    orders = [mean_over_species(np.array(values)) for values in zip(*map(_orders, judged), strict=True)]
    return averages | {
        name: percentile_interval(values)
        for name, values in zip(("macro_average_precision", "macro_roc_auc"), orders, strict=True)
    }


def _precision_recall_f1(
    true: NDArray[np.int64], reported: NDArray[np.int64], positives: NDArray[np.int64], without: NDArray[np.bool_]
) -> tuple[Floats, Floats, Floats]:
    """As ``compute_metrics`` defines them, NaN where they are not. Shape: ``[..., D]`` each"""
    any_at_all = reported + positives > 0
    precision = np.where(any_at_all & ~without, true / np.maximum(reported, 1), np.nan)
    recall = np.where(positives > 0, true / np.maximum(positives, 1), np.nan)
    return precision, recall, np.where(any_at_all, 2 * true / np.maximum(reported + positives, 1), np.nan)


def mean_over_species(values: Floats, weights: NDArray[np.int64] | None = None) -> Floats:
    """The mean of what is defined, NaN where nothing is. Shape: values, weights ``[C, ...]`` -> ``[...]``"""
    defined = ~np.isnan(values)
    counts = defined if weights is None else defined * weights
    sums, total = (np.where(defined, values, 0) * counts).sum(0), counts.sum(0)
    return np.where(total > 0, sums / np.maximum(total, 1), np.nan)


def percentile_interval(values: Floats) -> Interval | None:
    """Between which the middle 95 % of the draws lie that define a value; None if none does. Shape: ``[D]``"""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)
