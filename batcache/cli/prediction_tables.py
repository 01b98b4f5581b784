"""Reports on new recordings that a model has judged, as tables, notes and lines."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from batcache.cli.terminal import Block, Note, Table
from batcache.errors import count, list_some

if TYPE_CHECKING:  # --help imports no torch
    from batcache.inference.predict import PredictReport, PredictStarted


def of_predict_started(started: "PredictStarted") -> Iterator[Block]:
    """Which model judges how many recordings, and what was done before."""
    model = started.model
    species = f"{len(model.checkpoint.species) - len(model.untaught)} species"
    yield f"judging {count(started.recordings, 'recording')} by {model.path} ({species})"
    if started.kept:
        yield f"going on: {count(started.kept, 'recording')} judged by earlier calls, not judged again"


def of_predictions(report: "PredictReport") -> Iterator[Block]:
    """How many recordings hold each species, and what was left without one."""
    found = sorted(report.found.items(), key=lambda pair: (-pair[1], pair[0]))
    rows = [(name, f"{number:,}") for name, number in found if number]
    rows.append(("no species above threshold", f"{report.without_species:,}"))
    if report.rejected:
        rows.append(("rejected", f"{len(report.rejected):,}"))
    total = count(len(report.columns["path"]), "recording")
    yield Table(f"{total}, scores of {report.threshold:g} and more", rows, ("", "recordings"))
    if report.judged:
        speed = f"{report.audio_s / report.seconds:,.0f} times real time"
        yield f"judged now: {report.judged:,} ({report.audio_s / 3600:.2f} h) in {report.seconds:.1f} s, {speed}"
    if report.model.untaught:
        names = ", ".join(report.model.untaught)
        yield Note(f"without scores, as the model was taught one label of them alone: {names}")
    noted = sum(bool(note) for note in report.columns["notes"]) - len(report.rejected)
    if noted:
        yield Note(
            f"{count(noted, 'recording')} noted in the column notes: a factor or a rate that is doubtful, and the like"
        )
    if report.learnt:
        yield Note(
            f"the model has learnt from {count(report.learnt, 'recording')} of these: they tell little of its worth"
        )
    if report.rejected:
        named = list_some(f"{name} ({reason})" for name, reason in report.rejected.items())
        yield Note(f"{count(len(report.rejected), 'recording')} rejected; each call tries them again: {named}")
    yield f"a row for each recording {report.table_file}"
    yield f"evidence of each instance {report.instances_file}"
