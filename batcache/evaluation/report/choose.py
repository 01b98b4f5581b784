"""Which clips a report shows: a handful that a model judged right, wrong and with doubt."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from batcache.inference.predictions import Predictions

Kind = Literal["right", "wrong", "doubtful", "likely"]
EACH = 6
"""So many clips of a kind."""


@dataclass(frozen=True)
class Shown:
    """A clip, by its place in the predictions, and the species that it is shown for, by its column."""

    kind: Kind
    clip: int
    species: int


def choose_shown(predictions: Predictions, threshold: float, each: int = EACH) -> list[Shown]:
    """Choose clips and the species that each is shown for; no clip is shown twice.

    *Right*: species that are there and reach the threshold, highest scores first. *Wrong*: reported though absent, or
    there and missed, those furthest from their label first. *Doubtful*: of the others, the scores that are nearest to
    the threshold. Of right and wrong ones every species comes once before any comes again. Where no label is known,
    those with the highest scores are *likely*.
    """
    scores = predictions.scores.astype(np.float64)
    scored = ~np.isnan(scores)
    p = np.where(scored, scores, 0)
    there, absent = (predictions.labels == 1) & scored, (predictions.labels == 0) & scored
    reported = p >= threshold
    if not (there | absent).any():
        kinds: list[tuple[Kind, NDArray[np.bool_], NDArray[np.float64]]] = [("likely", scored, -p)]
    else:
        kinds = [
            ("right", there & reported, -p),
            ("wrong", (there & ~reported) | (absent & reported), -np.abs(p - predictions.labels)),
            ("doubtful", there | absent, np.abs(p - threshold)),
        ]
    shown: list[Shown] = []
    for kind, cells, order in kinds:
        clips, species = np.nonzero(cells)
        by_order = np.argsort(order[clips, species], kind="stable")
        ranked = list(zip(clips[by_order].tolist(), species[by_order].tolist(), strict=True))
        shown += _pick(kind, ranked, {one.clip for one in shown}, each)
    return shown


def _pick(kind: Kind, ranked: list[tuple[int, int]], used: set[int], most: int) -> Iterable[Shown]:
    """The first cells of clips that are not shown yet; unless in doubt, those of a new species first, then any."""
    picked: list[Shown] = []
    for again in (True,) if kind == "doubtful" else (False, True):
        for clip, species in ranked:
            seen = {one.species for one in picked}
            if len(picked) < most and clip not in used and (again or species not in seen):
                used.add(clip)
                picked.append(Shown(kind, clip, species))
    return picked
