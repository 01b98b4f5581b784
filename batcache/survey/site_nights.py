"""The recordings of each site and night, from the folder that ``batcache predict`` has written.

``predictions.csv`` says which recordings there are, where and when, ``thresholds.csv`` from which score on a species
counts, and ``instances.npz`` holds the scores. Rows may be deleted from the first, sites and nights corrected in it,
also by a spreadsheet that writes semicolons.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batcache.errors import PredictError, quote, shorten
from batcache.inference.predictions import Predictions, read_predictions
from batcache.inference.verdicts import FORMAT_VERSION, REJECTED, SAME_AUDIO
from batcache.manifest.table import place_of, read_table
from batcache.storage.spreadsheet import as_written

_NEEDED = ("path", "site", "night", "verdict", "notes", "model", "format_version")
_REMEDY = "Run `batcache predict` again"


@dataclass(frozen=True)
class SiteNight:
    """The recordings of one site in one night; ``rows`` is where their scores stand. Shape: ``[N]``."""

    site: str
    night: str
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Survey:
    """Recordings that a model has judged, by site and night.

    Attributes:
        predictions: their scores.
        thresholds: of the scores, at and above which each species counts. Shape: ``[C]``
        model: name and digest of the model that judged.
        nights: in the order of sites and nights.
        unplaced: recordings that form none, as they have no site or no night.
        copies: recordings left out, as another holds the same audio.
    """

    predictions: Predictions
    thresholds: NDArray[np.float64]
    model: str
    nights: tuple[SiteNight, ...]
    unplaced: int
    copies: int


def read_survey(folder: Path, site: str | None = None) -> Survey:
    """Read what was judged into a folder; ``site`` is that of recordings whose row names none.

    Raises:
        PredictError: a table of another version, of several models, or without a recording that was judged.
        ManifestError: a table that is missing or damaged. RunError: so is ``instances.npz``.
    """
    table, predictions = folder / "predictions.csv", read_predictions(folder / "instances.npz")
    thresholds = _read_thresholds(folder / "thresholds.csv", predictions.species.tolist())
    place = {str(name): i for i, name in enumerate(predictions.filenames)}
    nights: dict[tuple[str, str], list[int]] = {}
    unplaced = copies = 0
    models = set()
    for line, row in _read_rows(table, _NEEDED):
        if row["format_version"] != str(FORMAT_VERSION):
            finding = f"version {shorten(row['format_version'])} of its columns, this batcache reads {FORMAT_VERSION}"
            raise PredictError(place_of(table, line), finding, _REMEDY)
        if row["verdict"] == REJECTED:
            continue
        path = row["path"] if row["path"] in place else as_written(row["path"])
        if path not in place:
            raise PredictError(place_of(table, line), f"no scores of {quote(path)} in instances.npz", _REMEDY)
        models.add(row["model"])
        where = as_written(row["site"].strip()) or site or "", as_written(row["night"].strip())
        if row["notes"].startswith(SAME_AUDIO) or f"; {SAME_AUDIO}" in row["notes"]:
            copies += 1
        elif all(where):
            nights.setdefault(where, []).append(place[path])
        else:
            unplaced += 1
    if len(models) != 1:
        finding = "its rows are of several models" if models else "no recording in it that was judged"
        raise PredictError(table, finding, "Pass the folder of other predictions")
    found = tuple(SiteNight(*where, np.array(rows)) for where, rows in sorted(nights.items()))
    return Survey(predictions, thresholds, models.pop(), found, unplaced, copies)


def _read_thresholds(table: Path, species: list[str]) -> NDArray[np.float64]:
    said = {as_written(row["species"]): (line, row) for line, row in _read_rows(table, ("species", "threshold"))}
    if missing := [name for name in species if name not in said]:
        raise PredictError(table, f"no threshold of {missing[0]}", _REMEDY)
    thresholds = []
    for line, row in (said[name] for name in species):
        try:
            thresholds.append(float(row["threshold"].replace(",", ".")))
            if not np.isfinite(thresholds[-1]):
                raise ValueError
        except ValueError:
            finding = f"threshold {quote(row['threshold'])}, expected a number"
            raise PredictError(place_of(table, line), finding, _REMEDY) from None
    return np.array(thresholds)


def _read_rows(table: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Lines with the cells of these columns."""
    columns, _, rows = read_table(table)
    if missing := [name for name in needed if name not in columns]:
        raise PredictError(place_of(table, 1), f"no column {missing[0]!r}", _REMEDY)
    for line, cells in rows:
        if len(cells) != len(columns):
            finding = f"{len(cells)} cells, the header has {len(columns)}"
            raise PredictError(place_of(table, line), finding, _REMEDY)
        yield line, {name: cells[columns[name]] for name in needed}
