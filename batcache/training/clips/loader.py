"""Batches of bags for training: shuffled, cut and padded, the same for the same seed and epoch.

What is drawn at random is drawn in one place, ``plan_epoch``; threads, or a GPU that holds all bags, only read.
"""

from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from batcache.config.settings import Config
from batcache.storage.ahead import map_ahead
from batcache.store.reader import Store
from batcache.training.clips.bags import Bag, read_bag


@dataclass(frozen=True, slots=True)
class Batch:
    """Shapes: features ``[B, N, T, M]`` float16, mask ``[B, N]`` bool, labels ``[B, C]`` int8 (-1: unknown).

    ``features`` may lie on a GPU; mask and labels do not.
    """

    features: Tensor
    mask: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """One batch to be: which bags, and the instance from which each is taken."""

    bags: tuple[int, ...]
    firsts: tuple[int, ...]


def plan_epoch(counts: Sequence[int], most: int, batch_size: int, seed: int, epoch: int) -> list[BatchPlan]:
    """Shuffle bags of so many instances by ``(seed, epoch)``; of a bag with more than ``most``, take a random span."""
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(counts))
    firsts = generator.integers(0, np.maximum(np.array(counts) - most, 0) + 1)
    parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [BatchPlan(tuple(part.tolist()), tuple(firsts[part].tolist())) for part in parts]


def read_batch(
    store: Store,
    bags: Sequence[Bag],
    firsts: Sequence[int],
    frames_per_instance: int,
    most: int | None = None,
    bag_size: int = 1,
    *,
    pin: bool = False,
) -> Batch:
    """Read up to ``most`` instances of each bag, padded to the longest of them, or to ``bag_size`` if that is more."""
    mask = mask_of([bag.instances(frames_per_instance) for bag in bags], most, bag_size)
    shape = (*mask.shape, frames_per_instance, store.layout.n_mels)
    features = torch.empty(shape, dtype=torch.float16, pin_memory=pin)
    for bag, first, out in zip(bags, firsts, features, strict=True):
        read_bag(store, bag, frames_per_instance, first, most, out)
    return Batch(features, mask, labels_of(bags))


def mask_of(counts: Sequence[int], most: int | None, bag_size: int) -> Tensor:
    """Where a batch of bags of so many instances has real ones. Shape: ``[B, N]``."""
    lengths = torch.tensor(counts if most is None else [min(count, most) for count in counts])
    return torch.arange(max(bag_size, int(lengths.max()))) < lengths[:, None]


def labels_of(bags: Sequence[Bag]) -> Tensor:
    """The labels of a batch of bags. Shape: ``[B, C]`` int8."""
    return torch.tensor([bag.clip.labels for bag in bags], dtype=torch.int8)


class BatchReader:
    """Batches read from the store as they are needed, by threads that work ahead."""

    def __init__(
        self, store: Store, bags: Sequence[Bag], frames_per_instance: int, most: int, bag_size: int, *, pin: bool
    ) -> None:
        self.store, self.bags, self.frames_per_instance = store, tuple(bags), frames_per_instance
        self.most, self.bag_size, self.pin = most, bag_size, pin
        self.counts, self.labels = [bag.instances(frames_per_instance) for bag in bags], labels_of(bags)
        self.shape: tuple[int, ...] = (frames_per_instance, store.layout.n_mels)

    def read(self, draw: BatchPlan) -> Batch:
        """Read one batch now."""
        bags = [self.bags[i] for i in draw.bags]
        return read_batch(
            self.store, bags, draw.firsts, self.frames_per_instance, self.most, self.bag_size, pin=self.pin
        )

    def batches(self, draws: Sequence[BatchPlan], workers: int) -> Generator[Batch, None, None]:
        """Yield the batches in order. Without workers the caller's thread reads."""
        if not workers:
            yield from map(self.read, draws)
            return
        with ThreadPoolExecutor(workers) as pool:
            yield from map_ahead(pool, self.read, draws, workers + 1)


class BagsInMemory:
    """All bags of a split in a device's memory: an epoch then reads nothing.

    Args:
        labels: of each bag. Shape: ``[B, C]`` int8
        counts: how many instances each has.
        contents: what stands for each bag's instances: frames ``[N, T, M]``, or what they hold ``[N, S, D]``.
        most: instances of a bag that a batch takes.
        bag_size: that a batch is padded to at least.
        device: where they lie.
    """

    def __init__(
        self,
        labels: Tensor,
        counts: Sequence[int],
        contents: Iterable[Tensor],
        most: int,
        bag_size: int,
        device: torch.device,
    ) -> None:
        self.most, self.bag_size, self.device = most, bag_size, device
        self.labels, self.counts = labels, list(counts)
        self.starts = np.cumsum([0, *counts])
        for start, stop, content in zip(self.starts, self.starts[1:], contents, strict=False):
            if not start:  # the last one is padding
                self.shape = tuple(content.shape[1:])
                self.instances = torch.zeros(int(self.starts[-1]) + 1, *self.shape, dtype=torch.float16, device=device)
            self.instances[start:stop] = content.to(device)

    @staticmethod
    def bytes_needed(store: Store, bags: Sequence[Bag], frames_per_instance: int) -> int:
        """How much of a device's memory the bags would take, one instance of padding apart."""
        return sum(bag.instances(frames_per_instance) for bag in bags) * frames_per_instance * store.layout.n_mels * 2

    def read(self, draw: BatchPlan) -> Batch:
        """Gather one batch from what the device holds."""
        bags = list(draw.bags)
        mask = mask_of([self.counts[i] for i in bags], self.most, self.bag_size)
        begins = torch.from_numpy(self.starts[bags]) + torch.tensor(draw.firsts)
        places = torch.where(mask, begins[:, None] + torch.arange(mask.shape[1]), len(self.instances) - 1)
        features = self.instances[places.to(self.device, non_blocking=True)]
        return Batch(features, mask, self.labels[bags])

    def batches(self, draws: Sequence[BatchPlan], workers: int) -> Generator[Batch, None, None]:
        """Yield the batches in order; there is nothing to read, so no workers."""
        yield from map(self.read, draws)


def open_frames(
    store: Store, bags: Sequence[Bag], config: Config, device: torch.device, bag_size: int
) -> BatchReader | BagsInMemory:
    """Frames of training bags: all in a GPU's memory, where that is asked for and there is room, else as needed."""
    frames, on_gpu = config.data.frames_per_instance, device.type == "cuda"
    if config.training.keep_on_gpu == "auto" and on_gpu:
        free, _ = torch.cuda.mem_get_info(device)
        if 2 * BagsInMemory.bytes_needed(store, bags, frames) < free:
            read = (read_bag(store, bag, frames) for bag in bags)
            counts = [bag.instances(frames) for bag in bags]
            return BagsInMemory(labels_of(bags), counts, read, config.training.max_instances, bag_size, device)
    return BatchReader(store, bags, frames, config.training.max_instances, bag_size, pin=on_gpu)
