"""The thresholds and the calibration that a model's file carries, and those of the profile beside it."""

from dataclasses import replace

from batcache.errors import ConfigError, count
from batcache.inference.calibration.bounds import CONFIDENCE, chance_of_as_few
from batcache.inference.calibration.calibrate import VALIDATION, Calibration, calibrate, without_calibration
from batcache.inference.calibration.platt import known_of, sigmoid
from batcache.inference.calibration.profile import profile_path, read_profile
from batcache.inference.calibration.thresholds import GIVEN, NOTHING, PRECISION, PROMISED, Threshold, count_effective
from batcache.inference.model_file import Known, ModelFile
from batcache.model.provenance import HeldOut
from batcache.storage.listing import is_there


def calibrate_model(model: ModelFile, precision: float = PRECISION, threshold: float | None = None) -> Calibration:
    """The thresholds and probabilities by which a model judges.

    Species that the reviewed rows of a profile beside the model tell enough of go by these, all others by the model's
    own held-out clips.

    Args:
        model: the file, which need not carry any.
        precision: that is wanted of each species' threshold.
        threshold: of the scores, for all species in the place of their own; calibration stays.

    Raises:
        ConfigError: a precision that is not between 0 and 1.
        RunError: a profile that is damaged or of another model.
    """
    if not 0 < precision < 1:
        raise ConfigError("--precision", f"{precision:g}, expected above 0 and below 1", "Pass 0.9")
    own, place = calibrate_checkpoint(model.checkpoint, precision), profile_path(model.path)
    if is_there(place):
        profile = read_profile(place, model.digest, model.checkpoint.species)
        reviewed = _calibrate(own.species, profile.held_out, precision, own.common_slope)
        own = take_reviewed(own, reviewed, profile.held_out, profile.reviewed)
    if threshold is None:
        return own
    given = tuple(replace(at, value=threshold, basis=GIVEN, promised=None) for at in own.thresholds)
    return replace(own, thresholds=given)


def calibrate_checkpoint(checkpoint: Known, precision: float = PRECISION) -> Calibration:
    """What a model's own held-out clips tell, if it carries any."""
    if (held_out := checkpoint.held_out) is None:
        return without_calibration(checkpoint.species, precision)
    calibration = _calibrate(checkpoint.species, held_out, precision, 1.0)
    if held_out.source == VALIDATION and not checkpoint.model.trains_heads_alone:
        note = "its epoch was chosen on the clips that thresholds are taken from: they are slightly too good"
        calibration = replace(calibration, notes=(note,))
    return calibration


def take_reviewed(own: Calibration, reviewed: Calibration, rows: HeldOut, name: str) -> Calibration:
    """The same calibration, with the species that reviewed rows tell enough of by those rows.

    A promised precision that the reviewed rows cannot promise is given up where they speak against it, and only there.

    Args:
        own: of the model's own held-out clips.
        reviewed: of the rows.
        rows: scores and labels of the same species, or groups.
        name: of the file that they come from.
    """
    known = []
    for c, (theirs, ours) in enumerate(zip(reviewed.thresholds, own.thresholds, strict=True)):
        kept = ours.basis == PROMISED and theirs.basis != PROMISED
        known.append(_speaks_against(ours, rows, c) if kept else theirs.basis != NOTHING)

    def choose(field: str) -> tuple[object, ...]:
        triples = zip(known, getattr(reviewed, field), getattr(own, field), strict=True)
        return tuple(theirs if is_known else ours for is_known, theirs, ours in triples)

    told = [one for one, is_known in zip(own.species, known, strict=True) if is_known]
    by = f"{count(reviewed.clips, 'reviewed row')} ({name})"
    note = f"recalibrated on {by}: {', '.join(told) or 'too few for any species'}"
    chosen = {field: choose(field) for field in ("platts", "thresholds", "sources")}
    return replace(own, **chosen, notes=(*own.notes, note))  # type: ignore[arg-type]


def _speaks_against(promise: Threshold, rows: HeldOut, column: int) -> bool:
    """Whether so few of the rows above a threshold are right as would be in at most 5 % if its promise held."""
    scores, there, known = known_of(rows.logits[:, column], rows.labels[:, column])
    above = sigmoid(scores) >= promise.value
    effective = count_effective(rows.groups[known][above])
    if promise.promised is None or not effective:
        return False
    right = effective * float(there[above].mean())
    return chance_of_as_few(right, effective, promise.promised) <= 1 - CONFIDENCE


def _calibrate(species: tuple[str, ...], held_out: HeldOut, precision: float, towards: float) -> Calibration:
    arrays = held_out.logits, held_out.labels, held_out.groups
    return calibrate(species, *arrays, held_out.source, precision=precision, towards=towards)
