"""A trunk told what the clips at hand are like: statistics of BatchNorm that know their microphones and their noise.

The trunk that ships knows simulated recorders. Its weights stay; the mean and the variance by which BatchNorm scales
each channel go part of the way to those of the training clips, without their labels (Li et al. 2017, "Revisiting batch
normalization for practical domain adaptation"; part of the way, as Schneider et al. 2020 do where samples are few).
"""

from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np
import torch
from torch import Tensor, nn

from batcache.model.trunk import FrozenTrunk
from batcache.store.reader import Store
from batcache.training.clips.bags import Bag, read_bag

MOST = 2_048
"""So many instances are enough, and take 260 MB with 500 frames of 128 bands each."""
_OF_ONE_BAG = 64
_PIECE = 128  # instances, at most, whose statistics are taken at once


@torch.no_grad()
def adapt_trunk(
    trunk: FrozenTrunk,
    store: Store,
    bags: Sequence[Bag],
    frames_per_instance: int,
    share: float,
    device: torch.device,
) -> None:
    """Move the trunk's statistics this share of the way to those of these bags, the same for the same bags.

    Raises:
        StoreError: damage.
    """
    norms = [module for module in trunk.modules() if isinstance(module, nn.BatchNorm2d)]
    taught = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    instances = torch.cat(list(_draw(store, bags, frames_per_instance)))
    order = torch.randperm(len(instances), generator=torch.Generator().manual_seed(0))  # a piece is of many bags
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all pieces
        norm.training = True
    for piece in order.tensor_split(ceil(len(order) / _PIECE)):  # of one size: the mean over pieces is that of all
        trunk.embed(instances[piece].to(device).float())
    for norm, before in zip(norms, taught, strict=True):
        norm.training, norm.momentum = False, 0.1
        for name, value in before.items():
            found = getattr(norm, name)
            found.copy_(value.lerp(found, share) if value.is_floating_point() else value)


def _draw(store: Store, bags: Sequence[Bag], frames_per_instance: int) -> Iterator[Tensor]:
    """Instances of bags in a drawn order, ``MOST`` at most. Shape: ``[K, T, M]`` float16 each."""
    generator, left = np.random.default_rng(0), MOST
    for number in generator.permutation(len(bags)):
        count = min(bags[number].instances(frames_per_instance), _OF_ONE_BAG, left)
        first = int(generator.integers(bags[number].instances(frames_per_instance) - count + 1))
        if count:
            yield read_bag(store, bags[number], frames_per_instance, first, count)
        left -= count
