"""What a person is to look at: recordings, or clips of them, and what a model says of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batcache.inference.predictions import Predictions

Key = tuple[str, float, float | None]
"""A clip: its recording, where it begins, how long it lasts (None: to the end of the recording), in true seconds."""


@dataclass(frozen=True)
class Judged:
    """R clips that a model has judged, of which a person is asked.

    Attributes:
        title: what they are called on the page.
        origin: by which a later review knows that it goes on with the same predictions: ``model``, and ``root``.
        folder: where the reviewed table is written.
        predictions: scores and evidence.
        thresholds: of the scores, at and above which a species counts. Shape: ``[C]``
        sites: of each recording, "" where it is not known. Length: R
        nights: so is the date of its evening. Length: R
        groups: its site-night, "" where it is not known. Length: R
        times: when it began, "" where that is not known. Length: R
        says: what the model says in the place of species: a group, ``unknown bat``, ``no bat``. Length: R
        is_vague: whether that leaves open which species are there. Shape: ``[R]``
        notes: what is doubtful about each. Length: R
        is_asked: whether it is asked about at all: not of copies. Shape: ``[R]``
        is_drawn: whether it may be in the random sample: the model has not heard it before either. Shape: ``[R]``
        has_spans: whether clips may be parts of recordings.
    """

    title: str
    origin: Mapping[str, str]
    folder: Path
    predictions: Predictions
    thresholds: NDArray[np.float64]
    sites: tuple[str, ...]
    nights: tuple[str, ...]
    groups: tuple[str, ...]
    times: tuple[str, ...]
    says: tuple[str, ...]
    is_vague: NDArray[np.bool_]
    notes: tuple[str, ...]
    is_asked: NDArray[np.bool_]
    is_drawn: NDArray[np.bool_]
    has_spans: bool

    @cached_property
    def species(self) -> tuple[str, ...]:
        """The model's, in its order."""
        return tuple(map(str, self.predictions.species))

    @cached_property
    def is_claimed(self) -> NDArray[np.bool_]:
        """Whether the model says that a species is there. Shape: ``[R, C]``"""
        return self.predictions.scores >= self.thresholds.astype(np.float32)  # as the scores are; NaN is below

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The recordings' names. Length: R"""
        return tuple(self.predictions.filenames.tolist())

    @cached_property
    def places(self) -> dict[Key, int]:
        """Where each clip stands."""
        starts, durations = self.predictions.start_s.tolist(), self.predictions.duration_s.tolist()
        spans = [None if np.isnan(duration) else duration for duration in durations]
        return {key: i for i, key in enumerate(zip(self.paths, starts, spans, strict=True))}

    @cached_property
    def keys(self) -> tuple[Key, ...]:
        """The clips. Length: R"""
        return tuple(self.places)

    def claim(self, clip: int) -> tuple[str, ...]:
        """The species that the model says are there, the highest score first."""
        scores = self.predictions.scores[clip]
        return tuple(self.species[c] for c in np.argsort(-scores, kind="stable") if self.is_claimed[clip, c])

    def seconds(self, clip: int) -> float:
        """How long the clip lasts, by its evidence."""
        ends = self.predictions.evidence_end_s[self.predictions.offsets[clip + 1] - 1]
        return float(ends - self.predictions.start_s[clip])
