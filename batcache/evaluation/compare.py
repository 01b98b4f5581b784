"""Two models beside each other: what one gains over the other in average precision, and how sure that is.

Both are judged on the same clips, and each draw of whole groups counts for both: what makes a night hard makes it hard
for both, so that their difference is surer than either figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from batcache.errors import RunError, count, list_some
from batcache.evaluation.bootstrap import Interval, count_units, judge_draws, mean_over_species, percentile_interval
from batcache.evaluation.draws.ranking import Floats, Ranking
from batcache.evaluation.draws.units import DRAWS, resampling
from batcache.evaluation.judged import read_judged
from batcache.inference.predictions import Predictions


@dataclass(frozen=True)
class Difference:
    """Average precision of two runs, of one species or averaged; None where it is not defined.

    Attributes:
        a: of the first run.
        b: of the second.
        difference: ``a - b``.
        interval: 95 % of that difference in draws of whole groups; None where there are too few groups, of a species
            also where too few hold it, or too few lack it.
        a_is_better: the share of draws in which the first is better; a draw in which both are alike counts half. None
            as ``interval``.
    """

    a: float | None
    b: float | None
    difference: float | None
    interval: Interval | None
    a_is_better: float | None


@dataclass(frozen=True)
class Comparison:
    """Two runs judged on the same clips.

    Attributes:
        run_a: the first.
        run_b: the second.
        outcome: what was judged, as ``metrics.json`` names it.
        clips: how many there are.
        positives: clips that hold each species, by species.
        known: clips where both runs have a score and the label is known, by species.
        per_species: average precision by species.
        macro: its plain mean over the species that have one.
        of_few_groups: the species in that mean that fewer than ``FEWEST_UNITS`` units hold, or lack; empty where
            ``refusal`` says that there are no intervals at all.
        unit: what was drawn: ``group``, or ``recording`` where no group is known.
        units: how many there are to draw from.
        draws: how often they were drawn.
        refusal: why there are no intervals; None where there are.
    """

    run_a: Path
    run_b: Path
    outcome: str
    clips: int
    positives: dict[str, int]
    known: dict[str, int]
    per_species: dict[str, Difference]
    macro: Difference
    of_few_groups: tuple[str, ...]
    unit: str
    units: int
    draws: int
    refusal: str | None


def compare(run_a: Path, run_b: Path, outcome: str = "test") -> Comparison:
    """Compare what two runs made of the same clips, by their predictions of one outcome: a split, or ``folds``.

    A clip that one of the runs has no score for, as it was not taught the species there, counts for neither.

    Raises:
        RunError: not both have been judged under this name, or not on the same clips, species and labels.
    """
    a, b = (read_judged(run, outcome)[1] for run in (run_a, run_b))
    rows = _matching(_clips(a), _clips(b), "clip", run_a, run_b)
    columns = _matching(_species(a), _species(b), "species column", run_a, run_b)
    scores_b, labels_b = b.scores[rows][:, columns], b.labels[rows][:, columns]
    has_scores = ~np.isnan(a.scores) & ~np.isnan(scores_b)
    if (unlike := np.flatnonzero((has_scores & (a.labels != labels_b)).any(1))).size:
        names = list_some(str(a.filenames[r]) for r in unlike)
        remedy = "Run `batcache eval` again on the older run"
        raise RunError(run_b, f"has other labels than {run_a} in {count(len(unlike), 'clip')}: {names}", remedy)
    labels = np.where(has_scores, a.labels, np.int8(-1))
    drawn = resampling(a if len(a.groups) or not len(b.groups) else replace(a, groups=b.groups[rows]))
    runs = (a.scores, scores_b)
    rankings = [Ranking(scores[:, c], labels[:, c], drawn.unit_of) for scores in runs for c in range(labels.shape[1])]
    shape = len(runs), labels.shape[1], -1
    every_clip_once = np.ones((drawn.units, 1), np.uint8)
    once = np.reshape([ranking.judge(every_clip_once).average_precision for ranking in rankings], shape)[..., 0]
    judged = [] if drawn.refusal else judge_draws(rankings, drawn)
    draws = np.reshape([one.average_precision for one in judged], shape) if judged else np.empty((*once.shape, 0))
    species = _species(a)
    few = [not drawn.refusal and count_units(drawn, labels[:, c])[2] for c in range(len(species))]
    return Comparison(
        run_a,
        run_b,
        outcome,
        clips=len(labels),
        positives=dict(zip(species, (labels == 1).sum(0).tolist(), strict=True)),
        known=dict(zip(species, (labels >= 0).sum(0).tolist(), strict=True)),
        per_species={
            name: _difference(once[:, c], draws[:, c, :0] if few[c] else draws[:, c]) for c, name in enumerate(species)
        },
        macro=_difference(mean_over_species(once.swapaxes(0, 1)), mean_over_species(draws.swapaxes(0, 1))),
        of_few_groups=tuple(name for c, name in enumerate(species) if few[c] and not np.isnan(once[:, c]).any()),
        unit=drawn.unit,
        units=drawn.units,
        draws=0 if drawn.refusal else DRAWS,
        refusal=drawn.refusal,
    )


def _difference(once: Floats, draws: Floats) -> Difference:
    """Shapes: average precision of both ``[2]``, and of each draw ``[2, D]``; NaN where it is not defined."""
    a, b = (None if np.isnan(value) else float(value) for value in once)
    gains = draws[0] - draws[1]
    defined = gains[~np.isnan(gains)]
    better = float(((defined > 0) + 0.5 * (defined == 0)).mean()) if len(defined) else None
    return Difference(a, b, None if a is None or b is None else a - b, percentile_interval(gains), better)


def _matching(there: Sequence[str], here: Sequence[str], what: str, run_a: Path, run_b: Path) -> list[int]:
    """Where the second run has what the first has, in the order of the first.

    Raises:
        RunError: one of them has what the other lacks.
    """
    if unlike := set(there) ^ set(here):
        finding = f"judged on others than {run_a}: {count(len(unlike), what)} in one alone, {list_some(sorted(unlike))}"
        raise RunError(run_b, finding, "Judge both by `batcache eval` on the same CSV, or pass another --split")
    place = {name: i for i, name in enumerate(here)}
    return [place[name] for name in there]


def _clips(predictions: Predictions) -> list[str]:
    """The clips by recording and, of a part of one, start and duration in seconds."""
    spans = zip(predictions.filenames, predictions.start_s, predictions.duration_s, strict=True)
    return [
        str(name) if start == 0 and np.isnan(duration) else f"{name} from {start} s, {duration} s"
        for name, start, duration in spans
    ]


def _species(predictions: Predictions) -> list[str]:
    return [str(name) for name in predictions.species]
