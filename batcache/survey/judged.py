"""What ``batcache predict`` has written into a folder, recording by recording, for whoever writes it otherwise.

Rows may have been deleted from ``predictions.csv``, and cells corrected in it, also by a spreadsheet that writes
semicolons and decimal commas. Scores and evidence come from ``instances.npz``.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path

from batcache.errors import PredictError, quote
from batcache.features.call_measures import CallMeasures
from batcache.inference.predictions import Predictions, read_predictions
from batcache.inference.recordings.journal import read_header
from batcache.inference.verdicts import CALL_COLUMNS, FORMAT_VERSION, OTHER_COLUMNS, REJECTED, SAME_AUDIO
from batcache.manifest.cells import leads_out
from batcache.manifest.table import place_of, read_table
from batcache.storage.listing import is_there
from batcache.storage.spreadsheet import as_written
from batcache.survey.reviewed import find_reviewed, read_labels_of
from batcache.survey.site_nights import read_thresholds

_REMEDY = "Run `batcache predict` again: what was judged stays"


@dataclass(frozen=True)
class Recording:
    """One recording that was judged; what is not known is None.

    Attributes:
        row: where its scores stand in ``Judged.predictions``.
        path: POSIX, relative to the folder that was judged.
        time: when it began, by the recorder's clock, with its offset from UTC where the file gives one.
        duration_s: true seconds; ``time_expansion`` times as many by the file's header.
        rate: true rate in Hz.
        species: those at or above their thresholds, the highest score first.
        groups: groups of species of which one is there, not said which.
        manual: what a person found, none for no bat; None where nobody found, or excluded, all.
        refuted: species that a person did not find.
    """

    row: int
    path: str
    site: str
    night: str
    time: datetime | None
    latitude: float | None
    longitude: float | None
    duration_s: float
    rate: float
    time_expansion: float
    channels: int
    recorder: str
    verdict: str
    species: tuple[str, ...]
    groups: tuple[str, ...]
    bat: float | None
    pulses: int | None
    calls: CallMeasures | None
    notes: str
    manual: tuple[str, ...] | None = None
    refuted: frozenset[str] = frozenset()

    @property
    def found(self) -> tuple[str, ...]:
        """The species, by what a person found where somebody looked, else by the model."""
        if not self.manual and self.manual is not None:
            return ()
        by_hand = self.manual or ()
        return (*by_hand, *(name for name in self.species if name not in self.refuted and name not in by_hand))

    @property
    def is_copy(self) -> bool:
        """Whether another recording holds the same audio."""
        return self.notes.startswith(SAME_AUDIO) or f"; {SAME_AUDIO}" in self.notes


@dataclass(frozen=True)
class Rejected:
    """A recording that could not be judged; site and night are those of its name."""

    path: str
    site: str
    night: str
    reason: str


@dataclass(frozen=True)
class Judged:
    """All recordings of a folder of predictions, in the order of their table.

    Attributes:
        folder: where the predictions lie.
        root: the folder that recordings' paths start from, or the cache that was judged.
        model: name and digest of the model that judged.
        thresholds: by species.
        reviewed: the table that tells what a person found, where there is one.
    """

    folder: Path
    root: str
    model: str
    thresholds: Mapping[str, float]
    recordings: tuple[Recording, ...]
    rejected: tuple[Rejected, ...]
    predictions: Predictions = field(repr=False)
    reviewed: Path | None = None

    def score(self, recording: Recording, species: str) -> float:
        """The score of a species, 0 to 1; NaN where it has none."""
        column = list(self.thresholds).index(species)
        return float(self.predictions.scores[recording.row, column])


def read_judged(folder: Path) -> Judged:
    """Read what was judged into a folder, and what a person found since.

    Raises:
        PredictError: a table of another version or of several models, without a recording, or with a cell that is none.
        ManifestError: a table that is missing or damaged. RunError: so is ``instances.npz``.
    """
    table = folder / "predictions.csv"
    if not is_there(table):
        raise PredictError(
            folder, "no predictions in it", "Pass the folder that `batcache predict` has written (--out)"
        )
    predictions = read_predictions(folder / "instances.npz")
    names = predictions.species.tolist()
    thresholds = dict(zip(names, read_thresholds(folder / "thresholds.csv", names).tolist(), strict=True))
    place = {str(name): i for i, name in enumerate(predictions.filenames)}
    reviewed = find_reviewed(folder)
    labels = read_labels_of(reviewed) if reviewed else {}
    recordings, rejected, models = [], [], set()
    for where, cells in _read_cells(table):
        if cells["format_version"] != str(FORMAT_VERSION):
            finding = f"version {cells['format_version']} of its columns, this batcache reads {FORMAT_VERSION}"
            raise PredictError(where, finding, _REMEDY)
        if leads_out(cells["path"]):
            raise PredictError(where, f"path {quote(cells['path'])} leads out of the folder", "Correct it")
        if cells["verdict"] == REJECTED:
            rejected.append(Rejected(cells["path"], cells["site"], cells["night"], cells["notes"]))
            continue
        if cells["path"] not in place:
            raise PredictError(where, f"no scores of {quote(cells['path'])} in instances.npz", _REMEDY)
        models.add(cells["model"])
        one = _read_recording(where, cells, place[cells["path"]])
        if said := labels.get(one.path):
            one = replace(one, manual=_say_manual(said, names), refuted=frozenset(n for n in said if not said[n]))
        if unknown := [name for name in one.species if name not in thresholds]:
            raise PredictError(where, f"species {quote(unknown[0])}, which the model does not know", "Correct it")
        recordings.append(one)
    if len(models) != 1:
        finding = "its rows are of several models" if models else "no recording in it that was judged"
        raise PredictError(table, finding, "Pass the folder of other predictions")
    root, model = read_header(folder).root, models.pop()
    return Judged(folder, root, model, thresholds, tuple(recordings), tuple(rejected), predictions, reviewed)


def _say_manual(said: Mapping[str, int], species: Sequence[str]) -> tuple[str, ...] | None:
    """The species that a person found; none where each of the model's ``species`` was excluded."""
    if present := tuple(name for name, label in said.items() if label):
        return present
    return () if all(said.get(name) == 0 for name in species) else None


