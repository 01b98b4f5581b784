"""What a report says in numbers, as plain values that a page can show and a browser can count with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batcache.errors import count
from batcache.inference.predictions import Predictions

STEPS = 100
"""The page's thresholds are 0/100, 1/100, ... 100/100."""
FEW = 5
"""A species in fewer clips than these has numbers that mean little."""


@dataclass(frozen=True)
class Counts:
    """What is counted at each threshold of one species, or of all species in one pool.

    A score that equals a threshold is above it, as in ``compute_metrics``.

    Attributes:
        name: the species; "" for all of them.
        present: cells (a clip and a species) that are known to hold the species.
        true: of these, how many score at least the threshold. Length: ``STEPS + 1``
        reported: of all known cells, how many do.
        to_check: recordings in which any clip does, also where nothing is known: what a person would look through.
    """

    name: str
    present: int
    true: list[int]
    reported: list[int]
    to_check: list[int]

    def at(self, step: int) -> tuple[float | None, float | None]:
        """Precision and recall at a threshold. None: nothing is reported, or nothing is there."""
        true, reported = self.true[step], self.reported[step]
        return (true / reported if reported else None), (true / self.present if self.present else None)


@dataclass(frozen=True)
class Taken:
    """Which species are taken for which at one threshold.

    A row is a species that is there, a column a species that is reported. A cell counts clips that are known to hold
    the row's species and known to lack the column's, and tells in what share of these the column's is reported all the
    same; on the diagonal, it is the share of the row's clips in which the species itself is found. A clip of several
    species counts in the row of each, so that rows do not add up to 1. ``silent`` is the share of the row's clips in
    which no species at all is reported.

    Shape: shares and clips ``[rows, columns]``; a share is None where no clip counts.
    """

    threshold: float
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    clips_of_row: list[int]
    shares: list[list[float | None]]
    clips: list[list[int]]
    silent: list[float]
    clips_of_several: int


def count_at_thresholds(predictions: Predictions) -> list[Counts]:
    """The counts of all species in one pool, and then of each that the model was taught."""
    scores, labels = predictions.scores.astype(np.float64), predictions.labels
    scored = ~np.isnan(scores)
    recordings, recording_of = np.unique(predictions.filenames, return_inverse=True)
    each = []
    for c in np.flatnonzero(scored.any(0)):
        known, there = scored[:, c] & (labels[:, c] >= 0), scored[:, c] & (labels[:, c] == 1)
        highest = _highest(scores[:, c], recording_of, len(recordings))
        true, reported = _count_above(scores[there, c]), _count_above(scores[known, c])
        each.append(Counts(str(predictions.species[c]), int(there.sum()), true, reported, _count_above(highest)))
    any_species = np.where(scored, scores, -1).max(1, initial=-1)
    pool = Counts(
        "",
        sum(one.present for one in each),
        _add([one.true for one in each]),
        _add([one.reported for one in each]),
        _count_above(_highest(any_species, recording_of, len(recordings))),
    )
    return [pool, *each]


def _highest(scores: NDArray[np.float64], recording_of: NDArray[np.intp], recordings: int) -> NDArray[np.float64]:
    """The highest score of each recording's clips, -1 where none has one. Shape: ``[R]`` -> ``[recordings]``"""
    highest = np.full(recordings, -1.0)
    np.maximum.at(highest, recording_of, np.where(np.isnan(scores), -1, scores))
    return highest


def _count_above(scores: NDArray[np.float64]) -> list[int]:
    """How many scores reach each threshold."""
    thresholds = np.arange(STEPS + 1) / STEPS
    reached = np.searchsorted(thresholds, scores, side="right")  # of so many thresholds, from the lowest
    counts = np.bincount(reached, minlength=STEPS + 2)
    above: list[int] = counts[::-1].cumsum()[::-1][1:].tolist()
    return above


def _add(columns: Sequence[list[int]]) -> list[int]:
    """The counts of all species at each threshold together."""
    return [sum(at) for at in zip([0] * (STEPS + 1), *columns, strict=True)]


def find_taken(predictions: Predictions, threshold: float) -> Taken:
    """Which species are taken for which, of those that are in any clip or reported in any."""
    scores, labels = predictions.scores.astype(np.float64), predictions.labels
    scored = ~np.isnan(scores)
    there, absent = (labels == 1) & scored, (labels == 0) & scored
    reported = np.where(scored, scores, -1) >= threshold
    rows = np.flatnonzero(there.any(0))
    columns = np.flatnonzero(there.any(0) | (reported & absent).any(0))
    counted = there[:, rows].T.astype(np.int64) @ absent[:, columns].astype(np.int64)
    taken = there[:, rows].T.astype(np.int64) @ (absent & reported)[:, columns].astype(np.int64)
    found, is_silent = (there & reported).sum(0), np.logical_not(reported.any(axis=1))
    own = rows[:, None] == columns
    counted[own], taken[own] = there.sum(0)[rows], found[rows]
    shares = [
        [hits / clips if clips else None for hits, clips in zip(*pair, strict=True)]
        for pair in zip(taken.tolist(), counted.tolist(), strict=True)
    ]
    names = [str(name) for name in predictions.species]
    return Taken(
        threshold,
        tuple(names[c] for c in rows),
        tuple(names[c] for c in columns),
        there[:, rows].sum(0).tolist(),
        shares,
        counted.tolist(),
        [float(is_silent[there[:, row]].mean()) for row in rows],
        int((there.sum(1) > 1).sum()),
    )


def describe_judged(predictions: Predictions) -> dict[str, str]:
    """What was judged, as facts in words: clips, groups, labels."""
    labels = predictions.labels
    seconds = predictions.evidence_end_s[predictions.offsets[1:] - 1] - predictions.start_s
    groups = np.unique(predictions.groups[predictions.groups != ""])
    several, bare = int(((labels == 1).sum(1) > 1).sum()), int((labels == 0).all(1).sum())
    unknown, recordings = int((labels < 0).sum()), len(np.unique(predictions.filenames))
    return {
        "clips": f"{len(labels):,} of {count(recordings, 'recording')}, {_last(seconds.sum())}",
        "groups": f"{len(groups):,}" if len(groups) else "none is known: each recording counts for itself",
        "labels": f"{int((labels == 1).sum()):,} present, {int((labels == 0).sum()):,} absent, {unknown:,} unknown, "
        f"of {count(labels.size, 'cell')}: a clip and a species",
        "to a clip": f"several species are present in {several:,}, none at all in {bare:,}",
    }


def _last(seconds: float) -> str:
    """A duration in the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def headlines(outcome: Mapping[str, Any]) -> list[tuple[str, float | None, tuple[float, float] | None]]:
    """The averages that a reader looks for first, each with its interval where there is one."""
    sure = outcome.get("intervals") or {}
    macro, micro = (sure.get(name) or {} for name in ("macro", "micro"))
    return [
        ("macro AP", outcome["macro_average_precision"], sure.get("macro_average_precision")),
        ("macro ROC-AUC", outcome["macro_roc_auc"], sure.get("macro_roc_auc")),
        ("macro F1", outcome["macro"]["f1"], macro.get("f1")),
        ("precision, all cells", outcome["micro"]["precision"], micro.get("precision")),
        ("recall, all cells", outcome["micro"]["recall"], micro.get("recall")),
    ]
