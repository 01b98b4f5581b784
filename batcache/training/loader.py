"""Batches of bags for training: shuffled, cut and padded, the same for the same seed and epoch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from batcache.store.reader import Store
from batcache.training.bags import Bag, read_bag


@dataclass(frozen=True, slots=True)
class Batch:
    """Shapes: features ``[B, N, T, M]`` float16, mask ``[B, N]`` bool, labels ``[B, C]`` int8 (-1: unknown)."""

    features: Tensor
    mask: Tensor
    labels: Tensor

    def pin_memory(self) -> "Batch":
        return Batch(self.features.pin_memory(), self.mask.pin_memory(), self.labels.pin_memory())


def collate(bags: Sequence[tuple[Tensor, Tensor]], bag_size: int) -> Batch:
    """Pad bags to the longest of them, or to ``bag_size`` if that is longer."""
    longest = max(bag_size, *(len(instances) for instances, _ in bags))
    features = torch.zeros(len(bags), longest, *bags[0][0].shape[1:], dtype=bags[0][0].dtype)
    mask = torch.zeros(len(bags), longest, dtype=torch.bool)
    for i, (instances, _) in enumerate(bags):
        features[i, : len(instances)] = instances
        mask[i, : len(instances)] = True
    return Batch(features, mask, torch.stack([labels for _, labels in bags]))


class BagDataset(Dataset[tuple[Tensor, Tensor]]):
    """Bags by ``(bag, first instance)``: what is drawn at random is drawn by the sampler, in one process."""

    def __init__(self, store: Store, bags: Sequence[Bag], frames_per_instance: int, max_instances: int) -> None:
        self.store, self.bags = store, bags
        self.frames_per_instance, self.max_instances = frames_per_instance, max_instances

    def __len__(self) -> int:
        return len(self.bags)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor]:
        bag = self.bags[item[0]]
        instances = read_bag(self.store, bag, self.frames_per_instance, item[1], self.max_instances)
        return instances, torch.tensor(bag.clip.labels, dtype=torch.int8)


class EpochSampler(Sampler[list[tuple[int, int]]]):
    """Batches of one epoch, shuffled by ``(seed, epoch)``; from a bag that is too long, a random span of instances."""

    def __init__(self, dataset: BagDataset, batch_size: int, seed: int) -> None:
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0
        counts = [bag.instances(dataset.frames_per_instance) for bag in dataset.bags]
        self.spare = np.maximum(np.array(counts) - dataset.max_instances, 0)

    def __len__(self) -> int:
        return ceil(len(self.spare) / self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        draw = np.random.default_rng([self.seed, self.epoch])
        order = draw.permutation(len(self.spare))
        firsts = draw.integers(0, self.spare + 1)
        items = [(int(i), int(firsts[i])) for i in order]
        for start in range(0, len(items), self.batch_size):
            yield items[start : start + self.batch_size]


class _Collate:
    """``collate`` with its bag size, in a form that reaches a spawned worker."""

    def __init__(self, bag_size: int) -> None:
        self.bag_size = bag_size

    def __call__(self, bags: Sequence[tuple[Tensor, Tensor]]) -> Batch:
        return collate(bags, self.bag_size)


def load_batches(
    dataset: BagDataset, sampler: EpochSampler, bag_size: int, workers: int, pin: bool
) -> DataLoader[tuple[Tensor, Tensor]]:
    """A loader whose workers, if any, are spawned (a fork would share the store's maps) and kept.

    Its generator is its own: PyTorch's loader draws a seed for its workers, from the global one if there is no other,
    and would so move the draws of dropout in some epochs and not in others.
    """
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=_Collate(bag_size),
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=workers > 0,
        pin_memory=pin,
        generator=torch.Generator(),
    )
