"""What became of a manifest, as tables and notes."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from batcache.cli.terminal import Block, Note, Table
from batcache.errors import count, list_some

if TYPE_CHECKING:
    from batcache.catalogue.report import ManifestReport

_MOST_ROWS = 20


def of_manifest(report: "ManifestReport") -> Iterator[Block]:
    """What was listed, from which labels, and what to know of it."""
    rows = [
        ("recordings", f"{report.recordings:,}"),
        ("rejected", f"{len(report.rejected):,}"),
        ("labelled", f"{report.named:,}"),
        ("nights", f"{report.nights:,}"),
        ("sites", f"{report.sites:,}{f' (told by the {report.site_source})' if report.site_source else ''}"),
        ("groups (site and night)", f"{report.groups:,}"),
    ]
    if report.noise:
        rows.insert(3, ("of them noise: all species 0", f"{report.noise:,}"))
    if report.no_id:
        rows.insert(3, ("of them with NoID: what is not named is empty", f"{report.no_id:,}"))
    yield Table(f"{report.out}", rows)
    if report.uses:
        shown = [
            (use.source, use.kind, f"{use.rows:,}", f"{use.naming:,}", f"{use.by_program:,}") for use in report.uses
        ]
        yield Table("labels", shown[:_MOST_ROWS], ("from", "read as", "rows", "naming something", "by a program"))
    counts = [(s.species, f"{s.present:,}", f"{s.absent:,}", f"{s.unknown:,}") for s in report.species]
    yield Table("species", counts, ("", "present", "absent", "not annotated"))
    why = "because another species, or noise, is named"
    yield f"{count(report.filled, 'cell')} 0 {why}; --others unknown leaves them empty beside a species"
    yield from _notes(report)
    if report.rejected:
        yield Table("rejected", list(report.rejected.items())[:_MOST_ROWS], ("recording", "why"))
    if report.events is not None:
        yield f"{count(report.calls, 'call')} in {report.events}"
    ending = f" --data-dir {report.data_dir}" if report.needs_data_dir else ""
    yield f"next: batcache split {report.out} -o train.csv, then batcache build --csv train.csv{ending}"


def _notes(report: "ManifestReport") -> Iterator[Note]:
    for name, species in report.decided.items():
        yield Note(f"{name} is taken for {species}, by the other species named")
    for group, recordings in report.opened.items():
        yield Note(f"{group} leaves its species empty in {count(recordings, 'recording')}")
    if report.local_times:
        where = "local time without a zone" if report.timezone else "local time, or UTC, as the recorder was set"
        yield Note(f"the time of {count(report.local_times, 'recording')} has no zone: {where}. --timezone says which")
    elif report.timezone:
        yield Note(f"times in UTC were converted to {report.timezone}, times without a zone taken as local there")
    missing = (
        ("time, so no night and no group", report.without_time),
        ("place (latitude and longitude)", report.without_place),
        ("site", report.without_site),
    )
    for what, names in missing:
        if names:
            yield Note(f"{count(len(names), 'recording')} without a {what}: {list_some(names)}")
    yield from _listed(
        "the time expansion is not known", report.doubtful, "Where you know it, write it into time_expansion (1: none)"
    )
    yield from _listed("the clock's hour is doubtful", report.doubtful_times, "")
    yield from _listed("metadata could not all be read", report.unread, "")
    yield from _listed("calls could not be placed, and are not in the table of calls", report.events_left_out, "")
    if report.unmatched:
        shown = list_some(f"{name} ({why})" for name, why in report.unmatched.items())
        yield Note(f"{count(len(report.unmatched), 'name')} in the labels of no recording here, left out: {shown}")
    if report.passed_over:
        yield Note(
            f"{count(len(report.passed_over), 'file')} among the labels are no table of labels, and were passed over: "
            f"{list_some(map(str, report.passed_over))}"
        )


def _listed(what: str, reasons: Mapping[str, str], then: str) -> Iterator[Note]:
    if reasons:
        shown = list_some(f"{name} ({why})" for name, why in reasons.items())
        yield Note(f"of {count(len(reasons), 'recording')} {what}: {shown}{f'. {then}' if then else ''}")
