"""From predictions to what a survey reports. Each call imports what it needs."""

from collections.abc import Sequence
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from batcache.progress import OnProgress, ignore_progress

if TYPE_CHECKING:
    from batcache.reviewing.review import ReviewReport
    from batcache.survey.convert import ConvertReport
    from batcache.survey.presence_table import PresenceReport
    from batcache.survey.survey import SurveyReport


def presence(
    folder: str | Path,
    model: str | Path,
    *,
    site: str | None = None,
    draws: int = 200,
    seed: int = 0,
    on_progress: OnProgress = ignore_progress,
) -> "PresenceReport":
    """Test which species were at which site in which night, from what ``predict`` wrote into ``folder``.

    Args:
        folder: with ``predictions.csv``, whose sites and nights may have been corrected, and ``instances.npz``.
        model: that judged; it needs held-out clips, of ``train --folds 5`` or of validation rows.
        site: of recordings whose row names none.
        draws: of the confusion, to see what its few clips leave open.
        seed: decides these.
        on_progress: hears of each site-night.

    Returns:
        ``table()``, a row for each site, night and species: the ratio of likelihoods, and the p-value that belongs to
        it. It stands in ``presence.csv`` too. No authority has approved it: look at the recordings.

    Raises:
        PredictError, ManifestError: nothing was judged into the folder, by another model, or its tables are damaged.
        RunError: no model, a damaged one, or one without held-out clips.
    """
    from batcache.inference.model_file import open_model
    from batcache.survey.presence_table import presence as test_nights

    return test_nights(
        Path(folder), open_model(Path(model)), site=site, draws=draws, seed=seed, on_progress=on_progress
    )


def convert(
    folder: str | Path,
    formats: Sequence[str],
    out: str | Path | None = None,
    *,
    recordings: str | Path | None = None,
    on_progress: OnProgress = ignore_progress,
) -> "ConvertReport":
    """Write what ``predict`` wrote into ``folder`` as the files of other programs.

    Args:
        folder: of predictions.
        formats: ``kaleidoscope``, ``raven``, ``audacity``, ``aoef``, ``nabat``, ``guano``, ``csv``, ``excel``.
        out: each format gets a folder of its name in it; by default ``folder``.
        recordings: where the recordings are now, if not where they were judged.
        on_progress: hears of each format.

    Returns:
        ``written``, by format: where, how many files, and which recordings were left out.

    Raises:
        SurveyError: a format that is unknown, cannot be written here or cannot hold what was found.
        PredictError, ManifestError, RunError: nothing was judged into the folder, or it is damaged.
    """
    from batcache.survey.convert import convert as write

    return write(
        Path(folder),
        formats,
        None if out is None else Path(out),
        recordings=None if recordings is None else Path(recordings),
        on_progress=on_progress,
    )


def survey_nights(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    picture: str | Path | None = None,
    site: str | None = None,
    place: tuple[float, float] | None = None,
    timezone: tzinfo | None = None,
) -> "SurveyReport":
    """Count which species were at which site in which night and hour after sunset, with the effort.

    Args:
        folder: that ``predict`` has written.
        out: the table, by default ``survey.csv`` in ``folder``; two more and the picture lie beside it.
        picture: ends in .png, .svg or .pdf.
        site: of recordings whose row names none.
        place: latitude and longitude, in degrees, of recordings that do not tell.
        timezone: of clocks that do not tell their offset from UTC.

    Raises:
        SurveyError: astral is not installed, or a night that is no date.
        PredictError, ManifestError, RunError: nothing was judged into the folder, or it is damaged.
    """
    from batcache.survey.survey import survey as count

    return count(
        Path(folder),
        None if out is None else Path(out),
        picture=None if picture is None else Path(picture),
        site=site,
        place=place,
        timezone=timezone,
    )


def review(
    target: str | Path = "predictions",
    *,
    against: str | Path | None = None,
    error: float = 0.1,
    seed: int | None = None,
    split: str = "test",
    data_dir: str | Path | None = None,
    port: int = 0,
    on_progress: OnProgress = ignore_progress,
) -> "ReviewReport":
    """Let a person look at predictions, on a page of this machine, until the page or Ctrl-C ends it.

    Args:
        target: what ``predict`` has written, or a run's folder.
        against: another program's table; where it disagrees is asked first.
        error: the share of wrong recordings, at most, at which the random sample is enough.
        seed: of the random sample; by default that of earlier answers, else 0.
        split: of a run: what it has judged.
        data_dir: where the recordings are now, if not where they were.
        port: of the page; 0 is any that is free.
        on_progress: hears, at the beginning, of a ``ReviewStarted``, whose ``address`` is to be opened.

    Returns:
        ``table()``, a row for each recording reviewed, which stands in ``reviewed.csv`` too, where ``calibrate`` and
        ``train`` read it; ``standing``, what is shown by now; ``most_wrong``, by the random sample.

    Raises:
        ReviewError: nothing was judged there, answers that are damaged, another review of it that runs.
        PredictError, ManifestError, RunError, StoreError: tables, runs or caches that are damaged or gone.
        ConfigError: an ``error`` that is no share.
    """
    from batcache.reviewing.open import open_target
    from batcache.reviewing.other_table import read_other
    from batcache.reviewing.review import review as serve

    opened = open_target(Path(target), split, None if data_dir is None else Path(data_dir))
    judged, other = opened.judged, None
    if against is not None:
        other = read_other(Path(against), judged.paths, judged.species)
    return serve(
        judged,
        opened.recordings,
        other=other,
        error=error,
        seed=seed,
        port=port,
        on_progress=on_progress,
    )
