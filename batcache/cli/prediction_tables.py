"""Reports on new recordings that a model has judged, as tables, notes and lines."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from batcache.cli.calibration_tables import of_basis
from batcache.cli.terminal import Block, Note, Table
from batcache.errors import count, list_some

if TYPE_CHECKING:  # --help imports no torch
    from batcache.inference.onnx.export import ExportedModel
    from batcache.inference.predict import PredictReport, PredictStarted
    from batcache.survey.presence_table import PresenceReport


_FEW = 100
"""Recordings: fewer hold too few of most species to tell how common these are."""


def of_predict_started(started: "PredictStarted") -> Iterator[Block]:
    """Which model judges how many recordings, and what was done before."""
    model = started.model
    species = f"{len(model.checkpoint.species) - len(model.untaught)} species"
    yield f"judging {count(started.recordings, 'recording')} by {model.path} ({species})"
    if started.kept:
        yield f"going on: {count(started.kept, 'recording')} judged by earlier calls, not judged again"


def of_predictions(report: "PredictReport") -> Iterator[Block]:
    """How many recordings hold each species, and what was left without one."""
    calibration = report.calibration
    own = dict(zip(calibration.species, calibration.thresholds, strict=True)) if report.threshold is None else {}
    found = sorted(report.found.items(), key=lambda pair: (-pair[1], pair[0]))
    rows: list[tuple[str, ...]] = [
        (name, f"{number:,}", *((f"{own[name].value:.3f}", own[name].basis) if own else ()))
        for name, number in found
        if number
    ]
    rows += _of_groups(report)
    blank = ("", "") if own else ()
    others = sorted((verdict, number) for verdict, number in report.verdicts.items() if verdict != "species")
    rows += [(verdict, f"{number:,}", *blank) for verdict, number in others]
    total = count(len(report.columns["path"]), "recording")
    counted = "each species at its own threshold" if own else f"scores of {report.threshold:g} and more"
    header = ("", "recordings", "threshold", "it rests on") if own else ("", "recordings")
    yield Table(f"{total}, {counted}", rows, header)
    if own:
        yield from of_basis(calibration)
    yield from _of_prevalence(report)
    if report.judged:
        speed = f"{report.audio_s / report.seconds:,.0f} times real time"
        yield f"judged now: {report.judged:,} ({report.audio_s / 3600:.2f} h) in {report.seconds:.1f} s, {speed}"
    if report.model.untaught:
        names = ", ".join(report.model.untaught)
        yield Note(f"without scores, as the model was taught one label of them alone: {names}")
    if doubtful := _count_doubtful(report):
        said = f"{count(doubtful, 'recording')} noted in the column notes"
        yield Note(f"{said}: a factor or a rate that is doubtful, and the like")
    heard = [f"has learnt from {count(report.learnt, 'recording')}"] if report.learnt else []
    heard += [f"was validated on {count(report.validated, 'recording')}"] if report.validated else []
    if heard:
        yield Note(f"the model {' and '.join(heard)} of these: they tell little of its worth")
    if report.rejected:
        named = list_some(f"{name} ({reason})" for name, reason in report.rejected.items())
        yield Note(f"{count(len(report.rejected), 'recording')} rejected; each call tries them again: {named}")
    yield f"a row for each recording {report.table_file}"
    yield f"a row for each species {report.thresholds_file}"
    yield f"evidence of each instance {report.instances_file}"


def _count_doubtful(report: "PredictReport") -> int:
    """Of how many judged recordings more is noted than that the model has heard it before."""
    from batcache.inference.verdicts import HEARD

    noted = (set(str(notes).split("; ")) - {"", *HEARD} for notes in report.columns["notes"])
    return sum(map(bool, noted)) - len(report.rejected)


def _of_groups(report: "PredictReport") -> Iterator[tuple[str, ...]]:
    """A row for each group that recordings hold without it being said which of its species."""
    for name, at in zip(report.found_groups, report.group_calibration.thresholds, strict=True):
        if number := report.found_groups[name]:
            yield f"{name}, not said which", f"{number:,}", f"{at.value:.3f}", at.basis


def _of_prevalence(report: "PredictReport") -> Iterator[Block]:
    """How common each species is in the recordings, beside how common it was before."""
    if not report.prevalence:
        return
    rows = [(name, f"{then:.3f}", f"{now:.3f}") for name, (then, now) in report.prevalence.items()]
    header = ("", "calibrated on", "here")
    yield Table("share of clips that hold a species; probabilities are corrected for what it is here", rows, header)
    if len(report.predictions.filenames) < _FEW:
        yield Note("so few recordings tell little of how common a species is: --fit-prevalence is for whole surveys")


def of_presence(report: "PresenceReport") -> Iterator[Block]:
    """In how many nights each species was there, by both definitions, and what to know before it is believed."""
    table = report.table()
    rows = []
    for name in report.confusion.species:
        here = table["species"] == name
        low, p_low = (here & (table[column] < 0.05) for column in ("likelihood_ratio", "p_value"))
        sums = (here & (table["files_identified"] > 0), p_low, p_low & (table["flags"] == ""), low)
        rows.append((name, *(f"{cells.sum():,}" for cells in sums)))
    header = ("", "with files", "p-value < 0.05", "of them without a flag", "likelihood ratio < 0.05")
    yield Table(f"{count(report.site_nights, 'site-night')}, and those with each species", rows, header)
    clips = f"{report.confusion.counts.sum():,.0f}"
    how = "scored in folds" if report.source == "folds" else "of its validation"
    yield f"how often a species is taken for another is known from {clips} clips {how}"
    yield "thresholds were chosen on these clips: mistakes are slightly rarer in them than elsewhere"
    if not report.confusion.knows_others:
        yield Note("none of these clips is without any of the species: false alarms of noise are not accounted for")
    if report.untested:
        yield Note(f"not tested, as no held-out clip holds them: {', '.join(report.untested)}")
    if report.unplaced:
        what = f"{count(report.unplaced, 'recording')} without site or night, in no site-night"
        yield Note(f"{what}: pass --site, or fill in the columns of predictions.csv")
    if report.copies:
        yield Note(f"{count(report.copies, 'recording')} left out, as another holds the same audio")
    yield "no approved program (USFWS): look at the recordings before a presence is reported"
    yield f"a row for each site-night and species {report.table_file}"


def of_exported_model(exported: "ExportedModel") -> Iterator[Block]:
    """What was written, and for what."""
    yield f"model {exported.target}: {exported.size / 1e6:.1f} MB, its graph for recordings of {exported.rate:,} Hz"
