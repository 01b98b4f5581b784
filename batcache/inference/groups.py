"""Groups of species that cannot be told apart: genera, and complexes that the settings name.

The score of a group is the highest of its members', so that it is never below any of them: a product of the members'
chances of absence would count one call several times, as their errors go together. It has a calibration and a threshold
of its own, from the same held-out clips: present where any member is, absent where all are known to be.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batcache.errors import ConfigError
from batcache.inference.model_file import Known
from batcache.model.provenance import HeldOut

_BINOMIAL = re.compile(r"([A-Z][a-zë]+) [a-z-]+")


@dataclass(frozen=True)
class SpeciesGroup:
    """A group's name, and where its members, two or more, stand among the model's species."""

    name: str
    members: tuple[int, ...]


def find_groups(
    species: Sequence[str], taught: Sequence[bool], named: Mapping[str, Sequence[str]]
) -> tuple[SpeciesGroup, ...]:
    """The groups with two members or more that were taught: those that are named, then genera, by ``Myotis sp.``.

    A name wins over the genus of the same name, and over one of the same members.

    Args:
        species: of a model; of a genus are binomial names that begin with it.
        taught: whether each was.
        named: names of species by name of group; those that the model does not know, or was not taught, are passed
            over: the settings may name complexes of a whole region.

    Raises:
        ConfigError: a group that has the name of a species.

    >>> find_groups(["Myotis myotis", "Myotis brandtii", "Nyctalus noctula"], [True] * 3, {})
    (SpeciesGroup(name='Myotis sp.', members=(0, 1)),)
    """
    members = {name: tuple(i for i, one in enumerate(species) if taught[i] and one in of) for name, of in named.items()}
    for name in members:
        if name in species:
            finding = f"{name!r} is the name of a species"
            raise ConfigError("model.species_groups", finding, "Name the group otherwise")
    genera: dict[str, list[int]] = {}
    for i, one in enumerate(species):
        if taught[i] and (match := _BINOMIAL.fullmatch(one)):
            genera.setdefault(f"{match[1]} sp.", []).append(i)
    taken = set(members.values())
    members |= {name: tuple(of) for name, of in genera.items() if name not in members and tuple(of) not in taken | {()}}
    return tuple(SpeciesGroup(name, of) for name, of in members.items() if len(of) > 1 and name not in species)


def groups_of(checkpoint: Known) -> tuple[SpeciesGroup, ...]:
    """The groups of a model's species."""
    return find_groups(checkpoint.species, checkpoint.is_taught, checkpoint.model.species_groups)


def group_scores(scores: NDArray[np.floating[Any]], groups: Sequence[SpeciesGroup]) -> NDArray[np.floating[Any]]:
    """The highest score, or logit, of each group's members; NaN where one has none. Shape: ``[R, C]`` -> ``[R, G]``"""
    columns = [scores[:, group.members].max(1) for group in groups]
    return np.stack(columns, 1) if columns else scores[:, :0]


def group_labels(labels: NDArray[np.integer[Any]], groups: Sequence[SpeciesGroup]) -> NDArray[np.int8]:
    """1 where a member is present, 0 where all are absent, else -1, unknown. Shape: ``[R, C]`` -> ``[R, G]``"""
    found = np.full((len(labels), len(groups)), -1, np.int8)
    for g, group in enumerate(groups):
        of = labels[:, group.members]
        found[(of == 0).all(1), g] = 0
        found[(of == 1).any(1), g] = 1
    return found


def group_held_out(held_out: HeldOut, groups: Sequence[SpeciesGroup]) -> HeldOut:
    """Held-out clips with groups in the place of species."""
    logits = group_scores(held_out.logits, groups)
    labels = group_labels(held_out.labels, groups)
    return HeldOut(held_out.source, logits, labels, held_out.groups)


def back_off(
    scores: NDArray[np.floating[Any]],
    reached: NDArray[np.bool_],
    groups: Sequence[SpeciesGroup],
    thresholds: Sequence[float],
) -> tuple[SpeciesGroup, ...]:
    """The groups that a recording is said to hold where it is not said which member: the highest score first.

    Of groups that lie in each other the smallest is named.

    Args:
        scores: of species. Shape: ``[C]``
        reached: which of them are at or above their thresholds: their groups are not named. Shape: ``[C]``
        groups: G of them.
        thresholds: of the groups' scores. Length: G
    """
    best = group_scores(scores[None], groups)[0]
    found = [
        g
        for g in np.argsort(-best, kind="stable")
        if best[g] >= thresholds[g] and not reached[list(groups[g].members)].any()
    ]
    return tuple(groups[g] for g in found if not any(set(groups[h].members) < set(groups[g].members) for h in found))
