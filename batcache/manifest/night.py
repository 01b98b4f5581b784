"""Where and when a recording was made, as its file name and its metadata tell, and the night that it belongs to."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from batcache.manifest.file_names import read_name

_HALF_A_DAY = timedelta(hours=12)
_DEGREES_AN_HOUR = 15
_FIRST_YEAR = 1900
"""A clock that was never set is no ground for a date."""


@dataclass(frozen=True)
class Occasion:
    """Where and when a recording began; None where nothing tells.

    ``time`` is that of the recorder's clock, with an offset from UTC where the metadata give one. ``longitude`` is in
    degrees, east positive. ``night`` is the date of the evening: what was recorded before noon belongs to the day
    before. Noon is that of the clock, whatever its offset; of a clock that runs in UTC it is that of the sun, where the
    longitude is known: in Australia night falls at noon of UTC.
    """

    site: str | None = None
    time: datetime | None = None
    longitude: float | None = None

    @property
    def night(self) -> date | None:
        """The date of the evening."""
        if self.time is None or self.time.year < _FIRST_YEAR:
            return None
        ahead = timedelta()
        if self.longitude is not None and self.time.utcoffset() == ahead:
            ahead = timedelta(hours=self.longitude / _DEGREES_AN_HOUR)
        return (self.time - _HALF_A_DAY + ahead).date()


def read_occasion(path: str, recorded_at: str | None = None, longitude: float | None = None) -> Occasion:
    """Read the site from what stands before the date in a file's name, the time from ``recorded_at``, else there too.

    Args:
        path: of the recording, POSIX; read by ``file_names``.
        recorded_at: ISO 8601, of the file's metadata, where they tell.
        longitude: of the recorder, in degrees, where the metadata tell.

    >>> occasion = read_occasion("2024/MEADOW_20240413_031003.wav")
    >>> occasion.site, str(occasion.time), str(occasion.night)
    ('MEADOW', '2024-04-13 03:10:03', '2024-04-12')
    """
    said = None if recorded_at is None else datetime.fromisoformat(recorded_at)
    site, written = read_name(path) or (None, None)
    return Occasion(site, said or written, longitude)
