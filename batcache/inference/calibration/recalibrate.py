"""A model calibrated on recordings that a person has reviewed, without training."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batcache.errors import PredictError, RunError, brief, count, list_some, quote
from batcache.inference.calibration.calibrate import REVIEWED, Calibration
from batcache.inference.calibration.of_model import calibrate_model
from batcache.inference.calibration.platt import logits_of
from batcache.inference.calibration.profile import Profile, profile_path, write_profile
from batcache.inference.calibration.reviewed import Reviewed, read_reviewed
from batcache.inference.calibration.thresholds import FEWEST, PRECISION
from batcache.inference.model_file import ModelFile
from batcache.inference.predictions import Predictions, read_predictions
from batcache.inference.recordings.journal import NAME, read_header
from batcache.inference.verdicts import LEARNT, SAME_AUDIO
from batcache.model.provenance import HeldOut
from batcache.storage.listing import is_there
from batcache.storage.spreadsheet import as_written


@dataclass(frozen=True)
class Recalibrated:
    """Where the profile lies, what it makes of the model's thresholds, and what to know of the reviewed rows."""

    profile: Path
    calibration: Calibration
    rows: int
    notes: tuple[str, ...]


def recalibrate(model: ModelFile, reviewed: Path, predictions: Path, precision: float = PRECISION) -> Recalibrated:
    """Write a profile beside a model from what a person found in recordings that it has judged.

    Args:
        model: whose scores they are; its file stays as it is.
        reviewed: a CSV, see ``read_reviewed``.
        predictions: the folder that ``predict`` judged these recordings into.
        precision: that is wanted of thresholds, in what is returned; the profile serves any.

    Raises:
        PredictError: no scores in the folder, or those of another model, or not finite.
        ManifestError: the CSV is damaged, of other species, or names recordings that were not judged.
        RunError: too few rows to calibrate any species by.
    """
    judged = _read_scores(model, predictions)
    rows = read_reviewed(reviewed, model.checkpoint.species)
    place = {str(name): i for i, name in enumerate(judged.filenames)}
    if unknown := [path for path in rows.paths if path not in place]:
        finding = f"{len(unknown):,} of {count(len(rows.paths), 'path')} not judged into it: {list_some(unknown)}"
        raise PredictError(
            predictions, finding, f"Pass the folder whose recordings {reviewed} is of, or correct the paths"
        )
    written = _read_rows(predictions)
    rows = _leave_out(rows, written)
    logits = logits_of(judged.scores[[place[path] for path in rows.paths]]).astype(np.float32)
    _require_enough(reviewed, rows, logits)
    held_out = HeldOut(REVIEWED, logits, rows.labels, _number_units(rows, _name_nights(written)))
    profile = Profile(model.digest, model.checkpoint.species, reviewed.name, held_out)
    write_profile(profile_path(model.path), profile)
    calibration = calibrate_model(model, precision)
    return Recalibrated(profile_path(model.path), calibration, len(rows.paths), rows.notes)


def _read_scores(model: ModelFile, folder: Path) -> Predictions:
    """The scores in a folder, where they are this model's."""
    if not all(is_there(folder / name) for name in (NAME, "instances.npz", "predictions.csv")):
        raise PredictError(folder, "holds no finished predictions", "Pass the --out folder of `batcache predict`")
    if read_header(folder).model != model.digest:
        finding = f"holds the scores of another model than {model.path}"
        raise PredictError(folder, finding, "Judge the recordings by this model first")
    judged = read_predictions(folder / "instances.npz")
    taught = np.array(model.checkpoint.is_taught)
    if tuple(judged.species.tolist()) != model.checkpoint.species or not np.isfinite(judged.scores[:, taught]).all():
        raise PredictError(folder, "holds scores of other species, or scores that are not finite", "Judge anew")
    return judged


def _require_enough(reviewed: Path, rows: Reviewed, logits: NDArray[np.float32]) -> None:
    """Check that some species is known present and known absent often enough."""
    scored = ~np.isnan(logits)
    fewer = np.minimum(((rows.labels == 1) & scored).sum(0), ((rows.labels == 0) & scored).sum(0))
    if fewer.max(initial=0) < FEWEST:
        finding = f"{count(len(rows.paths), 'row')}: no species is present in {FEWEST} of them and absent in {FEWEST}"
        raise RunError(reviewed, finding, "Review more recordings, also some without the species")


def _read_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of ``predictions.csv``, as ``predict`` wrote them; a spreadsheet may have put a BOM before them."""
    place = folder / "predictions.csv"
    try:
        with place.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            if missing := {"path", "site", "night", "notes"}.difference(table.fieldnames or ()):
                raise PredictError(
                    place, f"lacks {', '.join(sorted(missing))}", "Run the same `batcache predict` again"
                )
            rows = list(table)
            if torn := [row for row in rows if None in row or None in row.values()]:
                finding = f"the row of {quote(str(torn[0]['path']))} has another number of cells than the header"
                raise PredictError(place, finding, "Run the same `batcache predict` again")
            return rows
    except (UnicodeDecodeError, csv.Error) as error:
        raise PredictError(place, f"not readable ({brief(error)})", "Run the same `batcache predict` again") from None


def _leave_out(rows: Reviewed, written: Sequence[Mapping[str, str]]) -> Reviewed:
    """The rows without recordings that the model has learnt from, and with each sound once."""
    said = {as_written(row["path"]): row["notes"].split("; ") for row in written}
    learnt = [path for path in rows.paths if LEARNT in said.get(path, ())]
    of_another = {f"{SAME_AUDIO} {path}" for path in rows.paths}
    copies = [path for path in rows.paths if of_another.intersection(said.get(path, ()))]
    notes = list(rows.notes)
    if learnt:
        which = f"{len(learnt):,} of {count(len(rows.paths), 'row')}: {list_some(learnt)}"
        notes.append(f"left out, as the model has learnt from them: {which}")
    if copies:
        notes.append(f"left out, as copies of other rows' recordings: {list_some(copies)}")
    out = {*learnt, *copies}
    kept = [i for i, path in enumerate(rows.paths) if path not in out]
    paths, groups = (tuple(values[i] for i in kept) for values in (rows.paths, rows.groups))
    return Reviewed(rows.species, paths, rows.labels[kept], groups, tuple(notes))


def _name_nights(written: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Site and night of each recording, as far as they are known, by its path."""
    return {as_written(row["path"]): f"{row['site']} {row['night']}" for row in written if row["night"]}


def _number_units(rows: Reviewed, nights: Mapping[str, str]) -> NDArray[np.int64]:
    """A number for each row's group, else for its site and night where they are known, else for its recording."""
    units = [group or nights.get(path, path) for path, group in zip(rows.paths, rows.groups, strict=True)]
    return np.unique(np.array(units, str), return_inverse=True)[1].astype(np.int64)
