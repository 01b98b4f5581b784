"""What is said of each recording: a table with a row for each, made of scores, metadata and what is doubtful.

The columns, in the order of ``predictions.csv``:

path           relative to the folder that was judged, POSIX
site           what stands before the date in the file's name
night          the date of the evening, YYYY-MM-DD; of a time in UTC by the sun, where the file gives a longitude
time           when the recording began, by the recorder's clock, with its offset from UTC where the file gives one
latitude, longitude  in degrees, where the file gives them
duration_s     true seconds
rate           true rate in Hz
time_expansion  how many times slower than life the file plays: by its header it lasts as much longer
channels       of the file
recorder       make and model, where the file gives them
verdict        ``species``; without one ``group``; without either ``unknown bat`` or ``no bat``, by the column ``bat``,
               or, where the model does not say that, ``no species above threshold``; ``rejected``
species        those whose score is at or above their threshold, the highest first, separated by ``; ``; none where the
               score of a bat is below 0.5
species_group  groups of species at or above their threshold of which no member is: one is there, not said which
bat            the score that there is a bat at all, 0 to 1, where the model says so; where it is low, species score low
pulses         how many short sounds stand out of the background: calls, but also insects and clicks
call_peak_khz, call_lowest_khz, call_highest_khz, call_duration_ms, call_interval_ms
               of the strongest of these sounds, see ``features.call_measures``; empty where there is none, and of
               recordings that an earlier batcache judged
calls_measured how many these are
<a species>    its score, 0 to 1; empty where the model was not taught it, and where the recording was rejected. Of a
               species that is called as another column is, the column is called ``score of <species>``
probability …  of a species or a group, for each that is calibrated: how likely it is there, by its score
notes          why it was rejected; what is doubtful about it
threshold      of the scores, where one was given for all species; empty where each has its own, in ``thresholds.csv``
model          the file's name and the beginning of its BLAKE3
format_version of these columns
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batcache.config.features import FeatureConfig
from batcache.features.call_measures import CallMeasures
from batcache.inference.groups import SpeciesGroup, back_off
from batcache.inference.predictions import BAT_THRESHOLD, Predictions
from batcache.manifest.night import read_occasion
from batcache.model.provenance import TrainedOn
from batcache.storage.disk import write_file
from batcache.storage.spreadsheet import as_number, to_csv
from batcache.store.format.commit import CachedRecording

FORMAT_VERSION = 2
"""Of the columns of ``predictions.csv``: raised whenever one is renamed, goes, or means something else."""
LEARNT = "the model has learnt from this recording: its scores here are better than elsewhere"
VALIDATED = "the model was validated on this recording, to choose thresholds: it does better here than elsewhere"
HEARD = (LEARNT, VALIDATED)
"""The notes of recordings that the model has heard before: they tell little of its worth, and are no doubt."""
SAME_AUDIO = "the same audio as"
"""Begins the note of a recording that is a copy of another."""
SPECIES, GROUP, NOTHING, REJECTED = "species", "group", "no species above threshold", "rejected"
UNKNOWN_BAT, NO_BAT = "unknown bat", "no bat"
CALL_COLUMNS = (
    "call_peak_khz", "call_lowest_khz", "call_highest_khz", "call_duration_ms", "call_interval_ms", "calls_measured",
)  # fmt: skip
"""The fields of ``CallMeasures``, in their order."""
OTHER_COLUMNS = (
    "path", "site", "night", "time", "latitude", "longitude", "duration_s", "rate", "time_expansion", "channels",
    "recorder", "verdict", "species", "species_group", "bat", "pulses", *CALL_COLUMNS, "notes", "threshold", "model",
    "format_version",
)  # fmt: skip
"""Those that are no species."""


@dataclass(frozen=True)
class Thresholds:
    """At and above which a score counts: that of each species, shape ``[C]``, and that of each group."""

    species: NDArray[np.float64]
    groups: Sequence[SpeciesGroup] = ()
    of_groups: Sequence[float] = ()


@dataclass(frozen=True)
class Verdict:
    """One recording: ``scores`` are None where it was rejected. Shape: ``[C]``

    ``row`` is what the index says of the file, None where it was rejected; ``bat``, ``pulses`` and ``calls`` are None
    where they are not known.
    """

    path: str
    verdict: str
    species: tuple[str, ...]
    scores: NDArray[np.float32] | None
    notes: str
    row: CachedRecording | None = None
    bat: float | None = None
    pulses: int | None = None
    calls: CallMeasures | None = None
    groups: tuple[str, ...] = ()


def list_verdicts(
    rows: Mapping[str, CachedRecording],
    rejected: Mapping[str, str],
    predictions: Predictions,
    thresholds: Thresholds,
    features: FeatureConfig,
    pulses: Mapping[str, tuple[int | None, CallMeasures | None]],
    trained_on: TrainedOn | None = None,
) -> list[Verdict]:
    """A verdict for each recording, in the order of names: it has a row and scores, or a reason why it was rejected."""
    place, may_hold_bats = {str(name): i for i, name in enumerate(predictions.filenames)}, predictions.may_hold_bats
    first: dict[tuple[str, int], str] = {}
    verdicts = []
    for name in sorted([*rows, *rejected]):
        if name in rejected:
            verdicts.append(Verdict(name, REJECTED, (), None, rejected[name]))
            continue
        row, scores = rows[name], predictions.scores[place[name]]
        notes = list(_list_notes(row, features))
        if trained_on is not None and trained_on.has_learnt(row.content):
            notes.append(LEARNT)
        elif trained_on is not None and trained_on.was_validated_on(row.content):
            notes.append(VALIDATED)
        if (other := first.setdefault(row.key, name)) != name:
            notes.append(f"{SAME_AUDIO} {other}")
        found, of_groups = _find_named(scores, thresholds) if may_hold_bats[place[name]] else ((), ())
        species = tuple(str(predictions.species[i]) for i in found)
        bat = predictions.bats[place[name]] if len(predictions.bats) else np.nan
        heard = None if np.isnan(bat) else float(bat)
        of_row = "; ".join(notes), row, heard, *pulses.get(name, (None, None))
        verdicts.append(Verdict(name, _decide(species, of_groups, heard), species, scores, *of_row, of_groups))
    return verdicts


def _find_named(scores: NDArray[np.float32], thresholds: Thresholds) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The species of a recording with a bat, the highest score first, and the groups of which it names none."""
    counts = scores >= thresholds.species.astype(np.float32)  # as the scores are: 0.7 is not below 0.7
    groups = back_off(scores, counts, thresholds.groups, thresholds.of_groups)
    species = tuple(int(i) for i in np.argsort(-scores, kind="stable") if counts[i])
    return species, tuple(group.name for group in groups)


