"""Recordings in a few numbers each, from cached frames: to find those that are alike, and splits that differ.

A sketch is the energy of 16 bands in 64 parts of a recording, each band without its mean, of length 1. It hears when
something sounded where, and neither gain nor steady noise: a recording that was saved again, louder, at another rate or
in other bits, has nearly the same sketch, and one that was cut differently has not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batcache.progress import OnProgress, Progress
from batcache.store.format.commit import CachedRecording
from batcache.store.reader import Store

_PARTS, _BANDS = 64, 16
_FRAMES_AT_ONCE = 1 << 15
_BLOCK = 1024
_SAME_LENGTH = 0.03
MOST_PAIRS = 10_000
_QUIET = 1e-6


@dataclass(frozen=True, eq=False)
class Sketches:
    """Of recordings, in the order given. A recording in which nothing changes has a sketch of zeros.

    Shape:
        sketches: ``[R, 1024]``; means, of each band over time: ``[R, n_mels]``; durations_s: ``[R]``
    """

    sketches: NDArray[np.float32]
    means: NDArray[np.float32]
    durations_s: NDArray[np.float64]


@dataclass(frozen=True)
class Near:
    """Two recordings, by their numbers, that sound alike; ``cosine`` of their sketches, at most 1."""

    one: int
    other: int
    cosine: float


def draw_sketches(store: Store, rows: Sequence[CachedRecording], on_progress: OnProgress) -> Sketches:
    """Sketch recordings of a cache, one after the other. ``on_progress`` hears of ``sketch``, in recordings.

    Raises:
        StoreError: a chunk is missing or damaged.
    """
    sketches = np.zeros((len(rows), _PARTS * _BANDS), np.float32)
    means = np.zeros((len(rows), store.layout.n_mels), np.float32)
    for number, row in enumerate(rows):
        sums = np.zeros((_PARTS, store.layout.n_mels), np.float64)
        for start in range(0, row.frames, _FRAMES_AT_ONCE):
            frames = store.read_frames(row, start, start + _FRAMES_AT_ONCE).astype(np.float32)
            part = np.arange(start, start + len(frames)) * _PARTS // row.frames
            first = np.flatnonzero(np.diff(part, prepend=-1))
            sums[part[first]] += np.add.reduceat(frames, first, axis=0)
        counts = np.bincount(np.arange(row.frames) * _PARTS // max(row.frames, 1), minlength=_PARTS)
        means[number] = sums.sum(0) / max(row.frames, 1)
        sketches[number] = _sketch(sums / np.maximum(counts, 1)[:, None], counts > 0)
        on_progress(Progress("sketch", number + 1, len(rows)))
    return Sketches(sketches, means, np.array([row.duration_s for row in rows]))


def _sketch(parts: NDArray[np.float64], there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Shape: ``[64, n_mels]``, ``[64]``; returns ``[1024]``."""
    edges = np.linspace(0, parts.shape[1], _BANDS + 1).astype(int)[:-1]
    bands = np.add.reduceat(parts, edges, axis=1)
    bands -= bands[there].mean(0) if there.any() else 0
    bands[~there] = 0
    length = np.linalg.norm(bands)
    flat: NDArray[np.float64] = (bands / length if length > _QUIET else np.zeros_like(bands)).ravel()
    return flat


def find_near(found: Sketches, least: float, on_progress: OnProgress) -> list[Near]:
    """Pairs of recordings of like length whose sketches have at least this cosine, the most alike first.

    No more than the 10,000 most alike are kept. ``on_progress`` hears of ``near``, in recordings.
    """
    order = np.argsort(found.durations_s, kind="stable")
    sketches, durations = found.sketches[order], found.durations_s[order]
    pairs: list[Near] = []
    for start in range(0, len(order), _BLOCK):
        block = sketches[start : start + _BLOCK]
        longest = durations[min(start + _BLOCK, len(order)) - 1] * (1 + _SAME_LENGTH)
        stop = int(np.searchsorted(durations, longest, "right"))
        for other in range(start, stop, _BLOCK):
            cosines = block @ sketches[other : min(other + _BLOCK, stop)].T
            for i, j in zip(*np.nonzero(cosines >= least), strict=True):
                one, two = start + int(i), other + int(j)
                if one < two and durations[two] <= durations[one] * (1 + _SAME_LENGTH):
                    pairs.append(Near(int(order[one]), int(order[two]), min(1.0, float(cosines[i, j]))))
            if len(pairs) > MOST_PAIRS:
                pairs = _best(pairs)
        on_progress(Progress("near", min(start + _BLOCK, len(order)), len(order)))
    return _best(pairs)


def _best(pairs: list[Near]) -> list[Near]:
    return sorted(pairs, key=lambda pair: -pair.cosine)[:MOST_PAIRS]
