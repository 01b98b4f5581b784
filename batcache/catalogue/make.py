"""Recordings on cards and labels of other programs to a manifest that ``build`` reads."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

from batcache.catalogue.clock import Moment, open_zone, place_in_zone
from batcache.catalogue.fill import Columns, Others, Said, choose_columns, fill
from batcache.catalogue.gather import (
    FOLDERS,
    TAGS,
    Gathered,
    find_events,
    gather,
    read_sources,
    read_tags,
    resolve_names,
)
from batcache.catalogue.look import Looked, look_at
from batcache.catalogue.places import Sites, SiteSource, find_sites
from batcache.catalogue.report import Made, ManifestReport, make_report
from batcache.catalogue.rows import ManifestRow, write_events, write_manifest
from batcache.errors import ManifestError, count
from batcache.manifest.file_names import read_name
from batcache.manifest.find_recordings import Found, find_recordings
from batcache.manifest.night import Occasion
from batcache.progress import OnProgress, ignore_progress
from batcache.species.resolve import Names
from batcache.species.table import read_entries
from batcache.storage.listing import is_there

EVENTS = "events.csv"
_FIRST_YEAR = 1990
"""Recorders whose clock was not set begin in 1970."""


@dataclass(frozen=True)
class Wishes:
    """How a manifest is to be made.

    Attributes:
        labels: files or folders of labels, ``folders`` for the names of the recordings' folders, ``tags`` for the
            manual ids in their metadata.
        species: these have a column, whether named or not; they decide what is ambiguous. Any of their names.
        names: further tables of names.
        others: what the species are that a named recording does not name.
        auto: take what a program named where no person did.
        site: what tells the sites; None for what tells the most.
        timezone: of clocks in UTC or without a zone.
        allow_missing: leave rows out that are about no recording here.
        force: replace files that are there.
    """

    labels: tuple[str, ...] = (TAGS,)
    species: tuple[str, ...] = ()
    names: tuple[Path, ...] = ()
    others: Others = "absent"
    auto: bool = False
    site: SiteSource | None = None
    timezone: str | None = None
    allow_missing: bool = False
    force: bool = False


def make_manifest(
    paths: Sequence[Path], out: Path, wishes: Wishes, *, on_progress: OnProgress = ignore_progress
) -> ManifestReport:
    """Make a manifest of the recordings below folders. ``on_progress`` hears of the stage ``look``, in recordings.

    Raises:
        PredictError: no such folder, or no recording in it.
        ManifestError: a file that is there already, labels that cannot be read or are about nothing here, names that
            are not known, or nothing to list.
        OSError: the disk refuses.
    """
    events_file = out.with_name(EVENTS)
    _refuse_present(out, wishes)
    zone = None if wishes.timezone is None else open_zone(wishes.timezone)
    names = Names(read_entries(wishes.names))
    asked = _resolve_asked(names, wishes.species)
    found = find_recordings(paths)
    root, data_dir = found.root, _choose_data_dir(found, out)
    sources = read_sources(wishes.labels, found.names, names, auto=wishes.auto, allow_missing=wishes.allow_missing)
    if TAGS not in wishes.labels:
        resolve_names(sources.labels, names, [*asked])  # what is wrong with them is told before much is read
    looked, rejected = look_at(root, found.names, on_progress)
    rejected = {**found.rejected, **rejected, **{name: "a backslash in its name" for name in looked if "\\" in name}}
    looked = {name: one for name, one in looked.items() if name not in rejected}
    tags = read_tags(looked, auto=wishes.auto) if TAGS in wishes.labels else None
    gathered = gather(sources, tags, looked, names, [*asked])
    columns = choose_columns(gathered.said.values(), list(asked), {g: m for g, m in asked.items() if m})
    _refuse_nothing(looked, columns.names, rejected, paths, names)

    def is_label(folder: str) -> bool:
        return FOLDERS in wishes.labels and bool(names.find(folder))

    sites = find_sites(looked.values(), root.name, wishes.site, is_label)
    filename_of = {name: (root / name).relative_to(data_dir).as_posix() for name in (*looked, *rejected)}
    moments = {name: _find_moment(one, gathered.times.get(name), zone) for name, one in looked.items()}
    rows = [
        _make_row(one, filename_of[name], moments[name], sites, gathered, columns, wishes.others)
        for name, one in looked.items()
    ]
    events, left_out = find_events(gathered, looked, columns.names)
    if events:
        _refuse_present(events_file, wishes)
    write_manifest(out, data_dir, columns.names, rows)
    if events:
        write_events(events_file, events, filename_of)
    made = Made(
        out,
        data_dir,
        events_file if events else None,
        len(events),
        columns.names,
        looked,
        rows,
        moments,
        filename_of,
        wishes.timezone or "",
    )
    return make_report(made, sources, gathered, sites, rejected, left_out)


def _refuse_present(file: Path, wishes: Wishes) -> None:
    if is_there(file) and not wishes.force:
        raise ManifestError(file, "is there already", "Pass --force to replace it, or another -o")


def _resolve_asked(names: Names, asked: Sequence[str]) -> dict[str, frozenset[str]]:
    """Latin names, and names of groups with their members, of what shall have a column."""
    resolved = names.resolve(dict.fromkeys(asked, "--species"))
    entries = [resolved.entries[name] for name in asked]
    if wrong := [name for name, entry in zip(asked, entries, strict=True) if entry.kind in ("no id", "noise")]:
        raise ManifestError("--species", f"{wrong[0]} is no species", "Leave it out")
    return {entry.name: entry.members for entry in entries}


def _choose_data_dir(found: Found, out: Path) -> Path:
    """The manifest's own folder where that holds the recordings, so that no ``--data-dir`` is needed; else theirs."""
    home = Path(os.path.abspath(out.parent))  # noqa: PTH100 (without following links)
    return home if found.root.is_relative_to(home) else found.root


