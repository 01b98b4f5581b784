"""What a training says of the clips that it validates on, as its checkpoints carry it."""

from collections.abc import Collection, Sequence

import numpy as np
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
    is_taught = np.array([name in taught for name in species])
    return HeldOut(
        source="validation",
        logits=np.where(is_taught, logits.float().numpy(), np.float32(np.nan)),
        labels=np.array([bag.clip.labels for bag in bags], np.int8).reshape(logits.shape),
        groups=np.array([number[unit] for unit in units], np.int64),
    )
