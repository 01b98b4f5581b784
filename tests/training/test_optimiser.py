"""What an optimiser tells of its steps: gradients as they were before clipping, the rate of each part."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from batcache.config.features import FeatureConfig
from batcache.config.settings import ConvLayer, ModelConfig, TrainingConfig
from batcache.model.pretrained import PretrainedMILModel
from batcache.model.trunk import TrunkConfig
from batcache.training.optimiser import TRUNK_RATE, Optimiser

CPU = torch.device("cpu")
SETTINGS = TrainingConfig(learning_rate=0.01, grad_clip=1e-3)


def test_the_gradient_norm_is_the_mean_of_those_before_clipping_since_it_was_asked_for() -> None:
    """The gradient of a weighted sum is its weights: norms of 5 and 13, far above the clip."""
    model = nn.Linear(2, 1, bias=False)
    optimiser = Optimiser(model, SETTINGS, CPU, 1)
    for weights in ([3.0, 4.0], [5.0, 12.0]):
        optimiser.step(model(torch.tensor([weights])).sum())
    assert optimiser.take_gradient_norm() == pytest.approx(9)
    optimiser.step(model(torch.tensor([[0.6, 0.8]])).sum())
    assert optimiser.take_gradient_norm() == pytest.approx(1)


def test_steps_that_half_precision_skips_do_not_count() -> None:
    model = nn.Linear(2, 1, bias=False)
    optimiser = Optimiser(model, SETTINGS, CPU, 1)
    for weights in ([3.0, 4.0], [float("inf"), 0.0]):
        optimiser.step(model(torch.tensor([weights])).sum())
    assert optimiser.take_gradient_norm() == pytest.approx(5)
    optimiser.step(model(torch.tensor([[float("inf"), 0.0]])).sum())
    assert optimiser.take_gradient_norm() is None


@pytest.mark.parametrize("scheduler", ["none", "one_cycle"])
def test_each_part_says_its_own_rate(scheduler) -> None:
    features = FeatureConfig(n_mels=16)
    trunk = TrunkConfig((ConvLayer(2),), 4, features)
    model = PretrainedMILModel(ModelConfig(heads=1, head_size=4), trunk, features, 2)
    settings = replace(SETTINGS, scheduler=scheduler, epochs=2)
    for part, names in ((model, ["heads", "trunk"]), (model.heads, ["heads"]), (nn.Linear(2, 1), ["model"])):
        optimiser = Optimiser(part, settings, CPU, 4)
        rates = optimiser.learning_rates
        assert list(rates) == names and rates[names[0]] == optimiser.learning_rate
        assert rates.get("trunk", TRUNK_RATE * rates[names[0]]) == pytest.approx(TRUNK_RATE * rates[names[0]])
