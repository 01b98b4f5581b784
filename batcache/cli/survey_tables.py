"""What was written for other programs, and of a survey, as tables, notes and lines."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from batcache.cli.terminal import Block, Note, Table
from batcache.errors import count, list_some

if TYPE_CHECKING:  # --help imports nothing heavy
    from batcache.survey.convert import ConvertReport
    from batcache.survey.survey import SurveyReport


def of_converted(report: "ConvertReport") -> Iterator[Block]:
    """What was written in which format, and what is not in it."""
    for name, written in report.written.items():
        number = f" ({count(written.files, 'file')})" if written.files > 1 else ""
        yield f"{name} {written.place}{number}"
        if written.left_out:
            reasons = list_some(f"{path} ({reason})" for path, reason in written.left_out.items())
            yield Note(f"{name} without {count(len(written.left_out), 'recording')}: {reasons}")
    if report.reviewed:
        yield f"manual ids of {count(report.by_hand, 'recording')} by {report.reviewed}"
    if report.several and {"nabat"} & set(report.written):
        yield Note(f"nabat has one species a recording: {count(report.several, 'recording')} hold more")
    if report.rejected:
        names = list_some(one.path for one in report.rejected)
        yield Note(f"{count(len(report.rejected), 'recording')} rejected, in no format but csv and excel: {names}")


def of_survey(report: "SurveyReport") -> Iterator[Block]:
    """In how many nights and recordings each species was, the effort, and what has no place in the tables."""
    rows = [
        (name, f"{found.recordings:,}", f"{found.nights:,}", f"{found.sites:,}") for name, found in report.found.items()
    ]
    effort = f"{count(report.recordings, 'recording')} of {count(report.site_nights, 'site-night')}"
    yield Table(f"{effort}, and those with each species", rows, ("", "recordings", "nights", "sites"))
    if report.reviewed:
        yield f"{count(report.by_hand, 'recording')} by hand, as {report.reviewed} says; all others by the model"
    if report.unplaced:
        what = f"{count(report.unplaced, 'recording')} without site or night, in no table"
        yield Note(f"{what}: pass --site, or fill in the columns of predictions.csv")
    if report.copies:
        yield Note(f"{count(report.copies, 'recording')} left out, as another holds the same audio")
    if report.rejected:
        names = list_some(f"{one.path} ({one.reason})" for one in report.rejected)
        yield Note(
            f"{count(len(report.rejected), 'recording')} rejected, counted neither as bats nor as silence: {names}"
        )
    if report.without_effort:
        names = list_some(f"{site} {night}" for site, night in report.without_effort)
        nights = count(len(report.without_effort), "site-night")
        yield Note(f"{nights} with rejected recordings alone, which tell of no bat and of no silence: {names}")
    for reason, number in report.without_hour.items():
        yield Note(f"{count(number, 'recording')} in no hour after sunset: {reason}")
    yield f"a row for each site-night and species {report.table_file}"
    yield f"a row for each night and species {report.nights_file}"
    yield f"a row for each hour after sunset and species {report.hours_file}"
    yield f"picture {report.picture_file}"
