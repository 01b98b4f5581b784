"""What a kernel beside heads is taught: from few bags, without draws, and on top of what an earlier one knew."""

from dataclasses import replace
from pathlib import Path

import torch

from batcache.config.settings import Config, ModelConfig
from batcache.model.checkpoint import load_checkpoint
from batcache.model.heads import MILHeads
from batcache.model.kernel import SHARE, KernelHead
from batcache.training.kernel import MOST_INSTANCES, fit_kernel, teach_kernel
from batcache.training.runs import BEST
from tests.small_world import SmallWorld, train_fully, tweak

DIM = 6


def draw_bags(count: int, seed: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Bags in which species 0, 1, both or none call, each in one instance of its own; and their labels."""
    generator = torch.Generator().manual_seed(seed)
    bags, labels = [], torch.zeros(count, 2, dtype=torch.int8)
    for i in range(count):
        bag = torch.rand(4, DIM, generator=generator) * 0.2 + torch.tensor([1.0, 0, 0, 0, 0, 0])
        for species in (0, 1):
            if i >> species & 1:
                bag[2 * species + i % 2, 2 + 2 * species] += 2.0
                labels[i, species] = 1
        bags.append(bag)
    return bags, labels


def judge(kernel: KernelHead, bags: list[torch.Tensor]) -> torch.Tensor:
    return kernel(torch.stack(bags), torch.ones(len(bags), 4, dtype=torch.bool)).bag_logits


def test_it_finds_each_of_several_species_in_a_bag_and_where_it_calls() -> None:
    kernel = fit_kernel(*draw_bags(16, 0), torch.ones(2))
    bags, labels = draw_bags(40, 1)
    assert torch.equal(judge(kernel, bags) > 0, labels == 1)
    said = kernel(torch.stack(bags), torch.ones(40, 4, dtype=torch.bool)).instance_logits
    for i in (3, 7, 11):  # both species
        assert said[i].argmax(0).tolist() == [i % 2, 2 + i % 2]


def test_the_same_bags_give_the_same_kernel_whatever_was_drawn_before() -> None:
    torch.manual_seed(1)
    one = fit_kernel(*draw_bags(16, 0), torch.ones(2)).state_dict()
    torch.manual_seed(2)
    other = fit_kernel(*draw_bags(16, 0), torch.ones(2)).state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_unknown_labels_teach_nothing() -> None:
    """Of species 1 nothing is known in bags that would say the opposite."""
    bags, labels = draw_bags(32, 0)
    wrong = labels.clone()
    wrong[16:, 1] = 1 - wrong[16:, 1]
    wrong[16:, 1] = -1
    known = fit_kernel(bags, wrong, torch.ones(2))
    others, expected = draw_bags(40, 1)
    assert torch.equal(judge(known, others) > 0, expected == 1)
    labels[:, 1] = -1
    assert not fit_kernel(bags, labels, torch.ones(2)).weights[1].any()


def make_heads() -> MILHeads:
    return MILHeads(ModelConfig("max", heads=1, head_size=4, rnn_hidden_size=2), DIM, 2)


def test_species_without_both_labels_and_those_kept_from_a_model_without_a_kernel_hear_none() -> None:
    bags, labels = draw_bags(16, 0)
    heads = make_heads()
    teach_kernel(heads, bags, labels, torch.ones(2), [False, True], 60)
    assert heads.kernel is not None and heads.kernel.share.tolist() == [SHARE, 0.0]
    heads, labels[:, 0] = make_heads(), 1
    teach_kernel(heads, bags, labels, torch.ones(2), [False, False], 60)
    assert heads.kernel is not None and heads.kernel.share.tolist() == [0.0, SHARE]


def test_what_is_said_of_species_that_are_kept_stays_and_new_ones_are_taught() -> None:
    bags, labels = draw_bags(16, 0)
    heads, first = make_heads(), labels.clone()
    first[:, 1] = -1
    teach_kernel(heads, bags, first, torch.ones(2), [False, False], 60)
    earlier = heads.kernel
    assert earlier is not None and earlier.share.tolist() == [SHARE, 0.0]
    labels[:, 0] = 1 - labels[:, 0]
    teach_kernel(heads, bags, labels, torch.ones(2), [True, False], 60)
    later = heads.kernel
    assert later is not None and later.share.tolist() == [SHARE, SHARE]
    torch.testing.assert_close(judge(later, bags)[:, 0], judge(earlier, bags)[:, 0], rtol=1e-4, atol=1e-4)
    assert torch.equal(judge(later, bags)[:, 1] > 0, labels[:, 1] == 1)
    teach_kernel(heads, bags, labels, torch.ones(2), [True, True], 60)
    assert heads.kernel is later, "nothing is new"


def test_where_labels_are_many_heads_are_alone() -> None:
    bags, labels = draw_bags(MOST_INSTANCES // 4 + 1, 0)
    heads = make_heads()
    teach_kernel(heads, bags, labels, torch.ones(2), [False, False], 60)
    assert heads.kernel is None
    long = [bags[0].repeat(4000, 1), *bags[1:16]]
    teach_kernel(heads, long, labels[:16], torch.ones(2), [False, False], 60)
    assert heads.kernel is not None, "of a long recording no more is taken than heads hear in an epoch"


def test_a_run_has_one_that_its_seed_does_not_move(small: SmallWorld, trained: Path, tmp_path: Path) -> None:
    model = ModelConfig("max", init=trained, heads=1, head_size=8, rnn_hidden_size=4)
    quick = {"epochs": 1, "scheduler": "none", "simulated_sounds": 0}
    config: Config = replace(tweak(small.config, training=quick), model=model)
    found = []
    for seed in (0, 1):
        run, _ = train_fully(tweak(config, training={"seed": seed}), small.store, small.manifest, tmp_path / str(seed))
        found.append(load_checkpoint(run / BEST))
    for name in ("centres", "widths", "weights", "bias", "share"):
        one, other = (checkpoint.weights[f"heads.kernel.{name}"] for checkpoint in found)
        assert torch.equal(one, other)
    assert set(found[0].weights["heads.kernel.share"].tolist()) == {SHARE}
