"""Thresholds and calibration of groups of species, from the same held-out clips as those of species.

Probabilities are fitted on all of these. A group is named only where none of its members is, so that its threshold is
chosen on those of the clips where that is so: what it promises, it promises of the recordings that it is named in.
Where it promises nothing, a group is named only from the score on at which its probability is 0.5: the best F1 of what
its members leave may lie where nearly all that is named is wrong.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from batcache.inference.calibration.calibrate import Calibration, assemble, fit_platts, without_calibration
from batcache.inference.calibration.of_model import take_reviewed
from batcache.inference.calibration.platt import Platt, sigmoid
from batcache.inference.calibration.profile import profile_path, read_profile
from batcache.inference.calibration.thresholds import NOTHING, PRECISION, Threshold, choose_threshold
from batcache.inference.groups import SpeciesGroup, group_held_out
from batcache.inference.model_file import ModelFile
from batcache.model.provenance import HeldOut
from batcache.storage.listing import is_there


def calibrate_groups(
    model: ModelFile, groups: Sequence[SpeciesGroup], species: Calibration, precision: float = PRECISION
) -> Calibration:
    """The thresholds and probabilities of groups; those of reviewed rows where a profile beside the model has enough.

    Args:
        model: the file.
        groups: of its species.
        species: the calibration of these: a group is named, and its threshold chosen, where none of its members is at
            its own.
        precision: that is wanted of each group's threshold.

    Raises:
        RunError: a profile that is damaged or of another model.
    """
    if model.checkpoint.held_out is None or not groups:
        own = without_calibration([group.name for group in groups], precision)
    else:
        own = calibrate_group_scores(groups, model.checkpoint.held_out, species, precision)
    place = profile_path(model.path)
    if groups and is_there(place):
        profile = read_profile(place, model.digest, model.checkpoint.species)
        reviewed = calibrate_group_scores(groups, profile.held_out, species, precision)
        rows, said = group_held_out(profile.held_out, groups), _say_member(groups, profile.held_out, species)
        unsaid = replace(rows, logits=np.where(said, np.float32(np.nan), rows.logits))
        own = take_reviewed(own, reviewed, unsaid, profile.reviewed)
    return own


def calibrate_group_scores(
    groups: Sequence[SpeciesGroup], held_out: HeldOut, species: Calibration, precision: float = PRECISION
) -> Calibration:
    """The thresholds and probabilities of groups by these clips of their species, whose calibration is ``species``."""
    of = group_held_out(held_out, groups)
    platts, slope = fit_platts(of.logits, of.labels, species.common_slope)
    chosen = _choose_thresholds(groups, of, _say_member(groups, held_out, species), platts, precision)
    thresholds = tuple(chosen[g] for g in range(len(groups)))
    return assemble([group.name for group in groups], platts, thresholds, slope, of.groups, of.source, precision)


def _say_member(groups: Sequence[SpeciesGroup], held_out: HeldOut, species: Calibration) -> NDArray[np.bool_]:
    """In which clips a member of each group is at or above its threshold. Shape: ``[R, G]``"""
    reached = sigmoid(held_out.logits.astype(np.float64)) >= species.values
    return np.stack([reached[:, list(group.members)].any(1) for group in groups], 1)


def _choose_thresholds(
    groups: Sequence[SpeciesGroup],
    of: HeldOut,
    said: NDArray[np.bool_],
    platts: Sequence[Platt | None],
    precision: float,
) -> dict[int, Threshold]:
    """The threshold of each group, on the clips in which it could be named: see ``back_off``. The smallest come first.

    Shape:
        said: ``[R, G]``, in which clips a member of the group is at or above its threshold
    """
    chosen: dict[int, Threshold] = {}
    named: dict[int, NDArray[np.bool_]] = {}
    for g in sorted(range(len(groups)), key=lambda g: len(groups[g].members)):
        within = [named[h] for h in named if set(groups[h].members) < set(groups[g].members)]
        hidden = np.any([said[:, g], *within], 0)
        logits = np.where(hidden, np.nan, of.logits[:, g])
        at = choose_threshold(logits, of.labels[:, g], of.groups, platts[g], precision, even=True)
        chosen[g], named[g] = at, (sigmoid(logits) >= at.value) & (at.basis != NOTHING)
    return chosen


def offered_thresholds(calibration: Calibration, threshold: float | None) -> list[float]:
    """The threshold of each group, infinite where it is never to be named.

    That is where its threshold rests on nothing, and where one ``threshold`` was given for all species: a group's score
    reaches that one only where a member's does.
    """
    return [math.inf if threshold is not None or at.basis == NOTHING else at.value for at in calibration.thresholds]
