"""How well groups of species are recognised: genera and complexes, by the highest score of their members."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from batcache.evaluation.metrics import compute_metrics
from batcache.inference.groups import SpeciesGroup, find_groups, group_labels, group_scores
from batcache.inference.predictions import Predictions


@dataclass(frozen=True)
class GroupMetrics:
    """One group over the clips where it is known whether a member is there. None: undefined here.

    ``members_average_precision`` is the mean of its members' own, of those that have one.
    """

    group: str
    members: tuple[str, ...]
    known: int
    support: int
    average_precision: float | None
    roc_auc: float | None
    members_average_precision: float | None


def find_scored_groups(predictions: Predictions, named: Mapping[str, Sequence[str]]) -> tuple[SpeciesGroup, ...]:
    """The groups of the species that have a score in some clip; ``named`` as in ``find_groups``."""
    scored = [not np.isnan(column).all() for column in predictions.scores.T]
    return find_groups(predictions.species.tolist(), scored, named)


def judge_groups(predictions: Predictions, groups: Sequence[SpeciesGroup]) -> tuple[GroupMetrics, ...]:
    """Judge groups; a clip counts where every member has a score and the labels tell whether one is there."""
    names = [str(name) for name in predictions.species]
    scores, labels = group_scores(predictions.scores, groups), group_labels(predictions.labels, groups)
    missing = np.isnan(scores)
    of_groups = compute_metrics(
        np.where(missing, 0, scores), np.where(missing, np.int8(-1), labels), [g.name for g in groups]
    )
    single = np.isnan(predictions.scores)
    of_species = compute_metrics(
        np.where(single, 0, predictions.scores), np.where(single, np.int8(-1), predictions.labels), names
    )
    judged = []
    for group, row in zip(groups, of_groups.per_species, strict=True):
        each = [of_species.per_species[i].average_precision for i in group.members]
        defined = [value for value in each if value is not None]
        mean = float(np.mean(defined)) if defined else None
        members = tuple(names[i] for i in group.members)
        judged.append(
            GroupMetrics(group.name, members, row.known, row.support, row.average_precision, row.roc_auc, mean)
        )
    return tuple(judged)


def groups_to_plain(groups: Sequence[GroupMetrics]) -> list[dict[str, Any]]:
    """As JSON holds it."""
    return [asdict(group) | {"members": list(group.members)} for group in groups]
