"""What became of the recordings and labels that a manifest was made of."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batcache.catalogue.clock import Moment
from batcache.catalogue.gather import Gathered, Sources, SourceUse
from batcache.catalogue.look import Looked
from batcache.catalogue.places import Sites, SiteSource
from batcache.catalogue.rows import ManifestRow
from batcache.manifest.cells import UNKNOWN


@dataclass(frozen=True)
class ListedSpecies:
    """In how many recordings a species is, is not, and in how many nobody knows."""

    species: str
    present: int
    absent: int
    unknown: int


@dataclass(frozen=True)
class ManifestReport:
    """A manifest that was made, and what to know of it. Recordings are named by their paths.

    Attributes:
        out: the manifest.
        data_dir: where its filenames start from.
        needs_data_dir: whether that is another folder than the manifest's.
        events: the table of calls beside it, None where no label has times; with how many calls.
        recordings, named, noise, no_id: how many are listed; that something is said of; that hold no bat; of which
            something could not be named.
        nights, sites, groups: how many there are.
        site_source: what told the sites.
        timezone: that of clocks in UTC or without zone; empty for none.
        local_times: how many times have no offset.
        species: a row for each column.
        filled: cells that are 0 only because another species or noise was named.
        opened: groups that left their members open, and in how many recordings.
        uses: the sources of labels.
        decided: names of several species, and which the species at hand decided for.
        without_time, without_place, without_site: recordings of which nothing tells these.
        doubtful: of which the time expansion is not known, and why.
        doubtful_times: of which the clock's hour is doubtful, and why.
        unread: of which metadata could not be read.
        constant: that hold nothing but one value.
        headers: whose header was not believed, or contradicts the metadata, and how.
        rejected: what is not listed, and why.
        unmatched: names in tables of labels that are of no recording here, and why.
        events_left_out: recordings whose calls could not be placed, and why.
        passed_over: tables that are no labels.
    """

    out: Path
    data_dir: Path
    needs_data_dir: bool
    events: Path | None
    calls: int
    recordings: int
    named: int
    noise: int
    no_id: int
    nights: int
    sites: int
    groups: int
    site_source: SiteSource | None
    timezone: str
    local_times: int
    species: tuple[ListedSpecies, ...]
    filled: int
    opened: Mapping[str, int]
    uses: tuple[SourceUse, ...]
    decided: Mapping[str, str]
    without_time: tuple[str, ...]
    without_place: tuple[str, ...]
    without_site: tuple[str, ...]
    doubtful: Mapping[str, str]
    doubtful_times: Mapping[str, str]
    unread: Mapping[str, str]
    constant: tuple[str, ...]
    headers: Mapping[str, str]
    rejected: Mapping[str, str]
    unmatched: Mapping[str, str]
    events_left_out: Mapping[str, str]
    passed_over: tuple[Path, ...]


@dataclass(frozen=True)
class Made:
    """What was written, and of what."""

    out: Path
    data_dir: Path
    events: Path | None
    calls: int
    columns: tuple[str, ...]
    looked: Mapping[str, Looked]
    rows: Sequence[ManifestRow]
    moments: Mapping[str, Moment | None]
    filename_of: Mapping[str, str]
    timezone: str


def make_report(
    made: Made,
    sources: Sources,
    gathered: Gathered,
    sites: Sites,
    rejected: Mapping[str, str],
    left_out: Mapping[str, str],
) -> ManifestReport:
    """Count what was made."""
    said, rows, looked, filename_of = gathered.said, made.rows, made.looked, made.filename_of
    counts = [Counter(row.labels[i] for row in rows) for i in range(len(made.columns))]
    opened = Counter(group for one in said.values() for group in one.groups if group not in made.columns)
    return ManifestReport(
        out=made.out,
        data_dir=made.data_dir,
        needs_data_dir=Path(os.path.abspath(made.out.parent)) != made.data_dir,  # noqa: PTH100
        events=made.events,
        calls=made.calls,
        recordings=len(rows),
        named=sum(one.anything for one in said.values()),
        noise=sum(one.noise and not (one.species or one.groups or one.no_id) for one in said.values()),
        no_id=sum(one.no_id for one in said.values()),
        nights=len({row.night for row in rows if row.night}),
        sites=len({row.site for row in rows if row.site}),
        groups=len({row.group for row in rows if row.group}),
        site_source=sites.source,
        timezone=made.timezone,
        local_times=sum(row.time is not None and row.time.utcoffset() is None for row in rows),
        species=tuple(
            ListedSpecies(name, each[1], each[0], each[UNKNOWN])
            for name, each in zip(made.columns, counts, strict=True)
        ),
        filled=sum(each[0] for each in counts),
        opened=dict(opened),
        uses=gathered.uses,
        decided=gathered.resolved.decided,
        without_time=tuple(filename_of[name] for name in looked if made.moments[name] is None),
        without_place=tuple(filename_of[name] for name, one in looked.items() if one.metadata.latitude is None),
        without_site=tuple(filename_of[name] for name in looked if name not in sites.of),
        doubtful={filename_of[name]: one.doubt for name, one in looked.items() if one.doubt},
        doubtful_times={filename_of[name]: m.doubt for name, m in made.moments.items() if m is not None and m.doubt},
        unread={filename_of[name]: one.metadata.unread for name, one in looked.items() if one.metadata.unread},
        constant=tuple(filename_of[name] for name, one in looked.items() if one.is_constant),
        headers={filename_of[name]: one.warning for name, one in looked.items() if one.warning},
        rejected={filename_of[name]: why for name, why in rejected.items()},
        unmatched=sources.unmatched,
        events_left_out={filename_of[name]: why for name, why in left_out.items()},
        passed_over=sources.passed_over,
    )
