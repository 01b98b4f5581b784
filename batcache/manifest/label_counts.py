"""How many clips of each split hold each species."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from batcache.manifest.manifest import Clip


@dataclass(frozen=True)
class SpeciesCounts:
    """Clips by split for one species: in ``present`` it is, in ``absent`` it is not; of all others nobody knows.

    Clips without a split are counted under the empty name. A split that lacks such clips counts 0.
    """

    species: str
    present: Mapping[str, int]
    absent: Mapping[str, int]

    @property
    def is_taught(self) -> bool:
        """Whether the training clips hold both labels: from one label alone nothing is learnt."""
        return self.present["train"] > 0 and self.absent["train"] > 0


def count_labels(clips: Iterable[Clip], species: Sequence[str]) -> tuple[SpeciesCounts, ...]:
    """Count the clips of each split that hold each species, and those that do not.

    >>> from pathlib import Path
    >>> clips = [Clip("a.wav", Path("a.csv"), 2, (1, 0), "train"), Clip("b.wav", Path("a.csv"), 3, (1, -1), "val")]
    >>> [(row.species, dict(row.present), dict(row.absent)) for row in count_labels(clips, ["Myotis", "Nyctalus"])]
    [('Myotis', {'train': 1, 'val': 1}, {}), ('Nyctalus', {}, {'train': 1})]
    """
    present, absent = ([Counter[str]() for _ in species] for _ in range(2))
    alike = Counter((clip.split or "", clip.labels) for clip in clips)  # a million clips have few different labels
    for (split, labels), clips_alike in alike.items():
        for i, label in zip(range(len(species)), labels, strict=True):
            if label in (0, 1):
                (present if label else absent)[i][split] += clips_alike
    return tuple(map(SpeciesCounts, species, present, absent))
