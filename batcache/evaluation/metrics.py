"""Scores against labels: how well each species is recognised, and what the averages over species cover.

Every metric of a species is taken over its **known** clips alone: a label of -1 says that nobody knows, and such a
cell is neither a hit nor a miss of anything. Where a metric is undefined it is None, never a number that looks
like a result; where scikit-learn defines it, the two agree (``zero_division=0``).

A species without a known positive says nothing of recall: there was no such call to find. scikit-learn counts it as
0 in the macro average, so that a survey would look worse for every species on the list that did not visit the site;
here macro and weighted average over the species that were there, and name the others in ``left_out``. What the
model falsely reports of an absent species is not lost: it lowers the micro precision, and shows as a precision of
0.0 in that species' own row.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batcache.evaluation.bootstrap import Intervals
from batcache.evaluation.draws.ranking import Ranking
from batcache.evaluation.localise import Localisation
from batcache.training.ranking import checked_scores, mean_defined


@dataclass(frozen=True)
class SpeciesMetrics:
    """One species over the clips where its label is known. None: undefined here."""

    species: str
    known: int  # clips with a known label
    support: int  # of them positive
    precision: float | None
    recall: float | None
    f1: float | None
    roc_auc: float | None
    average_precision: float | None


@dataclass(frozen=True)
class Average:
    """One way of averaging precision, recall and F1. None: it covers nothing that defines the value."""

    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Metrics:
    """All numbers of one evaluation, at one level.

    Attributes:
        clips: how many were judged; at other levels recordings, site-nights or half seconds.
        threshold: of the scores, at and above which a species counts as reported.
        per_species: a row each; the averages over them follow, as ``compute_metrics`` defines them.
        left_out: for each average, the species it does not cover.
        any_species: whether any of the species is there, by the highest score of all; None where it was not judged.
        intervals: how sure the figures are; None where nothing was drawn.
        evidence: how often it lies on a call; None where no clip has a known call of a species that is present in it.
        levels: the same of other things than clips, by name; theirs have none themselves.
    """

    clips: int
    threshold: float
    per_species: tuple[SpeciesMetrics, ...]
    macro: Average
    micro: Average
    weighted: Average
    macro_roc_auc: float | None
    macro_average_precision: float | None
    left_out: dict[str, tuple[str, ...]]
    any_species: SpeciesMetrics | None = None
    intervals: Intervals | None = None
    evidence: Localisation | None = None
    levels: dict[str, "Metrics"] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """Dicts, lists, strings and finite numbers, as JSON holds them; what is undefined stays None."""
        return asdict(self) | {
            "per_species": [asdict(row) for row in self.per_species],
            "left_out": {average: list(names) for average, names in self.left_out.items()},
            "levels": {name: _without(level.to_plain(), "evidence", "levels") for name, level in self.levels.items()},
        }


def _without(plain: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in plain.items() if key not in keys}


def compute_metrics(
    scores: NDArray[np.floating[Any]],
    labels: NDArray[np.int8],
    species: Sequence[str],
    threshold: float = 0.5,
) -> Metrics:
    """Judge the scores of R clips for C species by what is known of them.

    A species is predicted in a clip where ``score >= threshold``, compared in float64. Then, over known cells:

    - *Precision* is 0 where nothing was predicted though the species was there (it was missed, not unjudged). For
      a species without positives it is 0 if anything was predicted, and None otherwise. It is None where no clip known
      to lack the species is judged: no report of it could have been wrong.
    - *Recall* is None without positives. *F1* is ``2 tp / (predicted + support)``, None where both are 0.
    - *ROC-AUC* and *average precision* need both labels, else None: they judge an order between positives and
      negatives. (scikit-learn gives an average precision of 1 to positives alone, whatever the scores.)
    - *macro*: the plain mean over species with at least one known positive, where the value is defined. A rare bat
      counts as much as a common one; an absent one does not count, see the module's docstring.
    - *micro*: every known cell of every species in one pool, then the rules above. Common species rule it, and
      false alarms of absent species count. `left_out` names the species without any known label.
    - *weighted*: the mean over the same species as macro, weighed by support; its recall is micro's.
    - *macro_roc_auc*, *macro_average_precision*: the plain mean over species where they are defined.
    - A species without scores, NaN throughout, was not taught: its values are None, and no average covers it.

    Shape:
        - scores: ``[R, C]``, finite, also where the label is unknown; or NaN in a whole column
        - labels: ``[R, C]``, 1 present, 0 absent, -1 unknown
        - species: C names

    >>> scores = np.array([[0.9, 0.2], [0.4, 0.7], [0.6, 0.1], [0.3, 0.2]])
    >>> labels = np.array([[1, 0], [1, 0], [-1, 0], [0, 0]], dtype=np.int8)
    >>> metrics = compute_metrics(scores, labels, ["Nyctalus noctula", "Plecotus auritus"])
    >>> metrics.macro
    Average(precision=1.0, recall=0.5, f1=0.6666666666666666)
    >>> metrics.micro
    Average(precision=0.5, recall=0.5, f1=0.5)
    >>> metrics.left_out["macro"]
    ('Plecotus auritus',)
    """
    taught = ~np.isnan(scores).all(axis=0)
    known, support = ((labels >= 0).sum(axis=0).tolist(), (labels == 1).sum(axis=0).tolist())
    labels = np.where(taught, labels, np.int8(-1))
    scores = checked_scores(np.where(taught, scores, 0), labels)
    assert len(species) == labels.shape[1], f"{len(species)} names for {labels.shape[1]} columns"
    assert np.isfinite(threshold), f"threshold {threshold}"
    true_positives = ((scores >= threshold) & (labels == 1)).sum(axis=0).tolist()
    predicted = ((scores >= threshold) & (labels >= 0)).sum(axis=0).tolist()
    judged, absent = ((labels == label).sum(axis=0).tolist() for label in (1, 0))
    per_species = tuple(
        SpeciesMetrics(
            name,
            known[c],
            support[c],
            *_precision_recall_f1(true_positives[c], predicted[c], judged[c], absent[c]),
            *_orders(scores[:, c], labels[:, c]),
        )
        for c, name in enumerate(species)
    )
    return Metrics(
        clips=len(scores),
        threshold=float(threshold),
        per_species=per_species,
        macro=_average(per_species, [int(positives > 0) for positives in judged]),
        micro=Average(*_precision_recall_f1(sum(true_positives), sum(predicted), sum(judged), sum(absent))),
        weighted=_average(per_species, judged),
        macro_roc_auc=mean_defined([row.roc_auc for row in per_species]),
        macro_average_precision=mean_defined([row.average_precision for row in per_species]),
        left_out=_left_out(per_species, taught.tolist()),
    )


def _precision_recall_f1(
    true_positives: int, predicted: int, support: int, absent: int
) -> tuple[float | None, float | None, float | None]:
    """Precision, recall and F1 from counts over known cells; `compute_metrics` states the undefined cases."""
    if predicted + support == 0:
        return None, None, None
    precision = (true_positives / predicted if predicted else 0.0) if absent else None
    recall = true_positives / support if support else None
    return precision, recall, 2 * true_positives / (predicted + support)


def _orders(scores: NDArray[np.float64], labels: NDArray[np.int8]) -> tuple[float | None, float | None]:
    """ROC-AUC and average precision of one species, scores and labels ``[R]``; None unless both labels occur."""
    once = Ranking(scores, labels, np.zeros(len(labels), np.intp)).judge(np.ones((1, 1), np.uint8))
    values = float(once.roc_auc[0]), float(once.average_precision[0])
    return (None, None) if np.isnan(values[0]) else values


def _average(per_species: Sequence[SpeciesMetrics], weights: Sequence[int]) -> Average:
    """Precision, recall and F1 averaged over species with these weights."""
    return Average(
        precision=mean_defined([row.precision for row in per_species], weights),
        recall=mean_defined([row.recall for row in per_species], weights),
        f1=mean_defined([row.f1 for row in per_species], weights),
    )


def _left_out(per_species: Sequence[SpeciesMetrics], taught: Sequence[bool]) -> dict[str, tuple[str, ...]]:
    """For each average, the species it does not cover, in their order."""
    rows = list(zip(per_species, taught, strict=True))
    without_positive = tuple(row.species for row, has_scores in rows if row.support == 0 or not has_scores)
    return {
        "macro": without_positive,
        "micro": tuple(row.species for row, has_scores in rows if row.known == 0 or not has_scores),
        "weighted": without_positive,
        "macro_roc_auc": tuple(row.species for row in per_species if row.roc_auc is None),
        "macro_average_precision": tuple(row.species for row in per_species if row.average_precision is None),
    }
