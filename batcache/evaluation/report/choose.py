"""Which clips a report shows: a handful that a model judged right, wrong and with doubt."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from batcache.inference.predictions import Predictions

Kind = Literal["right", "wrong", "doubtful", "likely"]
EACH = 6
"""So many clips of a kind."""
_AT_ONCE = 1024


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
        kinds: list[tuple[Kind, NDArray[np.bool_], Callable[[], NDArray[np.float64]]]] = [
            ("likely", scored, lambda: -p)
        ]
    else:
        kinds = [
            ("right", there & reported, lambda: -p),
            ("wrong", (there & ~reported) | (absent & reported), lambda: -np.abs(p - predictions.labels)),
            ("doubtful", there | absent, lambda: np.abs(p - threshold)),
        ]
    shown: list[Shown] = []
    for kind, cells, order in kinds:
        shown += _pick(kind, Ranked(cells, order()), {one.clip for one in shown}, each)
    return shown


class Ranked:
    """Cells of clips and species, the lowest of an order first. Shapes: ``[R, C]`` both.

    Of a million clips only the few that are looked at are made into numbers of Python.
    """

    def __init__(self, cells: NDArray[np.bool_], order: NDArray[np.float64]) -> None:
        places = np.flatnonzero(cells)
        self._places, self._columns = places[np.argsort(order.reshape(-1)[places], kind="stable")], cells.shape[1]
        self.species = {*np.flatnonzero(cells.any(0)).tolist()}

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for start in range(0, len(self._places), _AT_ONCE):
            for place in self._places[start : start + _AT_ONCE].tolist():
                yield divmod(place, self._columns)


def _pick(kind: Kind, ranked: Ranked, used: set[int], most: int) -> Iterable[Shown]:
    """The first cells of clips that are not shown yet; unless in doubt, those of a new species first, then any."""
    picked: list[Shown] = []
    seen: set[int] = set()
    for again in (True,) if kind == "doubtful" else (False, True):
        for clip, species in ranked:
            if len(picked) == most or (seen == ranked.species and not again):
                break
            if clip not in used and (again or species not in seen):
                used.add(clip)
                seen.add(species)
                picked.append(Shown(kind, clip, species))
    return picked