def _refuse_nothing(
    looked: Mapping[str, Looked],
    columns: Sequence[str],
    rejected: Mapping[str, str],
    paths: Sequence[Path],
    names: Names,
) -> None:
    place = ", ".join(map(str, paths))
    if not looked:
        name, reason = next(iter(rejected.items()))
        finding = f"no recording of {count(len(rejected), 'file')} can be used: {name}: {reason}"
        raise ManifestError(place, finding, "Pass another folder")
    if not columns:
        folders = {folder for name in looked for folder in Path(name).parent.parts}
        named = sorted(folder for folder in folders if names.find(folder))
        hint = f"Folders are called as species are ({named[0]}): pass --labels folders" if named else (
            "Pass --labels with a table, with folders, or with tags; or --species for columns to fill in"
        )  # fmt: skip
        raise ManifestError(place, "no label names a species", hint)


def _find_moment(one: Looked, told_by_table: str | None, zone: ZoneInfo | None) -> Moment | None:
    """When a recording began: as its metadata tell, else its name, else a table of labels."""
    told = one.metadata.recorded_at
    _, named = read_name(one.name) or (None, None)
    time = datetime.fromisoformat(told) if told else named
    if time is None and told_by_table:
        time = datetime.fromisoformat(told_by_table)
    if time is None:
        return None
    if time.year < _FIRST_YEAR:
        return Moment(time, "the clock was not set")
    return place_in_zone(time, zone)


def _make_row(
    one: Looked,
    filename: str,
    moment: Moment | None,
    sites: Sites,
    gathered: Gathered,
    columns: Columns,
    others: Others,
) -> ManifestRow:
    said, site = gathered.said.get(one.name, Said()), sites.of.get(one.name, "")
    night = None if moment is None else Occasion(site, moment.time, one.metadata.longitude).night
    notes = [f"time expansion: {one.doubt}" if one.doubt else "", moment.doubt if moment else ""]
    notes += [one.warning, "holds nothing but one value" if one.is_constant else ""]
    notes.append(f"metadata not all read: {one.metadata.unread}" if one.metadata.unread else "")
    known = one.expansion is not None
    return ManifestRow(
        filename,
        fill(said, columns, others),
        group=" ".join(filter(None, (site, str(night)))) if night else "",
        time_expansion=one.expansion,
        expansion_source=one.expansion_source if known else "",
        time=moment.time if moment else None,
        latitude=one.metadata.latitude,
        longitude=one.metadata.longitude,
        site=site,
        recorder=one.metadata.recorder or "",
        rate=round(one.header_rate * cast(float, one.expansion)) if known else None,
        duration_s=one.header_s / cast(float, one.expansion) if known else None,
        night=night,
        notes="; ".join(filter(None, notes)),
    )
