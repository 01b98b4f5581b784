"""Predictions written as the files of other programs, each format into a folder of its name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batcache.errors import SurveyError, did_you_mean
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.survey.formats.aoef import require_soundevent
from batcache.survey.formats.table import FORMATS
from batcache.survey.formats.written import Written
from batcache.survey.judged import Rejected, read_judged


@dataclass(frozen=True)
class ConvertReport:
    """What was written.

    Attributes:
        written: by format.
        recordings: how many it tells of.
        rejected: recordings that could not be judged: they are in the tables of ``csv`` and ``excel`` alone.
        several: how many recordings have more than one species.
        reviewed: the table that tells what a person found, where there is one.
        by_hand: of how many recordings it tells.
    """

    written: Mapping[str, Written]
    recordings: int
    rejected: tuple[Rejected, ...]
    several: int
    reviewed: Path | None
    by_hand: int


def require_formats(formats: Sequence[str]) -> None:
    """Check that these formats can be written here.

    Raises:
        SurveyError: one is unknown, or what writes it is not installed.
    """
    for name in formats:
        if name not in FORMATS:
            remedy = did_you_mean(name, FORMATS, f"Formats are {', '.join(FORMATS)}")
            raise SurveyError("--to", f"no format {name!r}", remedy)
    if "aoef" in formats:
        require_soundevent()


def convert(
    folder: Path,
    formats: Sequence[str],
    out: Path | None = None,
    *,
    recordings: Path | None = None,
    on_progress: OnProgress = ignore_progress,
) -> ConvertReport:
    """Write predictions as other programs want them, beside what a person found by its newest ``reviewed.csv``.

    Args:
        folder: that ``predict`` has written.
        formats: keys of ``FORMATS``.
        out: each format gets a folder of its name in it; by default ``folder``.
        recordings: where the recordings are now, if not where they were judged.
        on_progress: hears of each format.

    Raises:
        SurveyError: a format that is unknown or cannot be written here, or that cannot hold what was found.
        PredictError, ManifestError: nothing was judged into the folder, or its tables are damaged.
        RunError: so are its arrays. StoreError: no room for copies. OSError: the disk refuses.
    """
    require_formats(formats)
    judged = read_judged(folder)
    if recordings is not None:
        judged = replace(judged, root=str(recordings.absolute()))
    written: dict[str, Written] = {}
    for name in dict.fromkeys(formats):
        written[name] = FORMATS[name](judged, (out or folder) / name)
        on_progress(Progress("convert", len(written), len(set(formats))))
    several = sum(len(one.species) > 1 for one in judged.recordings)
    by_hand = sum(one.manual is not None for one in judged.recordings)
    return ConvertReport(written, len(judged.recordings), judged.rejected, several, judged.reviewed, by_hand)
