"""What a bootstrap draws: whole groups with replacement, as many as there are; recordings where no group is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batcache.errors import count
from batcache.evaluation.draws.loops import add_draw
from batcache.inference.predictions import Predictions

DRAWS = 1000
FEWEST_UNITS = 5
"""With fewer groups there are no intervals; with fewer that hold a species, or lack it, none of this species."""
FEW_UNITS = 10
"""With fewer, a 95 % percentile interval is far too narrow."""
_SEED = 0
_MANY_UNITS = 1 << 12
"""A multinomial draw takes half a microsecond a unit, counting random numbers some nanoseconds."""

Weights = NDArray[np.uint8]


@dataclass(frozen=True)
class Resampling:
    """What is drawn: groups, or recordings where no group is known; ``unit_of`` is that of each clip. Shape: ``[R]``"""

    unit: str
    units: int
    unit_of: NDArray[np.intp]

    @property
    def refusal(self) -> str | None:
        """Why there can be no intervals; None where there can."""
        if self.units >= FEWEST_UNITS:
            return None
        return f"{count(self.units, self.unit)}, expected at least {FEWEST_UNITS}"

    def draw(self, at_once: int, draws: int = DRAWS) -> Iterator[Weights]:
        """How often each unit counts in each draw, so many draws at a time; always the same ones.

        A unit counts once on average: more than 255 times never comes up, in few units it cannot.

        Shape: ``[units, D]``
        """
        rng = np.random.default_rng(_SEED)
        for first in range(0, draws, at_once):
            size = min(at_once, draws - first)
            if self.units <= _MANY_UNITS:
                yield rng.multinomial(self.units, np.full(self.units, 1 / self.units), size).T.astype(np.uint8, "C")
                continue
            times = np.zeros((size, self.units), np.uint8)
            for row in times:
                add_draw(rng.integers(0, self.units, self.units, np.uint32), row)
            yield np.ascontiguousarray(times.T)


def resampling(predictions: Predictions) -> Resampling:
    """What is to be drawn of the clips: their groups; a clip without one is a group with others of its recording."""
    grouped = predictions.groups if len(predictions.groups) else np.full(len(predictions.filenames), "")
    names = [f"group {g}" if g else f"recording {f}" for g, f in zip(grouped, predictions.filenames, strict=True)]
    found, unit_of = number(names)
    return Resampling("group" if grouped.astype(bool).any() else "recording", len(found), unit_of)


def number(names: Sequence[str]) -> tuple[list[str], NDArray[np.intp]]:
    """The different names in order, and the place of each name among them. (``numpy.unique`` sorts all, slowly.)

    >>> number(["b", "a", "b"])
    (['a', 'b'], array([1, 0, 1]))
    """
    found = sorted(set(names))
    place = {name: i for i, name in enumerate(found)}
    return found, np.fromiter((place[name] for name in names), np.intp, len(names))
