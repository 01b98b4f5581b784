"""Predictions as a test wants them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batcache.inference.predictions import Predictions

INSTANCE_S = 0.5


def predicted(
    evidence: Sequence[NDArray[Any]],
    labels: Sequence[Sequence[int]],
    starts_s: Sequence[float] | None = None,
    groups: Sequence[str] = (),
) -> Predictions:
    """Clips ``0.wav``, ``1.wav`` ... of instances of half a second; a clip's score is its highest evidence.

    Shape: evidence ``[N, C]`` of each clip, labels ``[R, C]``
    """
    count = len(evidence)
    starts = np.zeros(count) if starts_s is None else np.array(starts_s)
    begins = [start + INSTANCE_S * np.arange(len(part)) for start, part in zip(starts, evidence, strict=True)]
    joined = np.concatenate([np.asarray(part, np.float32) for part in evidence])
    return Predictions(
        filenames=np.array([f"{i}.wav" for i in range(count)]),
        start_s=starts,
        duration_s=np.full(count, np.nan),
        species=np.array(["Low", "High", "Sweep"][: joined.shape[1]]),
        scores=np.array([np.asarray(part, np.float32).max(0) for part in evidence]),
        labels=np.array(labels, np.int8),
        evidence=joined,
        evidence_start_s=np.concatenate(begins),
        evidence_end_s=np.concatenate(begins) + INSTANCE_S,
        offsets=np.cumsum([0, *map(len, evidence)]),
        groups=np.array(groups, str),
    )
