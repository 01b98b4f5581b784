"""Sunset of the evening of a night, at a place; and how many hours after it something was."""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from batcache.errors import SurveyError, quote

_DEGREES_AN_HOUR = 15
_DAY = timedelta(days=1)


def require_astral() -> None:
    """Check that what knows the sun is there.

    Raises:
        SurveyError: astral is not installed.
    """
    try:
        import astral.sun  # noqa: F401
    except ImportError:
        raise SurveyError("astral", "not installed, and without it no sunset", "Run pip install astral") from None


@lru_cache(maxsize=4096)
def find_sunset(evening: date, latitude: float, longitude: float) -> datetime | None:
    """When the sun sets, in UTC, between the solar noon of a date and that of the next; None where it does not.

    Args:
        evening: the date of the evening.
        latitude: in degrees, north positive.
        longitude: in degrees, east positive.
    """
    from astral import Observer
    from astral.sun import sunset

    noon = datetime.combine(evening, time(12), UTC) - timedelta(hours=longitude / _DEGREES_AN_HOUR)
    observer = Observer(latitude, longitude)
    for day in (evening - _DAY, evening, evening + _DAY):  # astral's date is that of UTC, or nearly
        try:
            found: datetime = sunset(observer, day, tzinfo=UTC)
        except ValueError:  # the sun stays up, or down
            continue
        if noon <= found < noon + _DAY:
            return found
    return None


def hour_after_sunset(at: datetime, evening: date, latitude: float, longitude: float) -> int | None:
    """The hour after sunset that a moment falls into: 0 for the first, -1 for the hour before; None without a sunset.

    ``at`` has an offset from UTC: where clocks change in the night, hours that passed are counted.
    """
    set_at = find_sunset(evening, latitude, longitude)
    return None if set_at is None else (at.astimezone(UTC) - set_at) // timedelta(hours=1)


def read_place(text: str) -> tuple[float, float]:
    """Latitude and longitude in degrees, from ``52.5,13.4``.

    Raises:
        SurveyError: it is no such pair.
    """
    try:
        latitude, longitude = (float(part) for part in text.split(","))
    except ValueError:
        latitude, longitude = 999.0, 999.0
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        finding = f"{quote(text)}, expected a latitude and a longitude in degrees"
        raise SurveyError("--place", finding, "Write them like 52.5,13.4")
    return latitude, longitude


def read_timezone(name: str) -> tzinfo:
    """A time zone by its name in the IANA database.

    Raises:
        SurveyError: there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        finding = f"no time zone {quote(name)}"
        raise SurveyError(
            "--timezone", finding, "Write one like Europe/Berlin; on Windows, pip install tzdata"
        ) from None
