from itertools import chain

import numpy as np
import pytest
import torch
from msgspec import structs

from batcache.errors import StoreError
from batcache.training.clips.bags import join, read_bag
from batcache.training.clips.loader import (
    BagsInMemory,
    Batch,
    BatchPlan,
    BatchReader,
    labels_of,
    plan_epoch,
    read_batch,
)
from tests.small_world import SmallWorld

CUT = 50  # frames an instance: 0.1 s, so that a clip has 5 to 16
sources = pytest.mark.parametrize("source", ["workers 0", "workers 1", "workers 3", "on gpu"])


def counts_of(small: SmallWorld) -> list[int]:
    return [bag.instances(CUT) for bag in join(small.manifest, small.store).bags]


def epoch(small: SmallWorld, number: int, seed: int = 0, most: int = 60) -> list[BatchPlan]:
    return plan_epoch(counts_of(small), most, 5, seed, number)


def test_every_bag_comes_once_an_epoch(small: SmallWorld) -> None:
    draws = epoch(small, 0)
    assert [len(draw.bags) for draw in draws] == [5, 5, 5, 5, 4]
    assert sorted(chain.from_iterable(draw.bags for draw in draws)) == list(range(24))


def test_seed_and_epoch_decide_the_order(small: SmallWorld) -> None:
    assert epoch(small, 3) == epoch(small, 3)
    assert epoch(small, 3) != epoch(small, 4)
    assert epoch(small, 3, seed=1) != epoch(small, 3, seed=0)


def test_a_random_span_of_a_long_bag_lies_within_it_and_moves_between_epochs(small: SmallWorld) -> None:
    counts = counts_of(small)
    assert min(counts) < 6 < max(counts)
    seen: dict[int, set[int]] = {}
    for number in range(40):
        for draw in epoch(small, number, most=6):
            for bag, first in zip(draw.bags, draw.firsts, strict=True):
                seen.setdefault(bag, set()).add(first)
    for bag, firsts in seen.items():
        spare = max(0, counts[bag] - 6)
        assert firsts <= set(range(spare + 1))
        assert len(firsts) >= min(spare + 1, 5)
        assert spare == 0 or {0, spare} <= firsts or len(firsts) > 5


def kept_bags(small: SmallWorld, bag_size: int) -> BagsInMemory:
    bags = join(small.manifest, small.store).bags
    contents = (read_bag(small.store, bag, CUT) for bag in bags)
    return BagsInMemory(
        labels_of(bags), [bag.instances(CUT) for bag in bags], contents, 6, bag_size, torch.device("cpu")
    )


def batches_of(small: SmallWorld, source: str, draws: list[BatchPlan], bag_size: int = 10) -> list[Batch]:
    bags = join(small.manifest, small.store).bags
    if source == "on gpu":
        return list(kept_bags(small, bag_size).batches(draws, 0))
    reader = BatchReader(small.store, bags, CUT, 6, bag_size, pin=False)
    return list(reader.batches(draws, int(source.split()[1])))


@sources
@pytest.mark.parametrize("bag_size", [1, 4, 10])
def test_a_batch_holds_the_spans_drawn_padded_with_zeros(small: SmallWorld, source: str, bag_size: int) -> None:
    bags, draws = join(small.manifest, small.store).bags, [*epoch(small, 0, most=6), *epoch(small, 1, most=6)]
    for draw, batch in zip(draws, batches_of(small, source, draws, bag_size), strict=True):
        expected = [
            read_bag(small.store, bags[i], CUT, first, 6) for i, first in zip(draw.bags, draw.firsts, strict=True)
        ]
        lengths = [len(instances) for instances in expected]
        assert lengths == [min(6, bags[i].instances(CUT)) for i in draw.bags]
        assert batch.features.shape[:2] == batch.mask.shape == (len(draw.bags), max(bag_size, *lengths))
        assert batch.features.dtype == torch.float16
        assert batch.mask.sum(1).tolist() == lengths
        for i, instances in enumerate(expected):
            assert torch.equal(batch.features[i, : lengths[i]], instances)
            assert batch.features[i, lengths[i] :].count_nonzero() == 0
            assert batch.mask[i, : lengths[i]].all()
        assert batch.labels.tolist() == [list(bags[i].clip.labels) for i in draw.bags]


def test_labels_may_be_unknown(small: SmallWorld) -> None:
    labels = torch.cat([batch.labels for batch in batches_of(small, "workers 0", epoch(small, 0, most=6))])
    assert set(labels.flatten().tolist()) == {-1, 0, 1}


@sources
def test_loading_draws_nothing_from_the_global_generators(small: SmallWorld, source: str) -> None:
    """Else the draws of dropout would depend on how batches come."""
    torch_state, numpy_state = torch.get_rng_state(), repr(np.random.get_state())  # noqa: NPY002
    batches_of(small, source, epoch(small, 0, most=6))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert repr(np.random.get_state()) == numpy_state  # noqa: NPY002


def test_a_damaged_chunk_stops_the_batches_that_threads_read(
    small: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("google_crc32c.value", lambda _: -1)
    with pytest.raises(StoreError, match="its checksum does not match"):
        batches_of(small, "workers 1", epoch(small, 0, most=6))


def test_the_memory_that_kept_bags_take_is_known_before(small: SmallWorld) -> None:
    bags = join(small.manifest, small.store).bags
    kept = kept_bags(small, 10)
    needed = BagsInMemory.bytes_needed(small.store, bags, CUT)
    assert kept.instances[:-1].nbytes == needed  # and one instance of padding


def test_a_bag_is_read_from_its_own_start(small: SmallWorld) -> None:
    bag = join(small.manifest, small.store).bags[0]
    shifted = read_batch(small.store, [structs.replace(bag, start=CUT)], [0], CUT)
    assert torch.equal(shifted.features[0], read_bag(small.store, bag, CUT)[1:])
