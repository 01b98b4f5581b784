"""In how many recordings each species was, by site, night and hour after sunset, beside how many there were at all."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, tzinfo

import numpy as np

from batcache.errors import SurveyError, quote
from batcache.inference.verdicts import UNKNOWN_BAT
from batcache.survey.judged import Judged, Recording, Rejected
from batcache.survey.sunset import hour_after_sunset


@dataclass
class Effort:
    """What was recorded: how many recordings, for how long, and in how many of them each species was.

    ``first`` and ``last`` are the times at which the first and the last one began, as the recorder's clock has them.
    """

    recordings: int = 0
    seconds: float = 0.0
    first: str = ""
    last: str = ""
    holding: Counter[str] = field(default_factory=Counter)

    def add(self, recording: Recording) -> None:
        """Count a recording."""
        self.recordings += 1
        self.seconds += recording.duration_s
        self.holding.update(names_in(recording))
        if recording.time is not None:
            at = recording.time.isoformat(" ", "seconds")
            self.first, self.last = min(self.first or at, at), max(self.last, at)


@dataclass(frozen=True)
class Counts:
    """A survey.

    Attributes:
        species: those that have scores, and what else was found: groups, and bats that are unknown.
        nights: by site and night.
        hours: by site and hour after sunset; the nights of an hour are those with a recording in it.
        nights_of_hours: how many nights have a recording in that hour.
        unplaced: recordings without site or night.
        copies: recordings left out, as another holds the same audio.
        rejected: how many recordings of a site-night were rejected.
        without_hour: why recordings are in no hour, and how many.
    """

    species: tuple[str, ...]
    nights: Mapping[tuple[str, date], Effort]
    hours: Mapping[tuple[str, int], Effort]
    nights_of_hours: Mapping[tuple[str, int], int]
    unplaced: int
    copies: int
    rejected: Mapping[tuple[str, date], int]
    without_hour: Mapping[str, int]


def names_in(recording: Recording) -> Sequence[str]:
    """The species, else the groups of which one is there, else an unknown bat.

    A recording of which a person says no more than that what the model found is not in it holds an unknown bat.
    """
    if recording.found or recording.manual is not None:
        return recording.found
    if recording.species:
        return [UNKNOWN_BAT]
    return recording.groups or ([UNKNOWN_BAT] if recording.verdict == UNKNOWN_BAT else [])


def count_survey(
    judged: Judged, site: str | None, place: tuple[float, float] | None, timezone: tzinfo | None
) -> Counts:
    """Count what was judged.

    Args:
        judged: recordings and what is in them.
        site: of recordings whose row names none.
        place: latitude and longitude of recordings that do not tell.
        timezone: of clocks that do not tell their offset.

    Raises:
        SurveyError: a night that is no date.
    """
    nights: defaultdict[tuple[str, date], Effort] = defaultdict(Effort)
    hours: defaultdict[tuple[str, int], Effort] = defaultdict(Effort)
    nights_of_hours: defaultdict[tuple[str, int], set[date]] = defaultdict(set)
    without_hour: Counter[str] = Counter()
    unplaced = copies = 0
    for one in judged.recordings:
        where, night = one.site or site or "", _read_night(one)
        if one.is_copy:
            copies += 1
        elif not where or night is None:
            unplaced += 1
        else:
            nights[where, night].add(one)
            hour = _find_hour(one, night, place, timezone)
            if isinstance(hour, str):
                without_hour[hour] += 1
            else:
                hours[where, hour].add(one)
                nights_of_hours[where, hour].add(night)
    return Counts(
        species=tuple(_list_species(judged)),
        nights=dict(sorted(nights.items())),
        hours=dict(sorted(hours.items())),
        nights_of_hours={hour: len(dates) for hour, dates in nights_of_hours.items()},
        unplaced=unplaced,
        copies=copies,
        rejected=_count_rejected(judged.rejected, site),
        without_hour=without_hour,
    )


def _list_species(judged: Judged) -> Iterator[str]:
    names, scores = list(judged.thresholds), judged.predictions.scores
    taught = [names[c] for c in np.flatnonzero(~np.isnan(scores).all(0))]
    found = {name for one in judged.recordings if not one.is_copy for name in names_in(one)}
    yield from taught
    yield from sorted(found.difference(taught))


def _count_rejected(rejected: Iterable[Rejected], site: str | None) -> dict[tuple[str, date], int]:
    placed = ((one.site or site or "", _read_night(one)) for one in rejected)
    return dict(Counter((where, night) for where, night in placed if where and night is not None))


def _read_night(one: Recording | Rejected) -> date | None:
    try:
        return date.fromisoformat(one.night) if one.night else None
    except ValueError:
        finding = f"night {quote(one.night)} of {one.path}, expected a date like 2024-04-12"
        raise SurveyError("predictions.csv", finding, "Correct the cell") from None


def _find_hour(one: Recording, night: date, place: tuple[float, float] | None, timezone: tzinfo | None) -> int | str:
    """The hour after sunset, or why there is none."""
    at = one.time
    if at is None:
        return "no time"
    if at.tzinfo is None:
        if timezone is None:
            return "a clock of unknown offset from UTC: pass --timezone"
        at = at.replace(tzinfo=timezone)
    if one.latitude is not None and one.longitude is not None:
        place = one.latitude, one.longitude
    if place is None:
        return "no place: pass --place"
    hour = hour_after_sunset(at, night, *place)
    return "the sun does not set, or not rise" if hour is None else hour
