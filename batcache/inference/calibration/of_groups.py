"""Thresholds and calibration of groups of species, as of species, from the same held-out clips."""

import math
from collections.abc import Sequence
from dataclasses import replace

from batcache.inference.calibration.calibrate import Calibration, calibrate, without_calibration
from batcache.inference.calibration.of_model import take_reviewed
from batcache.inference.calibration.profile import profile_path, read_profile
from batcache.inference.calibration.thresholds import NOTHING, PRECISION
from batcache.inference.groups import SpeciesGroup, group_held_out
from batcache.inference.model_file import ModelFile
from batcache.storage.listing import is_there


def calibrate_groups(
    model: ModelFile, groups: Sequence[SpeciesGroup], precision: float = PRECISION, towards: float = 1.0
) -> Calibration:
    """The thresholds and probabilities of groups; those of reviewed rows where a profile beside the model has enough.

    Args:
        model: the file.
        groups: of its species.
        precision: that is wanted of each group's threshold.
        towards: the slope that its species have in common.

    Raises:
        RunError: a profile that is damaged or of another model.
    """
    names, checkpoint = tuple(group.name for group in groups), model.checkpoint
    if checkpoint.held_out is None or not groups:
        own = without_calibration(names, precision)
    else:
        of = group_held_out(checkpoint.held_out, groups)
        arrays = of.logits, of.labels, of.groups
        own = calibrate(names, *arrays, of.source, precision=precision, towards=towards)
    place = profile_path(model.path)
    if groups and is_there(place):
        profile = read_profile(place, model.digest, checkpoint.species)
        own = take_reviewed(own, replace(profile, species=names, held_out=group_held_out(profile.held_out, groups)))
    return own


def offered_thresholds(calibration: Calibration, threshold: float | None) -> list[float]:
    """The threshold of each group, infinite where it is never to be named.

    That is where its threshold rests on nothing, and where one ``threshold`` was given for all species: a group's score
    reaches that one only where a member's does.
    """
    return [math.inf if threshold is not None or at.basis == NOTHING else at.value for at in calibration.thresholds]
