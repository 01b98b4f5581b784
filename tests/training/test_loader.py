from dataclasses import replace

import numpy as np
import pytest
import torch

from batcache.training.bags import join, read_bag
from batcache.training.loader import BagDataset, Batch, EpochSampler, collate, load_batches
from tests.small_world import SmallWorld

CUT = 50  # frames an instance: 0.1 s, so that a clip has 5 to 16


def dataset(small: SmallWorld, max_instances: int = 60) -> BagDataset:
    return BagDataset(small.store, join(small.manifest, small.store).bags, CUT, max_instances)


def epoch(data: BagDataset, number: int, seed: int = 0, batch_size: int = 5) -> list[list[tuple[int, int]]]:
    sampler = EpochSampler(data, batch_size, seed)
    sampler.epoch = number
    batches = list(sampler)
    assert len(batches) == len(sampler)
    return batches


def test_every_bag_comes_once_an_epoch(small: SmallWorld) -> None:
    batches = epoch(dataset(small), 0)
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 4]
    assert sorted(bag for batch in batches for bag, _ in batch) == list(range(24))


def test_seed_and_epoch_decide_the_order(small: SmallWorld) -> None:
    data = dataset(small)
    assert epoch(data, 3) == epoch(data, 3)
    assert epoch(data, 3) != epoch(data, 4)
    assert epoch(data, 3, seed=1) != epoch(data, 3, seed=0)


def test_a_random_span_of_a_long_bag_lies_within_it_and_moves_between_epochs(small: SmallWorld) -> None:
    data = dataset(small, max_instances=6)
    counts = [bag.instances(CUT) for bag in data.bags]
    assert min(counts) < 6 < max(counts)
    seen: dict[int, set[int]] = {}
    for number in range(40):
        for item in (item for batch in epoch(data, number) for item in batch):
            seen.setdefault(item[0], set()).add(item[1])
            instances, _ = data[item]
            assert torch.equal(instances, read_bag(small.store, data.bags[item[0]], CUT)[item[1] : item[1] + 6])
            assert len(instances) == min(6, counts[item[0]])
    for bag, firsts in seen.items():
        spare = max(0, counts[bag] - 6)
        assert firsts <= set(range(spare + 1))
        assert len(firsts) >= min(spare + 1, 5)
        assert spare == 0 or {0, spare} <= firsts or len(firsts) > 5


def test_labels_are_those_of_the_clip(small: SmallWorld) -> None:
    data = dataset(small)
    for i in range(len(data)):
        assert data[i, 0][1].tolist() == list(data.bags[i].clip.labels)
    assert {label for i in range(len(data)) for label in data[i, 0][1].tolist()} == {-1, 0, 1}


@pytest.mark.parametrize(("bag_size", "expected"), [(1, 4), (4, 4), (10, 10)])
def test_bags_are_padded_to_the_bag_size_or_the_longest(bag_size: int, expected: int) -> None:
    lengths = [2, 4, 1]
    bags = [(torch.rand(n, 7, 3).half(), torch.tensor([i, -1], dtype=torch.int8)) for i, n in enumerate(lengths)]
    batch = collate(bags, bag_size)
    assert batch.features.shape == (3, expected, 7, 3)
    assert batch.features.dtype == torch.float16
    assert batch.mask.sum(1).tolist() == lengths
    for i, (instances, _) in enumerate(bags):
        assert torch.equal(batch.features[i, batch.mask[i]], instances)
        assert batch.features[i, lengths[i] :].count_nonzero() == 0
        assert batch.mask[i, : lengths[i]].all()
    assert batch.labels.tolist() == [[0, -1], [1, -1], [2, -1]]


def batches_of(small: SmallWorld, workers: int, epochs: int) -> list[Batch]:
    data = dataset(small, max_instances=6)
    sampler = EpochSampler(data, batch_size=5, seed=1)
    loader = load_batches(data, sampler, 10, workers, pin=False)
    batches: list[Batch] = []
    for number in range(epochs):
        sampler.epoch = number
        batches += loader  # type: ignore[arg-type]
    return batches


def test_a_loader_gives_the_batches_of_the_sampler(small: SmallWorld) -> None:
    data = dataset(small, max_instances=6)
    batches = batches_of(small, workers=0, epochs=2)
    items = [*epoch(data, 0, seed=1), *epoch(data, 1, seed=1)]
    for batch, wanted in zip(batches, items, strict=True):
        assert torch.equal(batch.features, collate([data[item] for item in wanted], 10).features)


def test_loading_draws_nothing_from_the_global_generators(small: SmallWorld) -> None:
    """Else the draws of dropout would depend on how often a loader was started."""
    torch_state, numpy_state = torch.get_rng_state(), repr(np.random.get_state())  # noqa: NPY002
    batches_of(small, workers=0, epochs=1)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert repr(np.random.get_state()) == numpy_state  # noqa: NPY002


@pytest.mark.slow
def test_spawned_workers_give_the_same_batches(small: SmallWorld) -> None:
    state = torch.get_rng_state()
    pairs = zip(batches_of(small, 2, epochs=2), batches_of(small, 0, epochs=2), strict=True)
    for batch, other in pairs:
        assert torch.equal(batch.features, other.features)
        assert torch.equal(batch.mask, other.mask)
        assert torch.equal(batch.labels, other.labels)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_bag_is_read_from_its_own_start(small: SmallWorld) -> None:
    data = dataset(small)
    shifted = BagDataset(small.store, [replace(data.bags[0], start=CUT)], CUT, 60)
    assert torch.equal(shifted[0, 0][0], data[0, 0][0][1:])
