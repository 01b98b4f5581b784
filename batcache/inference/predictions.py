"""What a model says of clips, as arrays, and the file that keeps them."""

import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from batcache.errors import RunError, brief
from batcache.inference.bag_scores import BagScores
from batcache.manifest.manifest import Clip
from batcache.storage.disk import replacing
from batcache.storage.regular import read_regular
from batcache.storage.sealed import check_zip, seal_zip_file
from batcache.storage.spreadsheet import as_number, csv_blocks

BAT_THRESHOLD = 0.5
"""Where the score of a bat is lower, there is said to be none."""

_MOST_TIMES = 200  # names of one length and empty scores compress to little
_REMEDY = "Run `batcache eval` again, or `batcache predict`"


@dataclass(frozen=True)
class Predictions:
    """What a model says of R clips with I instances in all, for C species.

    Attributes:
        filenames: the clips' recordings. Shape: ``[R]``
        start_s: where each clip begins, in true seconds. Shape: ``[R]``
        duration_s: NaN where a clip goes on to the end of its recording, and where an older file does not tell. Shape:
            ``[R]``
        species: names, in the model's order. Shape: ``[C]``
        scores: 0 to 1; NaN for species that the model was not taught. Shape: ``[R, C]``
        labels: 1, 0 or -1, unknown. Shape: ``[R, C]``
        evidence: how much each instance speaks for each species, 0 to 1; NaN as in ``scores``; of new recordings in
            half precision. Shape: ``[I, C]``
        evidence_start_s: where each instance begins. Shape: ``[I]``
        evidence_end_s: where its real frames end. Shape: ``[I]``
        offsets: the first instance of each clip, and behind the last one I. Shape: ``[R + 1]``
        groups: the clips' site-nights, "" where the manifest names none; nothing at all in older files. Shape: ``[R]``
        bats: 0 to 1, that there is a bat at all; NaN where the model does not say; nothing in older files. Shape:
            ``[R]``
    """

    filenames: NDArray[np.str_]
    start_s: NDArray[np.float64]
    duration_s: NDArray[np.float64]
    species: NDArray[np.str_]
    scores: NDArray[np.float32]
    labels: NDArray[np.int8]
    evidence: NDArray[np.float32]
    evidence_start_s: NDArray[np.float64]
    evidence_end_s: NDArray[np.float64]
    offsets: NDArray[np.int64]
    groups: NDArray[np.str_] = field(default_factory=lambda: np.array([], str))
    bats: NDArray[np.float32] = field(default_factory=lambda: np.array([], np.float32))

    @property
    def may_hold_bats(self) -> NDArray[np.bool_]:
        """Of which clips it is not said that there is no bat: in the others no species is named. Shape: ``[R]``"""
        if not len(self.bats):
            return np.ones(len(self.filenames), bool)
        return np.logical_not(self.bats < BAT_THRESHOLD)  # nothing said, NaN, is no doubt

    def table(self) -> dict[str, NDArray[Any]]:
        """Columns by name, a row for each clip, as a DataFrame wants them: the clip and a score for each species."""
        named = {"filename": self.filenames, "start_s": self.start_s, "duration_s": self.duration_s}
        return named | {str(name): self.scores[:, c] for c, name in enumerate(self.species)}


def collect(
    clips: Sequence[Clip],
    seconds: Sequence[float],
    scores: Sequence[BagScores],
    species: Sequence[str],
    instance_s: float,
) -> Predictions:
    """Arrange what a model says of clips as arrays.

    Args:
        clips: those that were scored, in order.
        seconds: the true duration of each clip's frames.
        scores: what the model says of each.
        species: the model's, in its order.
        instance_s: length of an instance in true seconds.
    """
    nothing = np.zeros((0, len(species)), np.float32)
    logits = np.concatenate([nothing, *(bag.logits[None] for bag in scores)])
    evidence = np.concatenate([bag.evidence for bag in scores] or [nothing])
    bats = np.array([np.nan if bag.bat is None else bag.bat for bag in scores], np.float32)
    counts = np.array([len(bag.evidence) for bag in scores], np.int64)
    return arrange(clips, seconds, logits, bats, evidence, counts, species, instance_s)


def arrange(
    clips: Sequence[Clip],
    seconds: Sequence[float],
    logits: NDArray[np.float32],
    bats: NDArray[np.float32],
    evidence: NDArray[Any],
    counts: NDArray[np.int64],
    species: Sequence[str],
    instance_s: float,
) -> Predictions:
    """Predictions of R clips from arrays. The arguments that ``collect`` has too are the same.

    Args:
        clips: see ``collect``.
        seconds: see ``collect``.
        logits: of the scores; NaN where there are none. Shape: ``[R, C]``
        bats: logits that there is a bat; NaN where the model does not say. Shape: ``[R]``
        evidence: of the instances of all clips. Shape: ``[I, C]``
        counts: how many instances each clip has. Shape: ``[R]``
        species: see ``collect``.
        instance_s: see ``collect``.
    """
    starts = np.array([clip.start_s or 0.0 for clip in clips])
    ends, offsets = starts + np.array(seconds), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    begins = np.repeat(starts, counts) + instance_s * within
    return Predictions(
        filenames=np.array([clip.filename for clip in clips], str),
        start_s=starts,
        duration_s=np.array([clip.duration_s for clip in clips], np.float64),  # None is NaN
        species=np.array(species),
        scores=as_scores(logits),
        labels=np.array([clip.labels for clip in clips], np.int8).reshape(len(clips), len(species)),
        evidence=evidence,
        evidence_start_s=begins,
        evidence_end_s=np.minimum(begins + instance_s, np.repeat(ends, counts)),
        offsets=offsets,
        groups=np.array([clip.group or "" for clip in clips], str),
        bats=as_scores(bats),
    )


