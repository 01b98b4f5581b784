"""Where the evidence lies: whether the instance that speaks most for a species holds a call of that species.

Judged are cells, a clip and a species that is present in it, wherever calls of that species are known within the clip.
An instance holds every call that it overlaps in time, however little: a call across a border belongs to both sides.
Where several instances speak alike for a species, each counts for its share, so that evidence which is the same
everywhere is worth exactly what chance is.

Chance is what an instance drawn at random would come to: the share of a clip's instances that hold a call. Where only
some of a clip's calls are marked, both figures are too low, and the evidence may lie on a call that nobody marked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from batcache.evaluation.calls import Call
from batcache.inference.predictions import Predictions
from batcache.training.ranking import mean_defined


@dataclass(frozen=True)
class CallShares:
    """How often the instance with the most evidence holds a call; None where no cell tells.

    Attributes:
        cells: clips that hold a species, each counted for each species with known calls in it.
        on_a_call: the share of cells where that instance holds a call of the species.
        on_a_call_by_chance: the same for an instance drawn at random.
        on_the_strongest: the share where it holds the strongest call, of cells whose calls all have a strength.
        on_the_strongest_by_chance: the same for an instance drawn at random.
    """

    cells: int
    on_a_call: float | None
    on_a_call_by_chance: float | None
    on_the_strongest: float | None
    on_the_strongest_by_chance: float | None


@dataclass(frozen=True)
class Localisation:
    """Shares by species, for those that have cells; their plain mean; and of all cells in one pool."""

    per_species: dict[str, CallShares]
    macro: CallShares
    all_cells: CallShares


def localise(predictions: Predictions, calls: Mapping[str, Sequence[Call]]) -> Localisation | None:
    """Judge where the evidence lies, by the calls of recordings named as in the predictions.

    None where no clip has a known call of a species that is present in it.
    """
    if not calls:
        return None
    found: dict[str, list[CallShares]] = {}
    for r, c in zip(*np.nonzero(predictions.labels == 1), strict=True):
        name = str(predictions.species[c])
        of_species = [call for call in calls.get(str(predictions.filenames[r]), ()) if call.species == name]
        cell = _judge_cell(predictions, int(r), int(c), of_species)
        if cell is not None:
            found.setdefault(name, []).append(cell)
    if not found:
        return None
    in_order = [str(name) for name in predictions.species if str(name) in found]
    per_species = {name: _average(found[name]) for name in in_order}
    every_cell = [cell for name in in_order for cell in found[name]]
    return Localisation(per_species, _average(list(per_species.values())), _average(every_cell))


def _judge_cell(predictions: Predictions, r: int, c: int, calls: Sequence[Call]) -> CallShares | None:
    """One clip and species; None where no call lies within the clip, or the model was not taught the species."""
    part = slice(int(predictions.offsets[r]), int(predictions.offsets[r + 1]))
    evidence = predictions.evidence[part, c]
    holders = [
        instances_holding(call, predictions.evidence_start_s[part], predictions.evidence_end_s[part]) for call in calls
    ]
    within = [(call, held) for call, held in zip(calls, holders, strict=True) if held]
    if not within or np.isnan(evidence).any():
        return None
    strengths = [call.strength_db for call, _ in within if call.strength_db is not None]
    strongest = [held for call, held in within if len(strengths) == len(within) and call.strength_db == max(strengths)]
    return CallShares(1, *_hits(evidence, [held for _, held in within]), *_hits(evidence, strongest))


def instances_holding(call: Call, starts: NDArray[np.float64], ends: NDArray[np.float64]) -> range:
    """The instances that a call overlaps; for a call without duration, the one that it lies in."""
    first = int(np.searchsorted(ends, call.start_s, side="right"))
    stop = int(np.searchsorted(starts, call.end_s, side="left"))
    starts_within = first < len(starts) and starts[first] <= call.start_s
    return range(first, max(stop, first + starts_within))


def _hits(evidence: NDArray[np.float32], holders: Sequence[range]) -> tuple[float | None, float | None]:
    """How much of the highest evidence, and how much of all instances, lies where a call is; None without calls."""
    if not holders:
        return None, None
    holds = np.zeros(len(evidence), bool)
    for held in holders:
        holds[held] = True
    return float(holds[evidence == evidence.max()].mean()), float(holds.mean())


def _average(shares: Sequence[CallShares]) -> CallShares:
    """The plain mean of each share where it is defined, and how many cells there are in all."""
    names = [field.name for field in fields(CallShares)][1:]
    means = [mean_defined([getattr(share, name) for share in shares]) for name in names]
    return CallShares(sum(share.cells for share in shares), *means)
