"""A recorder's clock in a time zone: with daylight saving time, across midnight and the turn of the year."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from batcache.errors import ManifestError, did_you_mean, quote


@dataclass(frozen=True)
class Moment:
    """When a recording began. ``doubt`` says why an hour of a clock without zone may be another."""

    time: datetime
    doubt: str = ""


def open_zone(name: str) -> ZoneInfo:
    """A time zone by its name in the IANA's list, such as Europe/Berlin.

    Raises:
        ManifestError: there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        remedy = did_you_mean(name, available_timezones(), "Name one such as Europe/Berlin")
        raise ManifestError("--timezone", f"no time zone {quote(name)}", remedy) from None


def place_in_zone(time: datetime, zone: ZoneInfo | None) -> Moment:
    """A clock's time in a zone.

    A time in UTC is converted. A time without an offset is taken as that zone's local time. One with another offset was
    told by the recorder, and stays. Without a zone all stay.

    >>> str(place_in_zone(datetime(2024, 7, 1, 22, 30, tzinfo=UTC), ZoneInfo("Europe/Berlin")).time)
    '2024-07-02 00:30:00+02:00'
    """
    if zone is None or (time.utcoffset() is not None and time.utcoffset() != timedelta()):
        return Moment(time)
    if time.utcoffset() is not None:
        return Moment(_fixed(time.astimezone(zone)))
    local = time.replace(tzinfo=zone)
    back = local.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
    if back != time:
        return Moment(_fixed(local), "its hour was left out when summer time began")
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        return Moment(_fixed(local), "its hour came twice when summer time ended; the first is taken")
    return Moment(_fixed(local))


def _fixed(time: datetime) -> datetime:
    """The same with its offset alone, so that twelve hours earlier is so by the clock that hung there."""
    return datetime.fromisoformat(time.isoformat())
