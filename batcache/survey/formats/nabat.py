"""NABat's bulk upload of stationary acoustic surveys: a row a recording, the columns of ``nabat.yaml``.

A row has one species, that of the highest score, as a code of four letters. Times are the recorder's clock, as NABat
takes them, without an offset; a survey's start and end are those of the first and the last recording of the site. What
only the surveyor knows is empty: the GRTS cell, who surveyed, the lists of species, the microphone. Whether the portal
takes ``batcache`` for a software is not known.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from batcache.species.codes import nabat_code
from batcache.storage.disk import write_file
from batcache.storage.spreadsheet import to_csv
from batcache.survey.formats.codes import NOISE, say_nothing, to_codes
from batcache.survey.formats.written import Written
from batcache.survey.judged import Judged, Recording


def write_nabat(judged: Judged, folder: Path) -> Written:
    """Write ``nabat.csv``.

    Raises:
        OSError: the disk refuses.
    """
    template = yaml.safe_load((files("batcache.survey.formats") / "nabat.yaml").read_text(encoding="utf-8"))
    columns: dict[str, str | None] = template["columns"]
    surveys = _find_surveys(judged)
    rows = [list(columns)]
    for recording in judged.recordings:
        facts = _facts_of(judged, recording, template, surveys)
        rows.append(["" if name is None else facts[name] for name in columns.values()])
    write_file(folder / "nabat.csv", to_csv(rows, line_end="\r\n"))
    return Written(folder / "nabat.csv")


def _facts_of(
    judged: Judged, recording: Recording, template: Mapping[str, Any], surveys: Mapping[str, tuple[str, str]]
) -> dict[str, str]:
    nothing = template["noise" if say_nothing(recording) == NOISE else "no_identification"]
    manual = recording.manual
    first, last = surveys.get(recording.site, ("", ""))
    return {
        "latitude": "" if recording.latitude is None else f"{recording.latitude:.6g}",
        "longitude": "" if recording.longitude is None else f"{recording.longitude:.7g}",
        "site": recording.site,
        "first_time": first,
        "last_time": last,
        "software": "batcache",
        "auto_id": _code(recording.species[0]) if recording.species else nothing,
        "manual_id": "" if manual is None else _code(manual[0]) if manual else template["noise"],
        "name": PurePosixPath(recording.path).name,
        "time": "" if recording.time is None else _say(recording.time),
        "recorder": recording.recorder,
    }


def _find_surveys(judged: Judged) -> dict[str, tuple[str, str]]:
    """When the first recording of each site began and the last one ended."""
    times: dict[str, list[tuple[datetime, datetime]]] = {}
    for one in judged.recordings:
        if one.time is not None:
            clock = one.time.replace(tzinfo=None)
            times.setdefault(one.site, []).append((clock, clock + timedelta(seconds=one.duration_s)))
    return {site: (_say(min(a for a, _ in spans)), _say(max(b for _, b in spans))) for site, spans in times.items()}


def _say(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}"


def _code(species: str) -> str:
    return to_codes([species], nabat_code)[species]
