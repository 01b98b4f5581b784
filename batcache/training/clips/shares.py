"""Each batch shared out among ranks: whole bags, next to each other, so that all have about as many instances."""

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from batcache.training import ranks
from batcache.training.clips.loader import BagsInMemory, Batch, BatchPlan, BatchReader, mask_of


@dataclass(frozen=True, slots=True)
class Share:
    """What one rank reads of a batch, and what all know of it.

    Attributes:
        own: the bags of this rank, perhaps none.
        first: how many real instances of the batch come before those of ``own``.
        mask: of the whole batch. Shape: ``[B, N]``
        labels: of the whole batch. Shape: ``[B, C]``
    """

    own: Batch
    first: int
    mask: Tensor
    labels: Tensor


class SharedBatches:
    """The batches of a source, of which each rank reads its share: the only one reads all."""

    def __init__(self, source: BatchReader | BagsInMemory) -> None:
        self.source, self.counts = source, source.counts
        self.waited_s = 0.0  # for batches, since the epoch began
        features = torch.empty(0, 1, *source.shape, dtype=torch.float16)
        self.nothing = Batch(features, torch.empty(0, 1, dtype=torch.bool), source.labels[:0])

    def batches(self, draws: Sequence[BatchPlan], workers: int) -> Generator[Share, None, None]:
        """Yield this rank's share of each batch in order."""
        source, most, self.waited_s = self.source, self.source.most, 0.0
        lengths = [[min(source.counts[i], most) for i in draw.bags] for draw in draws]
        spans = [find_span(counts, ranks.rank(), ranks.count()) for counts in lengths]
        own = [BatchPlan(draw.bags[span], draw.firsts[span]) for draw, span in zip(draws, spans, strict=True)]
        with closing(source.batches([plan for plan in own if plan.bags], workers)) as read:
            for draw, counts, span, plan in zip(draws, lengths, spans, own, strict=True):
                began = time.perf_counter()
                batch = next(read) if plan.bags else self.nothing
                self.waited_s += time.perf_counter() - began
                mask, labels = mask_of(counts, most, source.bag_size), source.labels[list(draw.bags)]
                yield Share(batch, sum(counts[: span.start]), mask, labels)


def find_span(counts: Sequence[int], rank: int, ranks: int) -> slice:
    """Which of the bags of a batch, with so many instances each, are those of a rank.

    A bag is the rank's in whose share of the instances its middle lies.

    >>> [find_span([2, 2, 4], rank, 2) for rank in range(2)], find_span([5], 0, 2)
    ([slice(0, 2, None), slice(2, 3, None)], slice(0, 0, None))
    """
    if not counts:
        return slice(0)
    after = np.cumsum(counts)
    owners = (2 * after - counts) * ranks // (2 * after[-1])
    first, stop = np.searchsorted(owners, [rank, rank + 1])
    return slice(int(first), int(stop))
