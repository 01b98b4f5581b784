"""A trunk that is told what the training clips are like."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from batcache.config.settings import Config, ModelConfig
from batcache.model.checkpoint import load_checkpoint
from batcache.model.pretrained import PretrainedMILModel
from batcache.model.start import start_model
from batcache.model.trunk import FrozenTrunk
from batcache.training.clips.adapt import adapt_trunk
from batcache.training.clips.bags import join, read_bag
from batcache.training.clips.embeddings import Embeddings
from batcache.training.runs import BEST
from tests.small_world import CPU, SmallWorld, train_fully, tweak


@pytest.fixture
def trunk(small: SmallWorld, trained: Path) -> FrozenTrunk:
    model = start_model(ModelConfig(init=trained), small.store.features, small.manifest.species).model
    assert isinstance(model, PretrainedMILModel)
    return model.trunk


def state(trunk: FrozenTrunk) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trunk.state_dict().items()}


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_statistics_go_so_far_towards_those_of_the_clips(small: SmallWorld, trunk: FrozenTrunk, share: float) -> None:
    """Of the first layer, whose statistics follow from the clips by hand."""
    bags, frames = join(small.manifest, small.store).bags[:5], small.config.data.frames_per_instance
    convolution, norm = trunk.convolutions[0][0], trunk.convolutions[0][1]
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    adapt_trunk(trunk, small.store, bags, frames, share, CPU)
    with torch.no_grad():
        maps = convolution(torch.cat([read_bag(small.store, bag, frames) for bag in bags]).float().unsqueeze(1))
    near = {"atol": 1e-4, "rtol": 1e-4}  # sums of a hundred thousand float32 in another order
    torch.testing.assert_close(norm.running_mean, mean.lerp(maps.mean((0, 2, 3)), share), **near)
    torch.testing.assert_close(norm.running_var, variance.lerp(maps.var((0, 2, 3)), share), **near)


def test_no_instance_counts_for_more_as_it_is_in_the_last_piece(
    small: SmallWorld, trunk: FrozenTrunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut into two pieces, of which the second could be of one instance, the mean is still that of all."""
    bags, frames = join(small.manifest, small.store).bags[:5], small.config.data.frames_per_instance
    read = torch.cat([read_bag(small.store, bag, frames) for bag in bags])
    monkeypatch.setattr("batcache.training.clips.adapt._PIECE", len(read) - 1)
    convolution, norm = trunk.convolutions[0][0], trunk.convolutions[0][1]
    adapt_trunk(trunk, small.store, bags, frames, 1.0, CPU)
    with torch.no_grad():
        maps = convolution(read.float().unsqueeze(1))
    of_all, spread = maps.mean((0, 2, 3)), maps.mean((2, 3)).std(0)
    assert ((norm.running_mean - of_all).abs() <= 0.1 * spread + 1e-5).all()  # an odd instance more weighs a little


def test_weights_stay_and_the_same_clips_give_the_same_trunk(small: SmallWorld, trunk: FrozenTrunk) -> None:
    bags, frames = join(small.manifest, small.store).bags, small.config.data.frames_per_instance
    before, shared, seen = state(trunk), Embeddings(), []
    for _ in range(2):
        trunk.load_state_dict(before)
        shared.adapt(trunk, small.store, bags, frames, 0.5, CPU)
        seen.append(state(trunk))
    trunk.load_state_dict(before)
    adapt_trunk(trunk, small.store, bags, frames, 0.5, CPU)
    for name, value in state(trunk).items():
        assert torch.equal(value, seen[0][name]) and torch.equal(value, seen[1][name])
        assert torch.equal(value, before[name]) == ("running_" not in name)
    assert not any(module.training for module in trunk.modules())


def test_a_share_of_none_leaves_the_trunk(small: SmallWorld, trunk: FrozenTrunk) -> None:
    bags, before = join(small.manifest, small.store).bags, state(trunk)
    Embeddings().adapt(trunk, small.store, bags, small.config.data.frames_per_instance, 0.0, CPU)
    assert all(torch.equal(value, before[name]) for name, value in state(trunk).items())


def test_a_run_hears_of_its_training_clips_alone(
    small: SmallWorld, trunk: FrozenTrunk, trained: Path, tmp_path: Path
) -> None:
    config: Config = tweak(
        small.config, model={"init": trained, "conv_layers": None}, training={"epochs": 1, "simulated_sounds": 0}
    )
    run, _ = train_fully(config, small.store, small.manifest, tmp_path)
    train = [bag for bag in join(small.manifest, small.store).bags if bag.clip.split == "train"]
    adapt_trunk(trunk, small.store, train, config.data.frames_per_instance, config.model.adapt, CPU)
    kept = load_checkpoint(run / BEST).weights
    for name, value in trunk.state_dict().items():
        torch.testing.assert_close(kept[f"trunk.{name}"], value)
