"""Several recurrent networks of one shape run alongside each other: each step is one product for all of them.

A GRU along a bag of ten instances is ten small steps, whose cost is that of starting them, not of their arithmetic.
Five heads that take their steps together, both ways along the bag at once, cost little more than one. The networks
stay ``torch.nn.GRU``, whose equations these are; only their parameters are used.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def run_alongside(rnns: Sequence[nn.GRU], bags: Tensor, mask: Tensor) -> Tensor:
    """What each of several bidirectional GRUs of one shape makes of the real instances of its bags.

    Shape:
        bags: ``[H, B, N, D]``, for H networks; mask: ``[B, N]``, true at real instances, which come first in each bag
        returns: ``[H, B, N, 2 * hidden]``, 0 at padded instances
    """
    mask = mask.to(bags.device, non_blocking=True)
    place, lengths = torch.arange(mask.shape[1], device=bags.device), mask.sum(1, keepdim=True)
    backwards = torch.where(mask, lengths - 1 - place, place)  # real instances in reverse, then padding: [B, N]
    for layer in range(rnns[0].num_layers):
        if layer and rnns[0].dropout and rnns[0].training:
            bags = nn.functional.dropout(bags, rnns[0].dropout)
        there, back = _steps(rnns, f"l{layer}", torch.stack([bags, _turn(bags, backwards)])).unbind(0)
        bags = torch.cat([there, _turn(back, backwards)], -1) * mask.unsqueeze(-1)
    return bags


def _turn(bags: Tensor, order: Tensor) -> Tensor:
    """Put the instances of each bag in this order. Shape: ``[H, B, N, D]`` and ``[B, N]`` -> ``[H, B, N, D]``."""
    return bags.gather(2, order[None, :, :, None].expand_as(bags))


def _steps(rnns: Sequence[nn.GRU], layer: str, both: Tensor) -> Tensor:
    """Run one layer of all networks along bags that lie in the order of each direction.

    Shape:
        both: ``[2, H, B, N, D]``, returns: ``[2, H, B, N, hidden]``
    """
    heads, bags, instances, inputs = both.shape[1:]
    hidden = rnns[0].hidden_size

    def gather(name: str) -> Tensor:
        """One parameter of all networks, both directions. Shape: ``[2 H, ...]``."""
        names = f"{name}_{layer}", f"{name}_{layer}_reverse"
        return torch.stack([getattr(rnn, each) for each in names for rnn in rnns])

    from_input = torch.baddbmm(
        gather("bias_ih").unsqueeze(1),
        both.reshape(2 * heads, bags * instances, inputs),
        gather("weight_ih").transpose(1, 2),
    ).view(2 * heads, bags, instances, 3 * hidden)
    weight, bias = gather("weight_hh").transpose(1, 2), gather("bias_hh").unsqueeze(1)
    state = both.new_zeros(2 * heads, bags, hidden)
    states = []
    for heard in from_input.unbind(2):
        recalled = torch.baddbmm(bias, state, weight)
        reset, update = (heard[..., : 2 * hidden] + recalled[..., : 2 * hidden]).sigmoid().chunk(2, -1)
        new = (heard[..., 2 * hidden :] + reset * recalled[..., 2 * hidden :]).tanh()
        state = new + update * (state - new)
        states.append(state)
    return torch.stack(states, 2).view(2, heads, bags, instances, hidden)
