"""Which species are in which clip of which night: a manifest as a passive survey would bring home, made up."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

import numpy as np

from batcache.storage.spreadsheet import to_csv
from batcache.synth.repertoire import BY_NAME
from batcache.synth.virtual import is_virtual

Split = Literal["train", "val", "test"]

SPLIT_SHARES: tuple[tuple[Split, float], ...] = (("train", 0.6), ("val", 0.2), ("test", 0.2))
RICHNESS = (0.08, 0.26, 0.36, 0.30)  # share of clips with 0, 1, 2, 3 species
LEAST_SHARE = 0.05  # of a split's clips, for each species; less where more than twenty must share them
LEAST_GROUPS = {"train": 4, "val": 1, "test": 2}

# Relative activity: pipistrelles lead everywhere, gleaners and horseshoe bats are heard least (FG). Flatter than in the
# field, where the ratio is a thousand to one and most species would have no clip at all among a few hundred.
ACTIVITY = {
    "Pipistrellus pipistrellus": 12.0, "Pipistrellus pygmaeus": 6.5, "Myotis daubentonii": 5.5, "Nyctalus noctula": 5.0,
    "Pipistrellus kuhlii": 5.0, "Pipistrellus nathusii": 4.5, "Eptesicus serotinus": 4.5, "Nyctalus leisleri": 4.0,
    "Barbastella barbastellus": 3.5, "Myotis nattereri": 3.5, "Myotis mystacinus": 3.5, "Plecotus auritus": 3.2,
    "Myotis myotis": 3.2, "Myotis brandtii": 2.8, "Rhinolophus hipposideros": 2.8, "Rhinolophus ferrumequinum": 2.6,
    "Miniopterus schreibersii": 2.6, "Eptesicus nilssonii": 2.6, "Vespertilio murinus": 2.5, "Myotis bechsteinii": 2.4,
}  # fmt: skip
_VIRTUAL_ACTIVITY = 3.0
SITES = ("riverside", "oakwood", "orchard", "village", "cave", "lake", "hedgerow", "quarry", "beechwood", "meadow")


@dataclass(frozen=True)
class Row:
    """One row of the manifest."""

    filename: str
    split: Split
    group: str
    species: frozenset[str]


def plan_manifest(rows: int, seed: int, species: Sequence[str] | None = None) -> list[Row]:
    """``rows`` clips over site-nights of about seven clips, whole nights to a split, about 60/20/20.

    Each night has a community of its own. Species that chance left short of ``LEAST_SHARE`` of a split's clips, or of
    ``LEAST_GROUPS`` nights (as many as there are, and no more than half its clips), are added to clips of that split,
    as far as these have room (fewer than three species). None is in every clip of a split that has two or more.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    names = _columns(species or ())
    nights = max(round(rows / 7.5), 5)
    sizes = rng.multinomial(rows - nights, rng.dirichlet(np.full(nights, 40.0))) + 1
    plan: list[Row] = []
    for night, (split, size) in enumerate(zip(_splits(nights, rng), sizes, strict=True)):
        plan += _night(night, split, int(size), names, rng)
    return _fill(plan, names, rng)


def _splits(nights: int, rng: np.random.Generator) -> list[Split]:
    val, test = max(round(nights * SPLIT_SHARES[1][1]), 1), max(round(nights * SPLIT_SHARES[2][1]), 1)
    counts: dict[Split, int] = {"train": nights - val - test, "val": val, "test": test}
    order = [split for split, count in counts.items() for _ in range(count)]
    return [order[i] for i in rng.permutation(nights)]


def _night(night: int, split: Split, size: int, names: Sequence[str], rng: np.random.Generator) -> list[Row]:
    day = date(2025, 5, 1) + timedelta(days=int(rng.integers(150)))
    group = f"{SITES[int(rng.integers(len(SITES)))]}-{night:02d}-{day:%Y%m%d}"
    weights = np.array([ACTIVITY.get(name, _VIRTUAL_ACTIVITY) for name in names]) * rng.gamma(0.9, 1.0, len(names))
    weights = weights + 1e-6 * weights.max()
    seconds = np.sort(rng.choice(7 * 3600, size, replace=False))
    rows = []
    for second in seconds:
        clock = (21 * 3600 + int(second)) % 86400
        name = f"{group}_{clock // 3600:02d}{clock // 60 % 60:02d}{clock % 60:02d}.wav"
        count = min(int(rng.choice(len(RICHNESS), p=RICHNESS)), len(names))
        chosen = rng.choice(len(names), count, replace=False, p=weights / weights.sum())
        rows.append(Row(name, split, group, frozenset(names[i] for i in chosen)))
    return rows


def _fill(plan: list[Row], names: Sequence[str], rng: np.random.Generator) -> list[Row]:
    plan = list(plan)
    for split, _ in SPLIT_SHARES:
        mine = [i for i, row in enumerate(plan) if row.split == split]
        nights = len({plan[i].group for i in mine})
        least = min(LEAST_GROUPS[split], nights, max(len(mine) // 2, 1))
        least_share = min(LEAST_SHARE, 1 / len(names))
        for name in names:
            _add(name, plan, mine, least, least_share, rng)
            if len(mine) > 1 and all(name in plan[i].species for i in mine):
                i = mine[int(rng.integers(len(mine)))]
                plan[i] = replace(plan[i], species=plan[i].species - {name})
    return plan


def _add(
    name: str, plan: list[Row], mine: Sequence[int], least_groups: int, least_share: float, rng: np.random.Generator
) -> None:
    """Add a species to some of the rows ``mine`` until it is in enough of them, and of their nights."""
    while True:
        have = Counter(plan[i].group for i in mine if name in plan[i].species)
        few_groups = len(have) < least_groups
        if have.total() >= least_share * len(mine) and not few_groups:
            return
        room = [i for i in mine if name not in plan[i].species and len(plan[i].species) < len(RICHNESS) - 1]
        room = [i for i in room if not few_groups or plan[i].group not in have] or room
        if not room:
            return
        i = room[int(rng.integers(len(room)))]
        plan[i] = replace(plan[i], species=plan[i].species | {name})


def _columns(species: Sequence[str]) -> tuple[str, ...]:
    """All real species where none is named, else those named: the real ones in their order, then the virtual ones."""
    real = tuple(name for name in BY_NAME if not species or name in species)
    return (*real, *sorted(name for name in species if is_virtual(name)))


def manifest_csv(plan: Sequence[Row], species: Sequence[str] = ()) -> str:
    """The plan in the project's manifest format, a column for each of these species, or for all."""
    names = _columns(species)
    rows = ([row.filename, row.split, row.group, *(int(name in row.species) for name in names)] for row in plan)
    return to_csv([["filename", "split", "group", *names], *rows]).decode()
