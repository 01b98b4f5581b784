"""What a kernel beside heads is taught: from few bags, without draws, and on top of what an earlier one knew."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import structs
from torch import nn

from batcache.config.settings import Config, ModelConfig
from batcache.model.checkpoint import load_checkpoint, save_checkpoint
from batcache.model.heads import MILHeads
from batcache.model.kernel import SHARE, KernelHead, join_neighbours, measure, scale, weigh_by_level
from batcache.model.pretrained import PretrainedMILModel
from batcache.model.start import start_model
from batcache.training import beside
from batcache.training.bat_heads import fit_bat_heads
from batcache.training.beside import choose_shown, describe_shown, teach_beside
from batcache.training.clips.bags import join
from batcache.training.clips.embeddings import Embedded, embed_bags
from batcache.training.inputs import choose_split
from batcache.training.kernel import find_strangeness, fit_kernel, hear_bats, teach_kernel
from batcache.training.runs import BEST
from tests.small_world import CPU, SmallWorld, train_fully, tweak

DIM, STEPS = 6, 3
GROUPS = [f"night {i}" for i in range(100)]  # each clip is of its own


def draw_bags(count: int, seed: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Bags in which species 0, 1, both or none call, each in one step of an instance of its own; and their labels."""
    generator = torch.Generator().manual_seed(seed)
    bags, labels = [], torch.zeros(count, 2, dtype=torch.int8)
    for i in range(count):
        bag = torch.rand(4, STEPS, DIM, generator=generator) * 0.2 + torch.tensor([1.0, 0, 0, 0, 0, 0])
        for species in (0, 1):
            if i >> species & 1:
                bag[2 * species + i % 2, i % STEPS, 2 + 2 * species] += 2.0
                labels[i, species] = 1
        bags.append(bag)
    return bags, labels


def draw_strangers(count: int, seed: int) -> list[torch.Tensor]:
    """Bags of the same sort in which a species calls that is like neither of those."""
    bags, _ = draw_bags(4 * count, seed)
    strangers = [bag for i, bag in enumerate(bags) if i % 4 == 0]
    for bag in strangers:
        bag[1, 1, 1] += 2.0
    return strangers


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


def test_species_without_both_labels_hear_none() -> None:
    bags, labels = draw_bags(16, 0)
    heads, labels[:, 0] = make_heads(), 1
    teach_kernel(heads, bags, labels, torch.ones(2), 60, GROUPS[: len(bags)])
    assert heads.kernel is not None and heads.kernel.share.tolist() == [0.0, SHARE]


def doubt(heads: MILHeads, bag: torch.Tensor) -> torch.Tensor:
    assert heads.kernel is not None
    return heads.kernel.doubt(heads.kernel.listen(bag[None]).strangeness, hear_bats(heads, [bag])[0][None])


def test_species_that_were_never_taught_are_doubted_and_those_that_were_are_not() -> None:
    """Heads of bats know that all of them are bats, as simulated ones teach."""
    bags, labels = draw_bags(64, 0)
    strangers = draw_strangers(30, 1)
    heads = MILHeads(ModelConfig("max", heads=1, head_size=16, rnn_hidden_size=2), DIM, 2, hears_bats=True)
    heard = [bag.amax(1) for bag in (*bags, *strangers)]
    heads.standardise_by(torch.cat(heard))
    fit_bat_heads(heads, heard, [*(labels == 1).any(1).tolist(), *[True] * 30], 0)
    teach_kernel(heads, bags, labels, torch.ones(2), 60, GROUPS[:64])
    assert heads.kernel is not None and heads.kernel.strangeness.all()
    others, expected = draw_bags(80, 2)
    known = [bag for bag, holds in zip(others, expected, strict=True) if holds.any()]
    doubts = [torch.cat([doubt(heads, bag) for bag in some]) for some in (known, draw_strangers(30, 3))]
    assert (doubts[0] > -1).all(1).float().mean() >= 0.9
    assert (doubts[1] < -4).all(1).float().mean() >= 0.9


