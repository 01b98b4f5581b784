"""Kaleidoscope's ``id.csv``: exactly its 44 columns, a row a recording, since columns of others blank its viewer.

The species with the highest score is the AUTO ID, the next two are the ALTERNATEs. Measures are of the strongest calls:
Fc is their peak frequency, Fmin and Fmax the lowest and the highest (kHz), Dur their duration and TBC their interval
(ms), N how many were measured. What batcache does not measure is empty. Cells stand as they are, also where they begin
with ``=``: Kaleidoscope finds a recording by its name.

Columns as documented by users of Kaleidoscope Pro 5; not opened in Kaleidoscope.
"""

from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

from batcache.storage.disk import write_file
from batcache.storage.spreadsheet import to_csv
from batcache.survey.formats.codes import say_manual, say_nothing, to_codes
from batcache.survey.formats.written import Written
from batcache.survey.judged import Judged, Recording

COLUMNS = (
    "INDIR", "OUTDIR", "FOLDER", "IN FILE", "CHANNEL", "OFFSET", "DURATION", "OUT FILE FS", "OUT FILE ZC", "DATE",
    "TIME", "HOUR", "DATE-12", "TIME-12", "HOUR-12", "AUTO ID", "PULSES", "MATCHING", "MATCH RATIO", "MARGIN",
    "ALTERNATE 1", "ALTERNATE 2", "N", "Fc", "Sc", "Dur", "Fmax", "Fmin", "Fmean", "TBC", "Fk", "Tk", "S1", "Tc",
    "Qual", "FILES", "MANUAL ID", "ORGID", "USERID", "REVIEW ORGID", "REVIEW USERID", "INPATHMD5", "OUTPATHMD5FS",
    "OUTPATHMD5ZC",
)  # fmt: skip
_NIGHT_BEGINS = timedelta(hours=12)


def write_kaleidoscope(judged: Judged, folder: Path) -> Written:
    """Write ``id.csv``.

    Raises:
        OSError: the disk refuses.
    """
    codes = to_codes(judged.thresholds)
    rows = [_row_of(judged, recording, codes) for recording in judged.recordings]
    table = [COLUMNS, *([row.get(name, "") for name in COLUMNS] for row in rows)]
    write_file(folder / "id.csv", to_csv(table, line_end="\r\n"))
    return Written(folder / "id.csv")


def _row_of(judged: Judged, recording: Recording, codes: dict[str, str]) -> dict[str, str]:
    path = PurePosixPath(recording.path)
    separator = "\\" if "\\" in judged.root else "/"  # as where they were judged
    found = [codes[name] for name in recording.species] or [say_nothing(recording)]
    first, second, third, *_ = [*found, "", "", ""]
    return {
        "INDIR": judged.root,
        "FOLDER": "" if path.parent == PurePosixPath() else str(path.parent).replace("/", separator),
        "IN FILE": path.name,
        "CHANNEL": "0",
        "OFFSET": "0",
        "DURATION": f"{recording.duration_s * recording.time_expansion:.6g}",  # as the header has it
        "AUTO ID": first,
        "ALTERNATE 1": second,
        "ALTERNATE 2": third,
        "PULSES": "" if recording.pulses is None else str(recording.pulses),
        "FILES": "1",
        "MANUAL ID": "" if recording.manual is None else ", ".join(say_manual(recording.manual, codes)),
        **_when(recording.time, recording.night),
        **_measures(recording),
    }


def _when(time: datetime | None, night: str) -> dict[str, str]:
    """Date and time by the recorder's clock, and 12 hours before; DATE-12 is the night of the table of predictions."""
    if time is None:
        return {"DATE-12": night}
    before = time - _NIGHT_BEGINS
    return {
        "DATE": f"{time:%Y-%m-%d}",
        "TIME": f"{time:%H:%M:%S}",
        "HOUR": str(time.hour),
        "DATE-12": night or f"{before:%Y-%m-%d}",
        "TIME-12": f"{before:%H:%M:%S}",
        "HOUR-12": str(before.hour),
    }


def _measures(recording: Recording) -> dict[str, str]:
    calls = recording.calls
    if calls is None:
        return {}
    return {
        "N": str(calls.measured),
        "Fc": f"{calls.peak_khz:.3f}",
        "Fmax": f"{calls.highest_khz:.3f}",
        "Fmin": f"{calls.lowest_khz:.3f}",
        "Dur": f"{calls.duration_ms:.3f}",
        "TBC": "" if calls.interval_ms is None else f"{calls.interval_ms:.3f}",
    }
