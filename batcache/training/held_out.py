"""What a training says of the clips that it validates on, as its checkpoints carry it."""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from batcache.inference.score import Instances, score_bags
from batcache.model.checkpoint import Model
from batcache.model.heads import MILHeads
from batcache.model.provenance import HeldOut
from batcache.progress import OnProgress, Progress
from batcache.training import ranks
from batcache.training.clips.bags import Bag
from batcache.training.clips.shares import find_span


def score_held_out(
    network: Model | MILHeads,
    bags: Sequence[Instances],
    species: int,
    batch_size: int,
    max_instances: int,
    stage: str,
    on_progress: OnProgress,
) -> Tensor:
    """Logits of bags as ``score_bags`` gives them, on the CPU; each rank scores a share, and all get all.

    Shape:
        returns: ``[R, species]``
    """
    logits, span = torch.zeros(len(bags), species), find_span([bag.count for bag in bags], ranks.rank(), ranks.count())
    places = range(len(bags))[span]
    scored = score_bags(network, bags[span], batch_size, max_instances)
    for done, (place, bag) in enumerate(zip(places, scored, strict=True), 1):
        logits[place] = torch.from_numpy(bag.logits)
        on_progress(Progress(stage, done, len(places)))
    return ranks.add_up(logits.to(next(network.parameters()).device)).cpu()


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
