"""What a model says of bags: batches of short ones, long ones piece by piece, all in eval mode.

Where the instances come from does not matter here: a store, a recording, an array.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from batcache.inference.bag_scores import BagScores, check_scores
from batcache.model.checkpoint import Model
from batcache.model.heads import MILHeads
from batcache.model.pooling import BagOutput


@dataclass(frozen=True, slots=True)
class Instances:
    """The instances of one bag, read when they are needed.

    Attributes:
        name: what an error calls the bag: its recording.
        count: how many instances it has, at least one.
        read: ``read(first, count)`` gives so many consecutive instances. Shape: ``[count, T, M]``, any float type.
    """

    name: str
    count: int
    read: Callable[[int, int], Tensor]


@torch.inference_mode()
def score_bags(
    model: Model | MILHeads, bags: Iterable[Instances], batch_size: int, max_instances: int
) -> Iterator[BagScores]:
    """Score bags in order, in the memory of ``max_instances`` instances: a bag with more is encoded in pieces.

    Raises:
        RunError: the model's scores are not finite.
        StoreError: damage, where the bags come from a store.
    """
    model.eval()
    device = next(model.parameters()).device
    waiting: list[Instances] = []
    held = 0
    for bag in bags:
        if len(waiting) == batch_size or held + bag.count > max_instances:
            yield from _score_batch(model, waiting, device)
            waiting, held = [], 0
        if bag.count > max_instances:
            yield _score_long(model, bag, max_instances, device)
        else:
            waiting.append(bag)
            held += bag.count
    yield from _score_batch(model, waiting, device)


def _score_batch(model: Model | MILHeads, bags: Sequence[Instances], device: torch.device) -> Iterator[BagScores]:
    if not bags:
        return
    read = [bag.read(0, bag.count) for bag in bags]
    features = torch.nn.utils.rnn.pad_sequence(read, batch_first=True)
    mask = torch.arange(features.shape[1]) < torch.tensor([len(instances) for instances in read])[:, None]
    output = model(features.to(device).float(), mask)
    for i, bag in enumerate(bags):
        yield _checked(bag, output, i)


def _score_long(model: Model | MILHeads, bag: Instances, piece: int, device: torch.device) -> BagScores:
    starts = range(0, bag.count, piece)
    pieces = (bag.read(start, min(piece, bag.count - start)).to(device).float() for start in starts)
    return _checked(bag, model.score_pieces(pieces), 0)


def _checked(bag: Instances, output: BagOutput, place: int) -> BagScores:
    logits, evidence = output.bag_logits[place].float().cpu(), output.evidence[place, : bag.count].float().cpu()
    bat = None if output.bat_logits is None else float(output.bat_logits[place])
    return check_scores(bag.name, BagScores(logits.numpy(), evidence.numpy(), bat))
