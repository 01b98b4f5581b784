"""A survey's tables and picture, from what ``batcache predict`` has written.

``survey.csv``, a row for each site-night and species:

site, night        as in ``predictions.csv``; nights without a judged recording have no row
species            each that has scores; groups and ``unknown bat`` where there are any
recordings         with the species; 0 is a night that was recorded and in which it was not found
of_recordings      the effort: judged recordings of the site-night, with bats or without
recorded_s         their true seconds
first_recorded, last_recorded  when the first and the last one began, by the recorder's clock
rejected           recordings of the site-night that could not be judged, counted neither as bats nor as silence
likelihood_ratio, p_value, flags  of ``presence.csv``, where it lies beside the predictions
model, format_version

``survey_nights.csv``, a row for each night and species over all sites: ``sites`` with it, ``of_sites`` recorded.
``survey_hours.csv``, a row for each site, hour after sunset and species: 0 is the first hour, -1 the one before;
``of_nights`` have a recording in that hour.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, tzinfo
from pathlib import Path

from batcache.errors import PredictError
from batcache.inference.verdicts import write_verdicts
from batcache.manifest.table import place_of
from batcache.storage.listing import is_there
from batcache.storage.spreadsheet import as_written
from batcache.survey.counts import Counts, Effort, count_survey
from batcache.survey.judged import Judged, Rejected, read_judged
from batcache.survey.site_nights import read_rows
from batcache.survey.sunset import require_astral

FORMAT_VERSION = 1
"""Of the columns of these tables: raised whenever one is renamed, goes, or means something else."""
Columns = dict[str, list[str] | list[float]]
_TESTS = ("likelihood_ratio", "p_value", "flags")


@dataclass(frozen=True)
class Found:
    """In how many recordings, nights and sites a species was."""

    recordings: int
    nights: int
    sites: int


@dataclass(frozen=True)
class SurveyReport:
    """What was written, and what has no place in it.

    Attributes:
        counts: by site, night and hour.
        found: by species.
        rejected: recordings that could not be judged.
        without_effort: site-nights of which all recordings were rejected: they have no row.
        reviewed: the table that tells what a person found, where there is one.
        by_hand: of how many recordings it tells.
    """

    table_file: Path
    nights_file: Path
    hours_file: Path
    picture_file: Path
    counts: Counts
    found: Mapping[str, Found]
    rejected: tuple[Rejected, ...]
    without_effort: tuple[tuple[str, date], ...]
    reviewed: Path | None
    by_hand: int

    @property
    def recordings(self) -> int:
        """Those of all site-nights."""
        return sum(effort.recordings for effort in self.counts.nights.values())

    @property
    def site_nights(self) -> int:
        """Those with a judged recording."""
        return len(self.counts.nights)

    @property
    def unplaced(self) -> int:
        """Recordings without site or night."""
        return self.counts.unplaced

    @property
    def copies(self) -> int:
        """Recordings left out, as another holds the same audio."""
        return self.counts.copies

    @property
    def without_hour(self) -> Mapping[str, int]:
        """Why recordings are in no hour, and how many."""
        return self.counts.without_hour


def survey(
    folder: Path,
    out: Path | None = None,
    *,
    picture: Path | None = None,
    site: str | None = None,
    place: tuple[float, float] | None = None,
    timezone: tzinfo | None = None,
) -> SurveyReport:
    """Count a survey, and write its tables and its picture.

    What a person found, by the newest ``reviewed.csv`` in the folder, counts in the place of what the model said.

    Args:
        folder: that ``predict`` has written.
        out: the table of site-nights, by default ``folder / "survey.csv"``; the others lie beside it.
        picture: ends in .png, .svg or .pdf; by default the table's name with .png.
        site: of recordings whose row names none.
        place: latitude and longitude, in degrees, of recordings that do not tell.
        timezone: of clocks that do not tell their offset.

    Raises:
        SurveyError: astral is not installed, or a night that is no date.
        PredictError, ManifestError: nothing was judged into the folder, or its tables are damaged.
        RunError: so are its arrays, or a picture of another kind. OSError: the disk refuses.
    """
    from batcache.evaluation.pictures.save import is_vector
    from batcache.survey.picture import draw_survey

    require_astral()
    table = out or folder / "survey.csv"
    drawn = picture or table.with_suffix(".png")
    is_vector(drawn)  # before any work
    judged = read_judged(folder)
    counts = count_survey(judged, site, place, timezone)
    nights, hours = (table.with_name(f"{table.stem}_{what}.csv") for what in ("nights", "hours"))
    write_verdicts(table, _with_model(_of_site_nights(counts, _read_presence(folder)), judged))
    write_verdicts(nights, _with_model(_of_nights(counts), judged))
    write_verdicts(hours, _with_model(_of_hours(counts), judged))
    draw_survey(counts, drawn, judged.model)
    return SurveyReport(
        table_file=table,
        nights_file=nights,
        hours_file=hours,
        picture_file=drawn,
        counts=counts,
        found={name: _find(counts, name) for name in counts.species},
        rejected=judged.rejected,
        without_effort=tuple(sorted(set(counts.rejected) - set(counts.nights))),
        reviewed=judged.reviewed,
        by_hand=sum(bool(one.manual is not None or one.refuted) for one in judged.recordings),
    )


def _find(counts: Counts, species: str) -> Found:
    holding = [(where, night) for (where, night), effort in counts.nights.items() if effort.holding[species]]
    recordings = sum(effort.holding[species] for effort in counts.nights.values())
    return Found(recordings, len({night for _, night in holding}), len({where for where, _ in holding}))


def _with_model(columns: Columns, judged: Judged) -> Columns:
    rows = len(columns["species"])
    return {**columns, "model": [judged.model] * rows, "format_version": [float(FORMAT_VERSION)] * rows}


def _rows(counts: Counts) -> Iterator[tuple[str, date, str, Effort]]:
    for (where, night), effort in counts.nights.items():
        yield from ((where, night, name, effort) for name in counts.species)


def _of_site_nights(counts: Counts, tests: Mapping[tuple[str, str, str], Mapping[str, str]]) -> Columns:
    rows = list(_rows(counts))
    columns: Columns = {
        "site": [where for where, _, _, _ in rows],
        "night": [str(night) for _, night, _, _ in rows],
        "species": [name for _, _, name, _ in rows],
        "recordings": [float(effort.holding[name]) for _, _, name, effort in rows],
        "of_recordings": [float(effort.recordings) for *_, effort in rows],
        "recorded_s": [round(effort.seconds, 1) for *_, effort in rows],
        "first_recorded": [effort.first for *_, effort in rows],
        "last_recorded": [effort.last for *_, effort in rows],
        "rejected": [float(counts.rejected.get((where, night), 0)) for where, night, _, _ in rows],
    }
    found = [tests.get((where, str(night), name), {}) for where, night, name, _ in rows]
    return columns | {test: [cells.get(test, "") for cells in found] for test in _TESTS}


def _of_nights(counts: Counts) -> Columns:
    nights: dict[date, list[Effort]] = {}
    for (_, night), effort in counts.nights.items():
        nights.setdefault(night, []).append(effort)
    rows = [(night, name, efforts) for night, efforts in sorted(nights.items()) for name in counts.species]
    return {
        "night": [str(night) for night, _, _ in rows],
        "species": [name for _, name, _ in rows],
        "recordings": [float(sum(effort.holding[name] for effort in efforts)) for _, name, efforts in rows],
        "of_recordings": [float(sum(effort.recordings for effort in efforts)) for *_, efforts in rows],
        "sites": [float(sum(effort.holding[name] > 0 for effort in efforts)) for _, name, efforts in rows],
        "of_sites": [float(len(efforts)) for *_, efforts in rows],
        "recorded_s": [round(sum(effort.seconds for effort in efforts), 1) for *_, efforts in rows],
    }


def _of_hours(counts: Counts) -> Columns:
    rows = [(where, hour, name, effort) for (where, hour), effort in counts.hours.items() for name in counts.species]
    return {
        "site": [where for where, *_ in rows],
        "hour_after_sunset": [float(hour) for _, hour, _, _ in rows],
        "species": [name for _, _, name, _ in rows],
        "recordings": [float(effort.holding[name]) for _, _, name, effort in rows],
        "of_recordings": [float(effort.recordings) for *_, effort in rows],
        "of_nights": [float(counts.nights_of_hours[where, hour]) for where, hour, _, _ in rows],
        "recorded_s": [round(effort.seconds, 1) for *_, effort in rows],
    }


def _read_presence(folder: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """The tests of ``presence.csv`` by site, night and species; none where it is not there."""
    table, keys = folder / "presence.csv", ("site", "night", "species")
    if not is_there(table):
        return {}
    tests: dict[tuple[str, str, str], dict[str, str]] = {}
    for line, row in read_rows(table, (*keys, *_TESTS)):
        where, night, species = (as_written(row[key]) for key in keys)
        if (where, night, species) in tests:
            finding = f"{species} at {where} in the night of {night} stands here twice"
            raise PredictError(place_of(table, line), finding, "Run `batcache presence` again")
        tests[where, night, species] = {test: row[test] for test in _TESTS}
    return tests
