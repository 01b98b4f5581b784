"""Thresholds and what they rest on, as tables, notes and lines."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from batcache.cli.terminal import Block, Note, Table
from batcache.errors import count

if TYPE_CHECKING:  # --help imports no torch
    from batcache.evaluation.calibration import Calibrated
    from batcache.inference.calibration.calibrate import Calibration
    from batcache.inference.calibration.measures import Measures
    from batcache.inference.calibration.recalibrate import Recalibrated

_SAID = {
    "promised precision": "safe: a precision of {precision} is promised, with 95 % confidence, on nights like those",
    "best F1": "not safe: too few clips or nights to promise a precision, the threshold is that of the best F1",
    "a probability of 0.5": "not safe: too few clips to promise a precision, named from a probability of 0.5 on",
    "no threshold can be promised": "not safe: no threshold can be promised, 0.5 is taken",
}
_RESTS = {
    "folds": "clips scored by models of the same recipe that had not heard their group",
    "validation": "its validation clips",
}


def of_basis(calibration: "Calibration") -> Iterator[Block]:
    """Which species are safe at their thresholds and which are not, on what this rests, and what to know of it."""
    by_basis: dict[str, list[str]] = {}
    for name, at in zip(calibration.species, calibration.thresholds, strict=True):
        by_basis.setdefault(at.basis, []).append(f"{name} from {at.value:.3f}" if at.promised else name)
    for basis, said in _SAID.items():
        if names := by_basis.get(basis):
            every = len(names) == len(calibration.species) > 1 and basis != "promised precision"
            which = f"all {len(names)} species" if every else ", ".join(names)
            yield f"{said.format(precision=f'{calibration.precision:g}')}: {which}"
    if calibration.clips:
        rests = " and ".join(rest for source, rest in _RESTS.items() if source in calibration.sources)
        groups = f"{count(calibration.groups, 'group')} (site-nights, or recordings where none is given)"
        yield f"thresholds rest on {rests or 'its own clips'}: {count(calibration.clips, 'clip')} of {groups}"
    reviewed = [name for name, of in zip(calibration.species, calibration.sources, strict=True) if of == "reviewed"]
    if reviewed:
        yield f"those of {', '.join(reviewed)} rest on rows that were reviewed"
    if not calibration.clips and not reviewed:
        make = "`batcache train --folds 5` or `batcache calibrate` makes some"
        yield f"the model carries no clips that it had not learnt from: {make}"
    yield from map(Note, calibration.notes)


def of_calibration(calibration: "Calibration") -> Iterator[Block]:
    """The threshold of each species, and the line from its scores to probabilities."""
    yield of_thresholds(calibration)
    yield from of_basis(calibration)


def of_thresholds(calibration: "Calibration") -> Table:
    """A row for each species."""
    rows = [
        (
            name,
            f"{at.value:.3f}",
            at.basis if at.promised is None else f"precision {at.promised:g} promised",
            f"{at.positives}/{at.clips}",
            f"{at.groups}",
            "-" if platt is None else f"{platt.intercept:+.2f} {platt.slope:+.2f} x",
        )
        for name, at, platt in zip(calibration.species, calibration.thresholds, calibration.platts, strict=True)
    ]
    header = ("species", "threshold", "it rests on", "clips", "groups", "logit of probability")
    return Table("thresholds of scores", rows, header, ("logit of probability", "groups"))


def of_calibrated(calibrated: "Calibrated") -> Iterator[Block]:
    """How far scores are from probabilities, before and after they are calibrated."""
    before, after = calibrated.scores, calibrated.probabilities
    if before.calibration_error is None:
        return
    rows = [("scores", *_measures(before))]
    if after is not None:
        rows.append(("probabilities", *_measures(after)))
    yield Table(
        f"how far they are from what came true, {before.cells:,} cells",
        rows,
        ("", "calibration error", "Brier", "log-loss"),
    )
    if after is not None:
        yield f"probabilities: {calibrated.how}"


def _measures(of: "Measures") -> tuple[str, ...]:
    return tuple("-" if v is None else f"{v:.3f}" for v in (of.calibration_error, of.brier, of.log_loss))


def of_recalibrated(report: "Recalibrated") -> Iterator[Block]:
    """What reviewed rows made of a model's thresholds."""
    yield from map(Note, report.notes)
    yield from of_calibration(report.calibration)
    yield f"calibration {report.profile}: `batcache predict` takes it where it lies beside the model"
