"""The formats: a name and the function that writes it. A further one is a module beside these and a line here."""

from collections.abc import Callable
from pathlib import Path

from batcache.survey.formats.aoef import write_aoef
from batcache.survey.formats.audacity import write_audacity
from batcache.survey.formats.guano_copies import write_guano
from batcache.survey.formats.kaleidoscope import write_kaleidoscope
from batcache.survey.formats.nabat import write_nabat
from batcache.survey.formats.raven import write_raven
from batcache.survey.formats.spreadsheet import write_excel, write_plain
from batcache.survey.formats.written import Written
from batcache.survey.judged import Judged

FORMATS: dict[str, Callable[[Judged, Path], Written]] = {
    "kaleidoscope": write_kaleidoscope,
    "raven": write_raven,
    "audacity": write_audacity,
    "aoef": write_aoef,
    "nabat": write_nabat,
    "guano": write_guano,
    "csv": write_plain,
    "excel": write_excel,
}
