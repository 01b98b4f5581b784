"""A part of the training clips, to see how many labels are enough: so many of each species, drawn by seed."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import count
from math import ceil

import numpy as np

from batcache.training.clips.bags import Bag
from batcache.training.clips.splits import clip_key


def draw_subset(bags: Sequence[Bag], clips_per_species: int, seed: int) -> list[bool]:
    """Which bags are learnt from, where of each species at most so many are that hold it.

    Each bag with a species gets the lowest number that no earlier bag of any of its species has; those with numbers up
    to ``clips_per_species`` are taken. So a species with enough bags of its own has just so many, and a smaller subset
    lies within a larger. The seed decides the order, in which bags of rare species come first, lest they be lost to
    common ones; yet a species that always calls beside others may keep no bag. Bags without a species are taken in
    proportion.

    The order of ``bags`` does not matter to the draw.
    """
    by_name = sorted(range(len(bags)), key=lambda i: clip_key(bags[i]))
    drawn = [by_name[i] for i in np.random.default_rng(seed).permutation(len(bags))]
    held = {i: [species for species, label in enumerate(bags[i].clip.labels) if label == 1] for i in drawn}
    clips_of = Counter(species for found in held.values() for species in found)
    bearing = sorted((i for i in drawn if held[i]), key=lambda i: min(clips_of[species] for species in held[i]))
    without = [i for i in drawn if not held[i]]
    taken = {i for i, number in _number(bearing, held).items() if number <= clips_per_species}
    taken.update(without[: ceil(len(without) * len(taken) / max(1, len(bearing)))])
    return [i in taken for i in range(len(bags))]


def _number(bearing: Sequence[int], held: dict[int, list[int]]) -> dict[int, int]:
    """The lowest number from 1 for each bag, in order, that none before it with one of its species has."""
    used: dict[int, set[int]] = defaultdict(set)
    lowest_free: dict[int, int] = defaultdict(lambda: 1)
    numbers = {}
    for i in bearing:
        start = max(lowest_free[species] for species in held[i])
        numbers[i] = next(n for n in count(start) if not any(n in used[species] for species in held[i]))
        for species in held[i]:
            used[species].add(numbers[i])
            while lowest_free[species] in used[species]:
                lowest_free[species] += 1
    return numbers
