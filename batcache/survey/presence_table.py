"""``presence.csv``: a row for each site, night and species that may have been there.

The columns:

site, night        as in ``predictions.csv``
species
files_identified   files whose one label it is: of the species at or above their thresholds, that of the highest score
files_above_threshold  files in which it is at or above its threshold, beside others or not
files              of that site and night, those without a species among them
share              of all these files, as estimated
likelihood_ratio   without the species to with it; programs in use call this the P-value
p_value            how often a species that is absent has so low a ratio, with many files; with few it is too low
share_of_draws     of the confusions that the held-out clips leave possible, in how many the ratio is below 0.05
flags              ``few files``: identified in fewer than 15; ``swamped``: in less than a quarter of the identified;
                   ``few held-out clips``: of the species, fewer than 10
held_out_clips     of the species, by which its confusion is known
threshold          of the species' scores
model              the file's name and the beginning of its BLAKE3
format_version     of these columns
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batcache.errors import PredictError, RunError
from batcache.inference.model_file import ModelFile
from batcache.inference.verdicts import write_verdicts
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.survey.confusion import Confusion, count_confusion, identify
from batcache.survey.presence import Presence, judge_night
from batcache.survey.site_nights import SiteNight, Survey, read_survey

FORMAT_VERSION = 1
"""Of the columns of ``presence.csv``: raised whenever one is renamed, goes, or means something else."""


@dataclass(frozen=True)
class PresenceReport:
    """Which species were at which site in which night.

    Attributes:
        table_file: what was written.
        columns: it, by column.
        site_nights: how many were tested.
        unplaced: recordings that form no night, as they have no site or no night.
        copies: recordings left out, as another holds the same audio.
        confusion: by which it was tested.
        source: of the held-out clips: ``validation`` or ``folds``.
        untested: species that have scores, but no held-out clip.
    """

    table_file: Path
    columns: Mapping[str, list[str] | list[float]]
    site_nights: int
    unplaced: int
    copies: int
    confusion: Confusion
    source: str
    untested: tuple[str, ...]

    def table(self) -> dict[str, NDArray[Any]]:
        """Columns by name, a row for each site, night and species, as a DataFrame wants them."""
        return {name: np.array(values) for name, values in self.columns.items()}


def presence(
    folder: Path,
    model: ModelFile,
    *,
    site: str | None = None,
    draws: int = 200,
    seed: int = 0,
    on_progress: OnProgress = ignore_progress,
) -> PresenceReport:
    """Test for presence, site by site and night by night, and write ``presence.csv`` beside the predictions.

    Args:
        folder: that ``predict`` has written.
        model: that judged, with held-out clips.
        site: of recordings whose row names none.
        draws: of the confusion, to see what it leaves open.
        seed: decides them.
        on_progress: hears of each site-night.

    Raises:
        PredictError, ManifestError: nothing was judged into the folder, by another model, or its tables are damaged.
        RunError: the model has no held-out clips. OSError: the disk refuses.
    """
    held_out, known = model.checkpoint.held_out, model.checkpoint.species
    if held_out is None:
        finding = "has no held-out clips, by which to know how often it takes a species for another"
        raise RunError(model.path, finding, "Train with --folds 5, or with validation rows")
    survey = read_survey(folder, site)
    if survey.model.split(" ")[-1] != model.name.split(" ")[-1]:
        finding = f"judged by {survey.model}, not by {model.name}"
        raise PredictError(folder / "predictions.csv", finding, "Pass that model")
    confusion = count_confusion(held_out, known, survey.thresholds)
    if not confusion.species:
        raise RunError(model.path, "no held-out clip holds any of its species", "Train with more clips to validate on")
    drawn = confusion.draw(draws, np.random.default_rng(seed))
    rows: list[_Row] = []
    for done, night in enumerate(survey.nights, 1):
        rows += _test_night(night, survey, confusion, drawn)
        on_progress(Progress("presence", done, len(survey.nights)))
    columns, place = _columns_of(rows, confusion, survey), folder / "presence.csv"
    ratios = ("share", "likelihood_ratio", "p_value", "share_of_draws")
    small = {name: [f"{value:.3g}".replace("nan", "") for value in columns[name]] for name in ratios}
    write_verdicts(place, {**columns, **small})
    return PresenceReport(
        table_file=place,
        columns=columns,
        site_nights=len(survey.nights),
        unplaced=survey.unplaced,
        copies=survey.copies,
        confusion=confusion,
        source=held_out.source,
        untested=tuple(name for name in known if name not in {*confusion.species, *model.untaught}),
    )


@dataclass(frozen=True)
class _Row:
    """A species in a night, and in how many of its files it is above the threshold."""

    night: SiteNight
    above: int
    presence: Presence


def _test_night(night: SiteNight, survey: Survey, confusion: Confusion, drawn: NDArray[np.float64]) -> Iterator[_Row]:
    may_hold_bats = survey.predictions.may_hold_bats[night.rows, None]
    scores = np.where(may_hold_bats, survey.predictions.scores[night.rows][:, confusion.columns], np.nan)
    thresholds = survey.thresholds[confusion.columns]
    for found in judge_night(identify(scores, thresholds), confusion, drawn):
        yield _Row(night, int((scores >= thresholds)[:, found.species].sum()), found)


def _columns_of(rows: Sequence[_Row], confusion: Confusion, survey: Survey) -> dict[str, list[str] | list[float]]:
    held = [confusion.counts[row.presence.species].sum() for row in rows]
    return {
        "site": [row.night.site for row in rows],
        "night": [row.night.night for row in rows],
        "species": [confusion.species[row.presence.species] for row in rows],
        "files_identified": [float(row.presence.identified) for row in rows],
        "files_above_threshold": [float(row.above) for row in rows],
        "files": [float(len(row.night.rows)) for row in rows],
        "share": [row.presence.share for row in rows],
        "likelihood_ratio": [row.presence.likelihood_ratio for row in rows],
        "p_value": [row.presence.p_value for row in rows],
        "share_of_draws": [row.presence.share_of_draws for row in rows],
        "flags": ["; ".join(row.presence.flags) for row in rows],
        "held_out_clips": [float(clips) for clips in held],
        "threshold": [float(survey.thresholds[confusion.columns[row.presence.species]]) for row in rows],
        "model": [survey.model] * len(rows),
        "format_version": [float(FORMAT_VERSION)] * len(rows),
    }