def as_scores(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """0 to 1, for logits of any size."""
    small = np.exp(-np.abs(logits))
    return np.where(logits < 0, small, np.float32(1)) / (1 + small)  # type: ignore[no-any-return]


def leave_empty(predictions: Predictions, columns: Sequence[bool]) -> Predictions:
    """The same, with NaN for scores and evidence of these species, which the model was not taught. Shape: ``[C]``."""
    empty = np.array(columns, bool)
    scores, evidence = predictions.scores.copy(), predictions.evidence.copy()
    scores[:, empty], evidence[:, empty] = np.nan, np.nan
    return replace(predictions, scores=scores, evidence=evidence)


def write_arrays(path: Path, predictions: Predictions) -> None:
    """Write all of them as npz, array by array."""
    with replacing(path) as file:
        np.savez_compressed(file, **vars(predictions))
        seal_zip_file(file)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write all of them as npz, and beside it the clips' scores as CSV, for spreadsheets.

    No score is rounded across a threshold, and no cell is a formula.
    """
    write_arrays(path, predictions)
    with replacing(path.with_suffix(".csv")) as file:
        file.writelines(csv_blocks(_rows_of(predictions)))


def _rows_of(predictions: Predictions) -> Iterator[list[str]]:
    """The rows of the CSV, its header first."""
    yield ["filename", "start_s", "duration_s", *predictions.species.tolist()]
    for name, start, duration, scores in zip(
        predictions.filenames, predictions.start_s, predictions.duration_s, predictions.scores, strict=True
    ):
        span = [f"{start:g}", "" if np.isnan(duration) else f"{duration:g}"]
        yield [str(name), *span, *map(as_number, scores)]


def read_predictions(path: Path) -> Predictions:
    """Read what ``write_predictions`` wrote.

    Raises:
        RunError: missing, not such a file, or not as it was written.
    """
    try:
        content = read_regular(path)
        check_zip(content, _MOST_TIMES)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        found.setdefault("duration_s", np.full(len(found["filenames"]), np.nan))
        predictions = Predictions(**found)
        _require_fit(predictions)
        return predictions
    except OSError as error:
        raise RunError.of_disk(path, "not readable as predictions", error, _REMEDY) from None
    except (ValueError, TypeError, KeyError, EOFError, BadZipFile, zlib.error, SyntaxError, RecursionError) as error:
        raise RunError(path, f"not readable as predictions ({brief(error)})", _REMEDY) from None


def _require_fit(predictions: Predictions) -> None:
    """Check that each array is of its kind and shape, and holds what it can.

    Raises:
        ValueError: one does not.
    """
    clips, species, instances = len(predictions.filenames), len(predictions.species), len(predictions.evidence)
    rows = (clips,)
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        **dict.fromkeys(("filenames",), ("U", rows)),
        **dict.fromkeys(("start_s", "duration_s"), ("f", rows)),
        "species": ("U", (species,)),
        "scores": ("f", (clips, species)),
        "labels": ("i", (clips, species)),
        "evidence": ("f", (instances, species)),
        **dict.fromkeys(("evidence_start_s", "evidence_end_s"), ("f", (instances,))),
        "offsets": ("i", (clips + 1,)),
        "groups": ("U", rows if predictions.groups.size else (0,)),
        "bats": ("f", rows if predictions.bats.size else (0,)),
    }
    for name, (kind, shape) in shapes.items():
        array = getattr(predictions, name)
        if array.shape != shape or array.dtype.kind != kind:
            raise ValueError(f"{name} of {array.dtype}, {array.shape}, expected {kind}, {shape}")
    if not species or len({*predictions.species.tolist()}) != species or "" in predictions.species:
        raise ValueError("species that are no different names")
    if predictions.labels.size and not -1 <= predictions.labels.min() <= predictions.labels.max() <= 1:
        raise ValueError("labels other than 1, 0 and -1")
    ends = predictions.offsets
    if ends[0] != 0 or ends[-1] != instances or (np.diff(ends) < 0).any():
        raise ValueError("offsets that do not fit the evidence")
    for name in ("scores", "evidence", "bats"):
        values = getattr(predictions, name)
        if not ((values >= 0) & (values <= 1) | np.isnan(values)).all():
            raise ValueError(f"{name} beyond 0 to 1")
    spans = (predictions.start_s, predictions.evidence_start_s, predictions.evidence_end_s)
    if not all(np.isfinite(span).all() for span in spans) or np.isinf(predictions.duration_s).any():
        raise ValueError("times that are not finite")
