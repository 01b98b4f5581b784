"""What stands beside heads of species on a frozen trunk, taught once, before these learn: heads of bats, a kernel."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from batcache.config.settings import Config
from batcache.model.pretrained import PretrainedMILModel
from batcache.progress import OnProgress
from batcache.store.reader import Store
from batcache.training.bat_heads import teach_bat_heads
from batcache.training.clips.bags import Bag
from batcache.training.clips.embeddings import Embedded
from batcache.training.kernel import MOST_INSTANCES, teach_kernel
from batcache.training.loss import class_weights

MANY = 100_000
"""Training instances, ten thousand clips of 5 s: where there are more, no kernel is taught. What it is worth there was
not measured, and what it hears of as many clips to validate on lies in memory, 60 kB a clip."""


def choose_shown(bags: Sequence[Bag], config: Config) -> list[int]:
    """Places of the bags that a kernel is taught by: all, as far as these hold no more than ``MOST_INSTANCES``.

    Else some, drawn alike for the same bags: a clip of each species and one of none in their turn, so that of a rare
    species all are among them. None where there are ``MANY``. Of each bag ``training.max_instances`` count at most.
    """
    frames, most = config.data.frames_per_instance, config.training.max_instances
    counts = np.array([min(bag.instances(frames), most) for bag in bags])
    if counts.sum() <= MOST_INSTANCES:
        return list(range(len(bags)))
    if counts.sum() > MANY:
        return []
    drawn = np.random.default_rng(0).permutation(len(bags))
    holds = np.array([bags[i].clip.labels for i in drawn]) == 1
    holds = np.column_stack([holds, ~holds.any(1)])
    turns = np.where(holds, holds.cumsum(0), len(bags)).min(1)
    order = drawn[turns.argsort(kind="stable")]
    return sorted(order[counts[order].cumsum() <= MOST_INSTANCES].tolist())


def teach_beside(
    model: PretrainedMILModel,
    store: Store,
    learnt: Embedded,
    shown: Sequence[int],
    steps: Sequence[Tensor],
    labels: Tensor,
    kept: Sequence[bool],
    config: Config,
    species: Sequence[str],
    on_progress: OnProgress,
) -> None:
    """Teach heads of bats, where there are, by all bags, and a kernel by those ``shown`` and by simulated clips.

    Heads of bats come first: they say which instances tell the kernel how strange a bat may be. To a kernel that was
    taken from an earlier model no bat is strange from now on: its centres know nothing of the clips that teach now.

    Shape:
        shown: places of S of the B bags; steps: ``[N_i, S, feature_dim]`` each, of these, then of L simulated clips;
        labels: ``[B + L, C]``, -1 where unknown or not taught; kept: of the C species, those of an earlier model
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
    teach_kernel(model.heads, steps, labels, weights, kept, config.training.max_instances, groups)