def _decide(species: Sequence[str], groups: Sequence[str], bat: float | None) -> str:
    if species or groups:
        return SPECIES if species else GROUP
    if bat is None:
        return NOTHING
    return UNKNOWN_BAT if bat >= BAT_THRESHOLD else NO_BAT


def _list_notes(row: CachedRecording, features: FeatureConfig) -> Iterator[str]:
    """What to know of a recording before its scores are believed."""
    if row.expansion_warning:
        yield f"time expansion taken as {row.time_expansion:g}: {row.expansion_warning}"
    if row.header_warning:
        yield f"the file contradicts itself: {row.header_warning}"
    if row.constant:
        yield "holds nothing but one value"
    if row.dead_bands:
        yield f"true rate {row.true_rate:,} Hz: nothing above {row.nyquist_hz / 1000:g} kHz"
    if row.energy_above > 0.5:
        yield f"most energy above {features.fmax / 1000:g} kHz"
    if row.energy_below > 0.5:
        yield f"most energy below {features.fmin / 1000:g} kHz"
    if row.overscale:
        yield f"samples up to {row.overscale:,g} times full scale"
    if row.channels > 1:
        taken = "the first" if row.channel == 1 else f"channel {row.channel}"
        yield "; ".join(filter(None, (f"{taken} of {row.channels} channels", row.channel_warning)))
    if row.unread:
        yield f"metadata not all read: {row.unread}"


def columns_of(
    verdicts: Sequence[Verdict],
    species: Sequence[str],
    threshold: float | None,
    model: str,
    probabilities: Mapping[str, list[float]] | None = None,
) -> dict[str, list[str] | list[float]]:
    """The table by column, texts and numbers; NaN where there is no number.

    ``threshold`` is None where each species has its own. ``probabilities`` are those of the same recordings, for each
    species and group that is calibrated.
    """
    nothing = np.full(len(species), np.nan, np.float32)
    scores = np.array([nothing if v.scores is None else v.scores for v in verdicts]).reshape(-1, len(species))
    rows = [v.row for v in verdicts]
    occasions = [
        read_occasion(v.path, None if v.row is None else v.row.recorded_at, None if v.row is None else v.row.longitude)
        for v in verdicts
    ]
    return {
        "path": [v.path for v in verdicts],
        "site": [o.site or "" for o in occasions],
        "night": [str(o.night or "") for o in occasions],
        "time": ["" if o.time is None else o.time.isoformat(" ", "seconds") for o in occasions],
        "latitude": _numbers(rows, "latitude"),
        "longitude": _numbers(rows, "longitude"),
        "duration_s": _numbers(rows, "duration_s"),
        "rate": _numbers(rows, "true_rate"),
        "time_expansion": _numbers(rows, "time_expansion"),
        "channels": _numbers(rows, "channels"),
        "recorder": ["" if row is None else row.recorder or "" for row in rows],
        "verdict": [v.verdict for v in verdicts],
        "species": ["; ".join(v.species) for v in verdicts],
        "species_group": ["; ".join(v.groups) for v in verdicts],
        "bat": _numbers(verdicts, "bat"),
        "pulses": _numbers(verdicts, "pulses"),
        **{
            column: _numbers([v.calls for v in verdicts], field.name)
            for column, field in zip(CALL_COLUMNS, fields(CallMeasures), strict=True)
        },
        **{_call_column(name): scores[:, i].tolist() for i, name in enumerate(species)},
        **{f"probability {name}": column for name, column in (probabilities or {}).items()},
        "notes": [v.notes for v in verdicts],
        "threshold": [np.nan if threshold is None else threshold] * len(verdicts),
        "model": [model] * len(verdicts),
        "format_version": [float(FORMAT_VERSION)] * len(verdicts),
    }


def _numbers(of: Sequence[object], name: str) -> list[float]:
    """A field of each; NaN where that is None, and where there is nothing to have one."""
    values = [getattr(one, name, None) for one in of]
    return [np.nan if value is None else float(value) for value in values]


def _call_column(species: str) -> str:
    """What the column with a species' scores is called; letters' case counts nothing, as to databases."""
    return f"score of {species}" if species.lower() in OTHER_COLUMNS else species


def write_verdicts(path: Path, columns: Mapping[str, Sequence[str] | Sequence[float]]) -> None:
    """Write the table as CSV: UTF-8, commas, points; no cell of it is a formula to a spreadsheet.

    Raises:
        OSError: the disk refuses.
    """
    rows = zip(*columns.values(), strict=True)
    cells = ([cell if isinstance(cell, str) else as_number(cell) for cell in row] for row in rows)
    write_file(path, to_csv([columns, *cells], line_end="\r\n"))