def _read_cells(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The place of each row, and its cells by column, numbers with points."""
    columns, delimiter, rows = read_table(table)
    if missing := [name for name in OTHER_COLUMNS if name not in columns]:
        raise PredictError(place_of(table, 1), f"no column {missing[0]!r}", _REMEDY)
    for line, cells in rows:
        where = place_of(table, line)
        if len(cells) != len(columns):
            raise PredictError(where, f"{len(cells)} cells, the header has {len(columns)}", "Correct the row")
        row = {name: as_written(cells[columns[name]].strip()) for name in OTHER_COLUMNS}
        if delimiter != ",":
            row |= {name: row[name].replace(",", ".") for name in _NUMBERS}
        yield where, row


_NUMBERS = ("latitude", "longitude", "duration_s", "rate", "time_expansion", "channels", "bat", "pulses", *CALL_COLUMNS)


def _read_recording(where: str, cells: Mapping[str, str], row: int) -> Recording:
    numbers = {name: _read_number(where, name, cells[name]) for name in _NUMBERS}
    needed = ("duration_s", "rate", "time_expansion", "channels")
    if missing := [name for name in needed if numbers[name] is None]:
        raise PredictError(where, f"no {missing[0]}", _REMEDY)
    duration_s, rate, time_expansion, channels = (numbers[name] or 0.0 for name in needed)
    pulses = numbers["pulses"]
    return Recording(
        row=row,
        path=cells["path"],
        site=cells["site"],
        night=cells["night"],
        recorder=cells["recorder"],
        verdict=cells["verdict"],
        notes=cells["notes"],
        time=_read_time(where, cells["time"]),
        latitude=numbers["latitude"],
        longitude=numbers["longitude"],
        duration_s=duration_s,
        rate=rate,
        time_expansion=time_expansion,
        channels=int(channels),
        species=_read_names(cells["species"]),
        groups=_read_names(cells["species_group"]),
        bat=numbers["bat"],
        pulses=None if pulses is None else int(pulses),
        calls=_read_calls([numbers[name] for name in CALL_COLUMNS]),
    )


def _read_number(where: str, column: str, cell: str) -> float | None:
    try:
        value = float(cell) if cell else None
    except ValueError:
        value = math.nan
    if value is not None and not math.isfinite(value):
        raise PredictError(where, f"{column} {quote(cell)}, expected a number", "Correct the cell")
    return value


def _read_time(where: str, cell: str) -> datetime | None:
    try:
        return datetime.fromisoformat(cell) if cell else None
    except ValueError:
        finding = f"time {quote(cell)}, expected one like 2024-04-12 22:10:03"
        raise PredictError(where, finding, "Correct the cell") from None


def _read_names(cell: str) -> tuple[str, ...]:
    return tuple(as_written(name) for name in cell.split("; ") if name)


def _read_calls(values: Sequence[float | None]) -> CallMeasures | None:
    if values[-1] is None:
        return None
    given = dict(zip((f.name for f in fields(CallMeasures)), values, strict=True))
    return CallMeasures(**given | {"measured": int(values[-1])})  # type: ignore[arg-type]
