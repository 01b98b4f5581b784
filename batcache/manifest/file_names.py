"""Where and when a recording was made, as recorders and the programs after them write it into file names.

The first pattern that finds a date which exists counts. A name without one tells nothing: the eight digits of a
Batlogger and the running number of a Pettersson are no date.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import PurePosixPath

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIRST_AUDIOMOTH = datetime(2016, 1, 1, tzinfo=UTC)
_LAST_AUDIOMOTH = datetime(2036, 1, 1, tzinfo=UTC)
"""Eight hexadecimal digits that are a time out of these bounds are none: 2036 is a clock that was never set."""
_FOLDER_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_]?)(\d\d)\2(\d\d)(?!\d)")
_TRIGGERED = re.compile(r"(?:[0-9A-F]{16}_)?\d{8}_\d{6}T\.wav", re.IGNORECASE)
_DATE_AND_TIME = r"(?<!\d)((?:19|20)\d\d)([-_]?)(\d\d)\2(\d\d)(?:[-_ T$]|__)(\d\d)([-_:]?)(\d\d)\6(\d\d)(?!\d)"

Told = tuple[str | None, datetime]
"""A site, None where the name has none, and the time that the recorder's clock showed."""


@dataclass(frozen=True)
class Pattern:
    """How one kind of file name is read. ``read`` raises ValueError for digits that are no date."""

    of: str
    regex: re.Pattern[str]
    read: Callable[[re.Match[str], PurePosixPath], Told]


def read_name(path: str) -> Told | None:
    """The site and time that a recording's name tells, None where it tells no time.

    Only the file's name is read; of a Batlogger WE X, which writes the time alone, the night's folder too. A time has
    an offset where the name is one in UTC.

    >>> site, time = read_name("2024/MEADOW_20240413_031003.wav")
    >>> site, str(time)
    ('MEADOW', '2024-04-13 03:10:03')
    """
    place = PurePosixPath(path)
    for pattern in PATTERNS:
        for match in pattern.regex.finditer(place.stem):
            try:
                return pattern.read(match, place)
            except ValueError:  # digits that are no date
                continue
    return None


def is_triggered_audiomoth(path: str) -> bool:
    """Whether an AudioMoth wrote the file by a trigger: its silent stretches are coded counts, and no sound.

    >>> is_triggered_audiomoth("card/20240412_221003T.WAV"), is_triggered_audiomoth("card/20240412_221003.WAV")
    (True, False)
    """
    return bool(_TRIGGERED.fullmatch(PurePosixPath(path).name))


def _read_usual(match: re.Match[str], place: PurePosixPath) -> Told:
    year, _, month, day, hour, _, minute, second = match.groups()
    prefix = place.stem[: match.start()].rstrip("-_ ").removesuffix("_0+1")  # both channels of an SM3
    return prefix or None, _moment(year, month, day, hour, minute, second)


def _read_peersonic(match: re.Match[str], place: PurePosixPath) -> Told:
    return None, _moment(*match.groups())  # what stands before the date is a running number


def _read_vigie_chiro(match: re.Match[str], place: PurePosixPath) -> Told:
    square, point, *digits = match.groups()
    return f"{square}-{point}", _moment(*digits)


def _read_ar125(match: re.Match[str], place: PurePosixPath) -> Told:
    return place.stem[: match.start()].rstrip("-_ ") or None, _moment(*match.groups())


def _read_sonobat(match: re.Match[str], place: PurePosixPath) -> Told:
    day, month, year, *clock = match.groups()
    site = place.stem[: match.start()].rstrip("-_ ") or None
    return site, _moment(f"20{year}", _MONTHS.index(month.lower()) + 1, day, *clock)


def _read_batlogger_we(match: re.Match[str], place: PurePosixPath) -> Told:
    """``e`` and ``m`` are before and after midnight; the folder has the evening's date."""
    half, *clock, project = match.groups()
    for folder in reversed(place.parent.parts):
        for told in _FOLDER_DATE.finditer(folder):
            year, _, month, day = told.groups()
            evening = date(int(year), int(month), int(day)) + timedelta(days=half.lower() == "m")
            return project or None, _moment(evening.year, evening.month, evening.day, *clock)
    raise ValueError("no folder with a date")


def _read_unix(match: re.Match[str], place: PurePosixPath) -> Told:
    time = datetime.fromtimestamp(int(match[0], 16), UTC)
    if not _FIRST_AUDIOMOTH <= time < _LAST_AUDIOMOTH:
        raise ValueError("no AudioMoth was there, or its clock was not set")
    return None, time


def _moment(*parts: str | int) -> datetime:
    return datetime(*map(int, parts))  # type: ignore[arg-type]


PATTERNS = (
    Pattern(
        "Vigie-Chiro: square, year, pass, point",
        re.compile(r"^(Car\d+)-\d{4}-Pass\d+-([A-Z]+\d+)-.*?(?<!\d)(\d{4})(\d\d)(\d\d)_(\d\d)(\d\d)(\d\d)(?!\d)", re.I),
        _read_vigie_chiro,
    ),
    Pattern(
        "Binary Acoustic AR125, by SonoBat",
        re.compile(r"D(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)m\d+"),
        _read_ar125,
    ),
    Pattern(
        "Peersonic",
        re.compile(r"^Wav\d+_(\d{4})_(\d\d)_(\d\d)__(\d\d)_(\d\d)_(\d\d)(?!\d)", re.I),
        _read_peersonic,
    ),
    Pattern(
        "Wildlife Acoustics, AudioMoth, Titley, Pettersson by tools: date and time behind a prefix",
        re.compile(_DATE_AND_TIME),
        _read_usual,
    ),
    Pattern(
        "SonoBat, year in two digits",
        re.compile(rf"(?<!\d)(\d\d)({'|'.join(_MONTHS)})(\d\d)-(\d\d),(\d\d),(\d\d)(?!\d)", re.I),
        _read_sonobat,
    ),
    Pattern(
        "Batlogger WE X: microphone, half of the night, time, number, project",
        re.compile(r"^\d{4}_\d([em])(\d\d)(\d\d)(\d\d)\d+(?:_(.+))?$", re.I),
        _read_batlogger_we,
    ),
    Pattern(
        "AudioMoth before 2019: seconds since 1970 in hexadecimal, not of digits alone, as a Batlogger's numbers are",
        re.compile(r"^(?=.*[A-F])[0-9A-F]{8}$"),
        _read_unix,
    ),
)
