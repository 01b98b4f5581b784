"""Networks that run alongside each other say what each would say alone."""

import pytest
import torch
from torch import Tensor, nn

from batcache.model.alongside import run_alongside
from batcache.model.crnn import run_along_bags

LENGTHS = torch.tensor([4, 1, 3, 7])
MASK = torch.arange(7) < LENGTHS[:, None]


def networks(layers: int = 1, dropout: float = 0.0) -> list[nn.GRU]:
    torch.manual_seed(0)
    return [nn.GRU(6, 5, layers, batch_first=True, bidirectional=True, dropout=dropout) for _ in range(3)]


def gradients(said: Tensor, rnns: list[nn.GRU], bags: Tensor) -> list[Tensor]:
    weights = torch.rand(said.shape, generator=torch.Generator().manual_seed(1))
    (said * weights).sum().backward()
    found = [bags.grad, *(parameter.grad for rnn in rnns for parameter in rnn.parameters())]
    for tensor in (bags, *(parameter for rnn in rnns for parameter in rnn.parameters())):
        tensor.grad = None
    return [gradient for gradient in found if gradient is not None]


@pytest.mark.parametrize("layers", [1, 2])
def test_each_network_says_and_learns_what_it_would_alone(layers: int) -> None:
    """The reference is torch's own GRU on packed sequences."""
    rnns, silent = networks(layers), nn.Dropout(0.0)
    bags = torch.randn(3, 4, 7, 6, requires_grad=True)
    together = run_alongside(rnns, bags, MASK)
    alone = torch.stack([run_along_bags(rnn, each, MASK, silent) for rnn, each in zip(rnns, bags, strict=True)])
    assert together.shape == (3, 4, 7, 10)
    assert torch.allclose(together, alone, atol=1e-6)
    assert not together[:, ~MASK].any(), "0 at padded instances"
    for one, other in zip(gradients(together, rnns, bags), gradients(alone, rnns, bags), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_padding_changes_nothing() -> None:
    rnns, bags = networks(2), torch.randn(3, 4, 7, 6)
    loud = torch.where(MASK[None, :, :, None], bags, 1e6)
    wider = torch.cat([loud, loud], 2), torch.cat([MASK, torch.zeros_like(MASK)], 1)
    assert torch.allclose(run_alongside(rnns, *wider)[:, :, :7], run_alongside(rnns, bags, MASK), atol=1e-6)


def test_between_layers_units_are_dropped_in_training_alone() -> None:
    rnns, bags = networks(2, dropout=0.5), torch.randn(3, 4, 7, 6)
    assert not torch.equal(run_alongside(rnns, bags, MASK), run_alongside(rnns, bags, MASK))
    still = [rnn.eval() for rnn in rnns]
    assert torch.equal(run_alongside(still, bags, MASK), run_alongside(still, bags, MASK))
