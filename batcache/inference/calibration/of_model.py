"""The thresholds and the calibration that a model's file carries, and those of the profile beside it."""

from dataclasses import replace
from pathlib import Path

from batcache.errors import ConfigError, count
from batcache.inference.calibration.calibrate import VALIDATION, Calibration, calibrate, without_calibration
from batcache.inference.calibration.profile import Profile, profile_path, read_profile
from batcache.inference.calibration.thresholds import GIVEN, NOTHING, PRECISION
from batcache.inference.model_file import ONNX, Known, ModelFile, open_model
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
        own = take_reviewed(own, read_profile(place, model.digest, model.checkpoint.species))
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


def take_reviewed(own: Calibration, profile: Profile) -> Calibration:
    """The same calibration, with the species that reviewed rows tell enough of by those rows."""
    reviewed = _calibrate(own.species, profile.held_out, own.precision, own.common_slope)
    known = [at.basis != NOTHING for at in reviewed.thresholds]

    def choose(name: str) -> tuple[object, ...]:
        triples = zip(known, getattr(reviewed, name), getattr(own, name), strict=True)
        return tuple(theirs if is_known else ours for is_known, theirs, ours in triples)

    rows = f"{count(reviewed.clips, 'reviewed row')} ({profile.reviewed})"
    names = [name for name, is_known in zip(own.species, known, strict=True) if is_known]
    note = f"recalibrated on {rows}: {', '.join(names) or 'too few for any species'}"
    chosen = {name: choose(name) for name in ("platts", "thresholds", "sources")}
    return replace(own, **chosen, notes=(*own.notes, note))  # type: ignore[arg-type]


def _calibrate(species: tuple[str, ...], held_out: HeldOut, precision: float, towards: float) -> Calibration:
    arrays = held_out.logits, held_out.labels, held_out.groups
    return calibrate(species, *arrays, held_out.source, precision=precision, towards=towards)


def find_calibration(path: Path) -> Calibration | None:
    """The calibration of a model's file; None where it is a trunk's, which knows no species.

    Raises:
        RunError: as of ``open_model`` and ``calibrate_model``.
    """
    if path.suffix.lower() == ONNX:
        return calibrate_model(open_model(path))
    from batcache.model.pretrained import Pretrained
    from batcache.model.start import load_source

    return None if isinstance(load_source(path), Pretrained) else calibrate_model(open_model(path))
