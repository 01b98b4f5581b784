"""Where a model comes from: the clips that it has learnt from, and what was said of others. Needs no torch."""

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TrainedOn:
    """How many clips a model has learnt from, and how many site-nights or, where no group is given, recordings.

    ``present`` counts for each species the clips that hold it, ``absent`` those known not to. ``contents`` are the
    clips' recordings, each once: the first eight bytes of its content hash, as a number. ``validated`` are those of the
    clips that it was validated on, by which its best epoch and its thresholds were chosen. Both are sorted, and empty
    in files of earlier versions, which do not tell. ``simulated`` counts for each species the clips that were simulated
    beside these; it is empty where there were none.
    """

    clips: int
    groups: int
    present: tuple[int, ...]
    absent: tuple[int, ...]
    contents: tuple[int, ...] = ()
    validated: tuple[int, ...] = ()
    simulated: tuple[int, ...] = ()

    def has_learnt(self, content: str) -> bool:
        """Whether it has learnt from a recording of this content hash: chance says so of one in 2^64 others."""
        return _holds(self.contents, content)

    def was_validated_on(self, content: str) -> bool:
        """Whether it was validated on a recording of this content hash: chance says so of one in 2^64 others."""
        return _holds(self.validated, content)


def _holds(contents: tuple[int, ...], content: str) -> bool:
    number = shorten_content(content)
    place = bisect_left(contents, number)
    return place < len(contents) and contents[place] == number


def shorten_content(content: str) -> int:
    """The first eight bytes of a content hash, given in hexadecimal digits, as a number."""
    return int(content[:16], 16)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What was said of clips that had not been learnt from: what thresholds and calibration are taken from.

    Attributes:
        source: ``validation``, clips that this model has not learnt from, or ``folds``, each clip scored by a model of
            the same recipe that had not learnt from its group.
        logits: of the scores; NaN where a species had not been taught. Shape: ``[R, C]`` float32
        labels: 1 present, 0 absent, -1 unknown. Shape: ``[R, C]`` int8
        groups: a number for each clip's site-night or, where no group is given, recording. Shape: ``[R]`` int64

    Raises:
        ValueError: they do not fit each other.
    """

    source: str
    logits: NDArray[np.float32]
    labels: NDArray[np.int8]
    groups: NDArray[np.int64]

    def __post_init__(self) -> None:
        rows, kinds = len(self.groups), [str(array.dtype) for array in (self.logits, self.labels, self.groups)]
        fits = self.logits.shape == self.labels.shape and self.logits.ndim == 2 and self.groups.shape == (rows,)
        if not fits or len(self.logits) != rows or kinds != ["float32", "int8", "int64"]:
            raise ValueError("held-out scores, labels and groups do not fit each other")
