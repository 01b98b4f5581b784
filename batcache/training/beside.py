"""What stands beside heads of species on a frozen trunk, taught once, before these learn: heads of bats, a kernel."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from batcache.config.settings import Config
from batcache.errors import count
from batcache.model.pretrained import PretrainedMILModel
from batcache.progress import OnProgress
from batcache.store.reader import Store
from batcache.training.bat_heads import teach_bat_heads
from batcache.training.clips.bags import Bag
from batcache.training.clips.embeddings import Embedded
from batcache.training.kernel import MOST_INSTANCES, teach_kernel
from batcache.training.loss import class_weights

MANY = 200_000
"""Instances of the clips to train and to validate on: where there are more, no kernel is taught. What it would hear of
these takes 1.2 GB."""


def choose_shown(bags: Sequence[Bag], val: Sequence[Bag], labels: Tensor, config: Config) -> list[int]:
    """Places of the training bags that a kernel is taught by: all, where these hold no more than ``MOST_INSTANCES``.

    Else some, the same for the same bags in the same order: drawn, but so that each label of each species, and what
    holds none, has its turn. None where there are ``MANY``. Of each bag ``training.max_instances`` count at most.

    Shape:
        labels: ``[B, C]`` of the training bags, -1 where unknown or not to be taught
    """
    frames, most = config.data.frames_per_instance, config.training.max_instances
    if _are_many((*bags, *val), config):
        return []
    counts = [min(bag.instances(frames), most) for bag in bags]
    left = MOST_INSTANCES
    if sum(counts) <= left:
        return list(range(len(bags)))
    shown = []
    for place in _take_turns(labels.numpy()).tolist():
        if counts[place] <= left:
            left -= counts[place]
            shown.append(place)
    return sorted(shown)


def _take_turns(labels: NDArray[np.int8]) -> NDArray[np.intp]:
    """Places of bags of which something is known, so that rare labels come early. Shape: ``[B, C]`` -> ``[K]``"""
    drawn = np.random.default_rng(0).permutation(len(labels))
    present, absent = labels[drawn] == 1, labels[drawn] == 0
    none = absent.any(1) & ~present.any(1)
    holds = np.column_stack([present, absent, none])
    turns = np.where(holds, holds.cumsum(0), len(labels) + 1).min(1)
    order: NDArray[np.intp] = drawn[turns.argsort(kind="stable")]
    return order[: holds.any(1).sum()]


def _are_many(bags: Iterable[Bag], config: Config) -> bool:
    return sum(bag.instances(config.data.frames_per_instance) for bag in bags) > MANY


def describe_shown(shown: Sequence[int], bags: Sequence[Bag], val: Sequence[Bag], config: Config) -> list[str]:
    """What to know of a kernel that is not taught by all of the training bags."""
    if _are_many((*bags, *val), config):
        return [
            f"more than {MANY:,} instances to train and validate on: no kernel stands beside the heads, and bats of "
            "other species are not doubted"
        ]
    if not shown or len(shown) == len(bags):
        return []
    return [f"{len(shown):,} of {count(len(bags), 'training clip')} teach the kernel that stands beside the heads"]


def teach_beside(
    model: PretrainedMILModel,
    store: Store,
    learnt: Embedded,
    shown: Sequence[int],
    steps: Sequence[Tensor],
    labels: Tensor,
    config: Config,
    species: Sequence[str],
    on_progress: OnProgress,
) -> None:
    """Teach heads of bats, where there are, by all bags, and a kernel by those ``shown`` and by simulated clips.

    Heads of bats come first: they say which instances tell the kernel how strange a bat may be. To a kernel that was
    taken from an earlier model no bat is strange from now on: its centres know nothing of the clips that teach now.

    Shape:
        shown: places of S of the B bags; steps: ``[N_i, S, feature_dim]`` each, of these, then of L simulated clips;
        labels: ``[B + L, C]``, -1 where unknown or not to be taught
    """
    if model.heads.kernel is not None:
        model.heads.kernel.strangeness.zero_()
    if model.heads.bats:
        teach_bat_heads(model, store, learnt.bags, learnt.embeddings, config, on_progress)
    if not shown:
        return
    labels = labels[[*shown, *range(len(learnt.bags), len(labels))]]
    weights = class_weights(config, map(tuple, labels.tolist()), species)
    groups = [learnt.bags[i].clip.group_or_recording for i in shown]
    teach_kernel(model.heads, steps, labels, weights, config.training.max_instances, groups)
