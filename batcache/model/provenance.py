"""Where a model comes from: the clips that it has learnt from, and what was said of others. Needs no torch."""

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TrainedOn:
    """How many clips a model has learnt from, and how many site-nights or, where no group is given, recordings.

    ``present`` counts for each species the clips that hold it, ``absent`` those known not to. ``contents`` are the
    clips' recordings, each once: the first eight bytes of its content hash, as a number. They are sorted, and empty in
    files of earlier versions, which do not tell.
    """

    clips: int
    groups: int
    present: tuple[int, ...]
    absent: tuple[int, ...]
    contents: tuple[int, ...] = ()

    def has_learnt(self, content: str) -> bool:
        """Whether a recording of this content hash was among them: chance says so of one in 2^64 others."""
        number = shorten_content(content)
        place = bisect_left(self.contents, number)
        return place < len(self.contents) and self.contents[place] == number


def shorten_content(content: str) -> int:
    """The first eight bytes of a content hash, given in hexadecimal digits, as a number."""
    return int(content[:16], 16)


@dataclass(frozen=True)
class HeldOut:
    """What was said of clips that had not been learnt from: what thresholds and calibration are taken from.

    Attributes:
        source: ``validation``, clips that this model has not learnt from, or ``folds``, each clip scored by a model of
            the same recipe that had not learnt from its group.
        logits: of the scores; NaN where a species had not been taught. Shape: ``[R, C]`` float32
        labels: 1 present, 0 absent, -1 unknown. Shape: ``[R, C]`` int8
        groups: a number for each clip's site-night or, where no group is given, recording. Shape: ``[R]`` int64
    """

    source: str
    logits: NDArray[np.float32]
    labels: NDArray[np.int8]
    groups: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in ("logits", "labels", "groups"):  # tensors are taken too
            object.__setattr__(self, name, np.asarray(getattr(self, name)))
        rows, kinds = len(self.groups), [str(array.dtype) for array in (self.logits, self.labels, self.groups)]
        fits = self.logits.shape == self.labels.shape and self.logits.ndim == 2 and self.groups.shape == (rows,)
        if not fits or len(self.logits) != rows or kinds != ["float32", "int8", "int64"]:
            raise ValueError("held-out scores, labels and groups do not fit each other")
