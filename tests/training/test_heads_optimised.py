"""What a step does to the weights."""

import pytest
import torch
from torch import nn

from batcache.config.settings import ModelConfig, TrainingConfig
from batcache.model.heads import MILHeads
from batcache.training.optimiser import Optimiser
from tests.small_world import CPU

BAGS, MASK = torch.rand(4, 3, 1, 6), torch.ones(4, 3, dtype=torch.bool)
LABELS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
SETTINGS = TrainingConfig(grad_clip=0.01, learning_rate=0.01)


def heads_without_draws(heads: int, seed: int = 0) -> MILHeads:
    torch.manual_seed(seed)
    model = MILHeads(ModelConfig("attention", heads=heads, head_size=8, rnn_hidden_size=4), 6, 2)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def train(model: MILHeads, steps: int = 5) -> None:
    optimiser = Optimiser(model, SETTINGS, CPU, steps)
    for _ in range(steps):
        losses = [
            nn.functional.binary_cross_entropy_with_logits(output.bag_logits, LABELS)
            for output in model.each(BAGS, MASK)
        ]
        optimiser.step(torch.stack(losses).sum())


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_head_learns_in_a_group_what_it_learns_alone(number: int) -> None:
    group, alone = heads_without_draws(3), heads_without_draws(1, seed=1)
    alone.heads[0].load_state_dict(group.heads[number].state_dict())
    train(group)
    train(alone)
    for one, other in zip(group.heads[number].parameters(), alone.heads[0].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