def test_how_strange_a_bat_may_be_is_told_by_clips_of_other_groups() -> None:
    """Where the clips of a night are copies, the nearest of another night counts."""
    bags, labels = draw_bags(48, 0)
    kernel = fit_kernel(bags, labels, torch.ones(2))
    heard, holds = [torch.ones(4)] * 48, labels == 1
    moments = [join_neighbours(bag) for bag in bags]
    centres = scale(torch.stack([bag[range(4), bag.square().sum(-1).argmax(1)] for bag in moments]))
    expected = []
    for i, bag in enumerate(moments):
        if holds[i].any():
            others = torch.cat([*centres[:i], *centres[i + 1 :]])
            expected.append(float(weigh_by_level(measure(scale(bag), others).amin(-1), bag).mean()))
    strangeness = find_strangeness(kernel, bags, heard, holds, GROUPS[:48])
    assert strangeness == pytest.approx(1 / np.quantile(expected, 0.98), rel=1e-4)
    bags = [bag.amax(1, keepdim=True) for bag in bags]  # of one moment, which is as near to a copy as can be
    strangeness = find_strangeness(fit_kernel(bags, labels, torch.ones(2)), bags, heard, holds, GROUPS[:48])
    twice = [bag for bag in bags for _ in range(2)]
    kernel, holds = fit_kernel(twice, labels.repeat_interleave(2, 0), torch.ones(2)), holds.repeat_interleave(2, 0)
    nights = [night for night in GROUPS[:48] for _ in range(2)]
    assert find_strangeness(kernel, twice, heard * 2, holds, nights) == pytest.approx(strangeness, rel=0.1)
    assert find_strangeness(kernel, twice, heard * 2, holds, GROUPS[:96]) > 10 * strangeness, "copies tell nothing"


def test_simulated_clips_are_known_bats_but_tell_nothing_of_how_far_known_ones_are() -> None:
    """What follows the clips of groups is simulated: all of it lies among the centres, none of it is measured."""
    bags, labels = draw_bags(48, 0)
    bags = [bag.amax(1, keepdim=True) for bag in bags]  # of one moment, so that a copy is as near as can be
    holds, heard, ones = labels == 1, [torch.ones(4)] * 48, torch.ones(2)
    strangeness = find_strangeness(fit_kernel(bags, labels, ones), bags, heard, holds, GROUPS[:48])
    away = [bag.roll(1, -1) for bag in bags]
    for simulated, least, most in ((away, 0.999, 1.001), (bags, 10, float("inf"))):
        both = [*bags, *simulated]
        kernel = fit_kernel(both, torch.cat([labels, labels]), ones)
        assert least < find_strangeness(kernel, both, heard, holds, GROUPS[:48]) / strangeness < most


def test_by_few_known_clips_or_one_night_no_bat_is_strange() -> None:
    bags, labels = draw_bags(48, 0)
    kernel, heard = fit_kernel(bags, labels, torch.ones(2)), [torch.ones(4)] * 48
    assert find_strangeness(kernel, bags, heard, labels == 1, ["night"] * 48) == 0
    each_in_one = ["night 0" if row[0] else "night 1" for row in labels]
    only_one = (labels == 1) & torch.tensor([True, False])
    assert find_strangeness(kernel, bags, heard, only_one, each_in_one) == 0, "species 0 is heard in one night alone"
    few = (labels == 1) & (torch.arange(48) < 18)[:, None]
    assert find_strangeness(kernel, bags, heard, few, GROUPS[:48]) == 0


def test_what_is_said_of_species_that_are_kept_stays_and_new_ones_are_taught() -> None:
    bags, labels = draw_bags(16, 0)
    heads, first = make_heads(), labels.clone()
    first[:, 1] = -1
    teach_kernel(heads, bags, first, torch.ones(2), 60, GROUPS[: len(bags)])
    earlier = heads.kernel
    assert earlier is not None and earlier.share.tolist() == [SHARE, 0.0]
    labels[:, 0] = 1 - labels[:, 0]
    second = labels.clone()
    second[:, 0] = -1
    teach_kernel(heads, bags, second, torch.ones(2), 60, GROUPS[: len(bags)])
    later = heads.kernel
    assert later is not None and later.share.tolist() == [SHARE, SHARE]
    torch.testing.assert_close(judge(later, bags)[:, 0], judge(earlier, bags)[:, 0], rtol=1e-4, atol=1e-4)
    assert torch.equal(judge(later, bags)[:, 1] > 0, labels[:, 1] == 1)
    teach_kernel(heads, bags, torch.full_like(labels, -1), torch.ones(2), 60, GROUPS[: len(bags)])
    assert heads.kernel is later, "nothing is new"


