"""What a training says of the clips that it validates on, as its checkpoints carry it."""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from batcache.model.provenance import HeldOut
from batcache.training.clips.bags import Bag


def hold_out(bags: Sequence[Bag], logits: Tensor, species: Sequence[str], taught: Collection[str]) -> HeldOut:
    """Keep scores of clips that were not learnt from, with their labels and groups.

    Args:
        bags: of the clips.
        logits: of their scores. Shape: ``[R, C]``
        species: C names.
        taught: of these, the ones whose scores mean something.
    """
    units = [bag.clip.group_or_recording for bag in bags]
    number = {unit: i for i, unit in enumerate(dict.fromkeys(units))}
    return HeldOut(
        source="validation",
        logits=logits.float().masked_fill(torch.tensor([name not in taught for name in species]), torch.nan).numpy(),
        labels=np.array([bag.clip.labels for bag in bags], np.int8).reshape(logits.shape),
        groups=np.array([number[unit] for unit in units], np.int64),
    )
