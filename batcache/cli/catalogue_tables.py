"""What became of a manifest, and what is wrong with one, as tables and notes."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from batcache.cli.terminal import Block, Note, Table
from batcache.errors import count, list_some

if TYPE_CHECKING:
    from batcache.catalogue.audit.audit import AuditReport
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
    train = report.out.with_name("train.csv")
    yield f"next: batcache split {report.out} -o {train}, then batcache build --csv {train}{ending}"


def _notes(report: "ManifestReport") -> Iterator[Note]:
    for name, species in report.decided.items():
        yield Note(f"{name} is taken for {species}, by the other species named")
    for group, recordings in report.opened.items():
        yield Note(f"{group} leaves its species empty in {count(recordings, 'recording')}")
    if report.local_times:
        where = "local, or UTC, as the recorder was set"
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
    if report.constant:
        silent = count(len(report.constant), "recording")
        yield Note(f"{silent} with nothing but one value, so with no sound: {list_some(report.constant)}")
    yield from _listed("the file contradicts itself", report.headers, "")
    yield from _listed("calls could not be placed, and are not in the table of calls", report.events_left_out, "")
    if report.unmatched:
        shown = list_some(f"{name} ({why})" for name, why in report.unmatched.items())
        yield Note(f"{count(len(report.unmatched), 'name')} in the labels of no recording here, left out: {shown}")
    if report.passed_over:
        yield Note(
            f"{count(len(report.passed_over), 'file')} among the labels are no table of labels, and were passed over: "
            f"{list_some(map(str, report.passed_over))}"
        )


def of_audit(report: "AuditReport") -> Iterator[Block]:
    """What was looked at, and all that was found."""
    pairs_apart = sum(pair.leaks for pair in report.near)
    rows = [
        ("clips", f"{report.clips:,} of {count(report.recordings, 'recording')}"),
        ("groups", f"{report.groups:,}"),
        ("recordings without a group", f"{report.ungrouped:,}"),
        ("in two splits", f"{len(report.leaks):,}"),
        ("contents under several names", f"{len(report.copies):,}"),
        ("species of fewer than 5 groups in a split", f"{len({few.species for few in report.few}):,}"),
    ]
    if report.cached is not None:
        rows.insert(1, ("in the cache, compared", f"{report.cached:,}, {report.sketched:,}"))
        rows.append(("near-duplicates", f"{len(report.near):,}, {pairs_apart:,} of them in two splits"))
    yield Table(", ".join(map(str, report.csvs)), rows)
    if report.leaks:
        shown = [
            (leak.kind, leak.files[0] if leak.kind == "content" else leak.name, _by_split(leak.clips))
            for leak in report.leaks[:_MOST_ROWS]
        ]
        yield Table("in two splits", shown, ("kind", "name", "clips"))
    if report.copies:
        yield Table("one content under several names", [(", ".join(names),) for names in report.copies[:_MOST_ROWS]])
    if report.near:
        near = [
            (pair.one, pair.other, " and ".join(filter(None, dict.fromkeys(pair.splits))), f"{pair.cosine:.3f}")
            for pair in report.near[:_MOST_ROWS]
        ]
        yield Table("near-duplicates", near, ("recording", "like", "in", "likeness"))
    if report.few:
        few = [(f.species, f.split or "-", f"{f.groups:,}", f"{f.clips:,}") for f in report.few]
        yield Table("species of few groups", few, ("", "split", "groups", "clips"))
    for told in report.told_apart:
        groups = f"{told.groups[0]:,} and {told.groups[1]:,} groups"
        if told.auc is None:
            yield f"{told.one} and {told.other}: too few groups to tell whether they differ ({groups})"
            continue
        verdict = "they differ in more than chance" if told.differ else "no difference seen"
        area = f"ROC-AUC {told.auc:.2f} ({told.low:.2f} to {told.high:.2f})"
        yield f"{told.one} and {told.other}: a small model tells them apart with {area}, {groups}: {verdict}"
    if report.cached is None:
        yield Note("without --cache, near-duplicates and differences of splits were not looked for")
    elif report.cached < report.recordings:
        yield Note(f"{count(report.recordings - report.cached, 'recording')} not in the cache were not compared")
    if report.unreadable:
        yield Note(f"{count(len(report.unreadable), 'recording')} could not be read: {list_some(report.unreadable)}")


def _by_split(clips: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {split}" for split, number in clips.items())


def _listed(what: str, reasons: Mapping[str, str], then: str) -> Iterator[Note]:
    if reasons:
        shown = list_some(f"{name} ({why})" for name, why in reasons.items())
        yield Note(f"of {count(len(reasons), 'recording')} {what}: {shown}{f'. {then}' if then else ''}")
