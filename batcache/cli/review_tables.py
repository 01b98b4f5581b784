"""Reports on a review, as notes and lines."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from batcache.cli.terminal import Block, Note, Table
from batcache.errors import count

if TYPE_CHECKING:  # --help imports no torch
    from batcache.reviewing.review import ReviewReport, ReviewStarted


def of_review_started(started: "ReviewStarted") -> Iterator[Block]:
    """Where the page is, and what was answered before."""
    if started.kept:
        yield f"going on: {count(started.kept, 'answer')} of earlier reviews"
    yield f"open {started.address}"
    yield "Ctrl-C, or the page, ends the review; every answer is kept at once"


def of_review(report: "ReviewReport") -> Iterator[Block]:
    """How many answers there are, what they show, and where they lie."""
    yield f"{count(report.answers, 'answer')}, {report.new_answers:,} of them now"
    if len(report.paths):
        rows = [
            (name, f"{(column == 1).sum():,}", f"{(column == 0).sum():,}")
            for name, column in zip(report.species, report.labels.T, strict=True)
            if (column >= 0).any()
        ]
        yield Table(f"{count(len(report.paths), 'recording')} reviewed", rows, ("", "present", "absent"))
    for part, sentence in report.standing.items():
        yield f"{part}: {sentence}"
    for note in report.notes:
        yield Note(note)
    if len(report.paths):
        yield f"a row for each recording reviewed {report.table_file}"
        yield f"to learn from it too, where its features are in a cache: batcache train … --csv {report.table_file}"
