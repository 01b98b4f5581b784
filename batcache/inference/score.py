"""What a model says of bags: batches of short ones, long ones piece by piece, all in eval mode."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from batcache.errors import RunError
from batcache.model.crnn import BatMILModel
from batcache.store.reader import Store
from batcache.training.bags import Bag, read_bag
from batcache.training.loader import read_batch


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bag's outcome, on the CPU. Shapes: logits ``[C]``, evidence ``[N, C]`` in 0..1."""

    bag: Bag
    logits: Tensor
    evidence: Tensor


@torch.inference_mode()
def judge_bags(
    model: BatMILModel, store: Store, bags: Sequence[Bag], frames_per_instance: int, batch_size: int, max_instances: int
) -> Iterator[Verdict]:
    """Judge bags in order, in the memory of ``max_instances`` instances: a bag with more is encoded in pieces.

    Raises:
        RunError: the model's scores are not finite.
        StoreError: damage.
    """
    model.eval()
    device = next(model.parameters()).device
    waiting: list[Bag] = []
    held = 0
    for bag in bags:
        count = bag.instances(frames_per_instance)
        if len(waiting) == batch_size or held + count > max_instances:
            yield from _judge_batch(model, store, waiting, frames_per_instance, device)
            waiting, held = [], 0
        if count > max_instances:
            yield _judge_long(model, store, bag, frames_per_instance, max_instances, device)
        else:
            waiting.append(bag)
            held += count
    yield from _judge_batch(model, store, waiting, frames_per_instance, device)


def _judge_batch(
    model: BatMILModel, store: Store, bags: Sequence[Bag], frames_per_instance: int, device: torch.device
) -> Iterator[Verdict]:
    if not bags:
        return
    batch = read_batch(store, bags, [0] * len(bags), frames_per_instance)
    output = model(batch.features.to(device).float(), batch.mask)
    for i, bag in enumerate(bags):
        count = int(batch.mask[i].sum())
        yield _checked(bag, output.bag_logits[i], output.evidence[i, :count])


def _judge_long(
    model: BatMILModel, store: Store, bag: Bag, frames_per_instance: int, piece: int, device: torch.device
) -> Verdict:
    starts = range(0, bag.instances(frames_per_instance), piece)
    pieces = (read_bag(store, bag, frames_per_instance, start, piece).to(device).float() for start in starts)
    output = model.judge_pieces(pieces)
    return _checked(bag, output.bag_logits[0], output.evidence[0])


def _checked(bag: Bag, logits: Tensor, evidence: Tensor) -> Verdict:
    if not logits.isfinite().all():
        raise RunError(
            bag.clip.filename, "the model gives scores that are not finite", "Lower learning_rate, train again"
        )
    return Verdict(bag, logits.float().cpu(), evidence.float().cpu())