def test_of_a_long_recording_no_more_is_taken_than_heads_hear_in_an_epoch() -> None:
    bags, labels = draw_bags(16, 0)
    heads, other = make_heads(), make_heads()
    teach_kernel(heads, [bags[0].repeat(100, 1, 1), *bags[1:]], labels, torch.ones(2), 60, GROUPS[:16])
    teach_kernel(other, [bags[0].repeat(15, 1, 1), *bags[1:]], labels, torch.ones(2), 60, GROUPS[:16])
    assert heads.kernel is not None and other.kernel is not None
    assert len(heads.kernel.moments) == len(other.kernel.moments) == 60 + 15 * 4


def test_of_many_clips_some_teach_a_kernel_and_of_very_many_none(
    small: SmallWorld, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ModelConfig("max", init=trained, heads=1, head_size=8, rnn_hidden_size=4)
    config: Config = replace(tweak(small.config, training={"epochs": 1, "scheduler": "none"}), model=model)
    split, frames = choose_split(join(small.manifest, small.store), small.manifest, config), small.config.data
    train, val = (sum(bag.instances(frames.frames_per_instance) for bag in bags) for bags in (split.train, split.val))
    monkeypatch.setattr(beside, "MOST_INSTANCES", train - 1)
    for many, centres in ((train + val, range(1, train)), (train + val - 1, [0])):
        monkeypatch.setattr(beside, "MANY", many)
        run, _ = train_fully(config, small.store, small.manifest, tmp_path / str(many))
        assert load_checkpoint(run / BEST).centres in centres


def test_each_label_has_its_turn_among_the_clips_that_teach_a_kernel(
    small: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a hundred clips two hold a rare species, three lack one that is hardly annotated, five are not annotated."""
    labels = torch.tensor(
        [[1, 0, 0, -1]] * 60 + [[0, 1, 0, 1]] * 20 + [[0, 0, 0, -1]] * 10 + [[-1] * 4] * 5, dtype=torch.int8
    )
    labels = torch.cat([labels, torch.tensor([[0, 1, 1, -1], [1, 0, 1, -1]] + [[1, 0, -1, 0]] * 3, dtype=torch.int8)])
    one = join(small.manifest, small.store).bags[0]
    bags, each = [one] * 100, one.instances(small.config.data.frames_per_instance)
    assert choose_shown(bags, [], labels, small.config) == list(range(100))
    monkeypatch.setattr(beside, "MOST_INSTANCES", 25 * each + each - 1)
    shown = choose_shown(bags, [], labels, small.config)
    assert len(shown) == 25
    assert {95, 96, 97, 98, 99} <= set(shown)
    assert not set(range(90, 95)) & set(shown), "of these nothing is known"
    of = labels[shown]
    assert min(int((of[:, i] == 1).sum()) for i in (0, 1, 3)) >= 5
    assert (of[:, :3] == 0).all(1).sum() >= 4, "clips without any have their turn"
    assert choose_shown(bags, [], labels, small.config) == shown


def test_what_is_too_long_is_passed_over_and_clips_to_validate_on_count(
    small: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = join(small.manifest, small.store).bags[0]
    each = one.instances(small.config.data.frames_per_instance)
    long = structs.replace(one, stop=one.start + 50 * (one.stop - one.start))
    bags, labels = [long, *[one] * 9], torch.tensor([[1, 0], [0, 1]] * 5, dtype=torch.int8)
    config = tweak(small.config, training={"max_instances": 100 * each})
    monkeypatch.setattr(beside, "MOST_INSTANCES", 9 * each)
    assert choose_shown(bags, [], labels, config) == list(range(1, 10))
    instances = sum(bag.instances(small.config.data.frames_per_instance) for bag in bags)
    monkeypatch.setattr(beside, "MANY", instances)
    shown = choose_shown(bags, [], labels, config)
    assert "9 of 10 training clips teach" in describe_shown(shown, bags, [], config)[0]
    assert not choose_shown(bags, [one], labels, config)
    assert "no kernel" in describe_shown([], bags, [one], config)[0]


def test_a_kernel_of_a_part_is_that_of_these_clips_alone(small: SmallWorld, trained: Path) -> None:
    """Labels and steps of what is shown stand beside each other."""
    model = ModelConfig("max", init=trained, heads=1, head_size=8, rnn_hidden_size=4)
    config: Config = replace(tweak(small.config, training={"simulated_sounds": 6}), model=model)
    bags = join(small.manifest, small.store).bags
    labels = torch.tensor([bag.clip.labels for bag in bags], dtype=torch.int8)
    kernels = []
    for part in (False, True):
        started = start_model(config.model, small.store.features, small.manifest.species)
        made = started.model
        assert isinstance(made, PretrainedMILModel)
        shown = list(range(1, len(bags), 2))
        learnt = embed_bags(
            made.trunk, small.store, bags, config.data.frames_per_instance, CPU, lambda _: None, by_steps=True
        )
        steps = [learnt.steps[i] for i in shown]
        if part:
            learnt = Embedded(tuple(bags[i] for i in shown), tuple(steps))
            known, shown = labels[shown], list(range(len(steps)))
        else:
            known = labels
        simulated, of = steps[0] * 0.5, torch.cat([known, labels[:1]])
        made.heads.bats = nn.ModuleList()
        about = shown, (*steps, simulated), of, config, small.manifest.species
        teach_beside(made, small.store, learnt, *about, lambda _: None)
        kernels.append(made.heads.kernel)
    one, other = kernels
    assert one is not None and other is not None
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_a_run_has_one_that_its_seed_does_not_move(small: SmallWorld, trained: Path, tmp_path: Path) -> None:
    model = ModelConfig("max", init=trained, heads=1, head_size=8, rnn_hidden_size=4)
    quick = {"epochs": 1, "scheduler": "none", "simulated_sounds": 0}
    config: Config = replace(tweak(small.config, training=quick), model=model)
    found = []
    for seed in (0, 1):
        run, _ = train_fully(tweak(config, training={"seed": seed}), small.store, small.manifest, tmp_path / str(seed))
        found.append(load_checkpoint(run / BEST))
    for name in ("moments", "widths", "weights", "bias", "share"):
        one, other = (checkpoint.weights[f"heads.kernel.{name}"] for checkpoint in found)
        assert torch.equal(one, other)
    assert set(found[0].weights["heads.kernel.share"].tolist()) == {SHARE}


def test_to_a_kernel_that_was_taken_from_an_earlier_model_no_bat_is_strange(
    small: SmallWorld, trained: Path, tmp_path: Path
) -> None:
    """Its centres know nothing of the clips that teach now: what these hold would be doubted."""
    settings = {"epochs": 1, "scheduler": "none", "simulated_sounds": 6}
    model = ModelConfig("max", init=trained, heads=1, head_size=8, rnn_hidden_size=4)
    config: Config = replace(tweak(small.config, training=settings), model=model)
    first, _ = train_fully(config, small.store, small.manifest, tmp_path / "first")
    weights = dict(load_checkpoint(first / BEST).weights)
    weights["heads.kernel.strangeness"] = torch.full_like(weights["heads.kernel.strangeness"], 100.0)
    earlier = tmp_path / "earlier.pt"
    save_checkpoint(earlier, replace(load_checkpoint(first / BEST), weights=weights))
    again = replace(config, model=replace(model, init=earlier))
    second, _ = train_fully(again, small.store, small.manifest, tmp_path / "second")
    assert not load_checkpoint(second / BEST).weights["heads.kernel.strangeness"].any()
