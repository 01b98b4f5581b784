"""What few labels say by likeness: each instance is compared with known ones, and species are regressed on that.

Logits of an instance are sums over known instances, the centres: ``f(x) = sum_j a_j exp(-|x - z_j|^2 / w_j) + b``, with
embeddings scaled to length 1 (a Gaussian kernel machine, Schoelkopf, Smola: Learning with Kernels, 2002, on centres
drawn as Williams, Seeger do: Using the Nystroem Method to Speed Up Kernel Machines, NIPS 2000). Nothing of it is drawn
from chance but which centres where there are many. So beside heads, each from its own draw, it steadies what they say.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from batcache.model.pooling import BagOutput, MaxPooling, TopSharePooling

SHARE = 0.5
"""What the kernel says weighs so much in the mean with what heads say, for species that it was taught."""


class KernelHead(nn.Module):
    """Embeddings of a bag's instances to one logit a species, by their likeness to ``centres`` known instances.

    Each species has two regressions of its own, whose bag logits are averaged: one pooled by the strongest third of the
    instances, as calls come in trains, one by the strongest alone, which hears a species that others drown.

    Shape:
        embeddings: ``[B, N, feature_dim]``, not standardised; mask: ``[B, N]``, true at real instances
        returns: a ``BagOutput`` with ``num_classes`` species, without attention
    """

    centres: Tensor
    widths: Tensor
    weights: Tensor
    bias: Tensor
    share: Tensor

    def __init__(self, centres: int, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(centres, feature_dim))
        self.register_buffer("widths", torch.ones(centres))
        self.register_buffer("weights", torch.zeros(num_classes, 2, centres))
        self.register_buffer("bias", torch.zeros(num_classes, 2))
        self.register_buffer("share", torch.zeros(num_classes))
        self.pool_share, self.pool_strongest = TopSharePooling(0, 0), MaxPooling(0, 0)

    def compare(self, embeddings: Tensor) -> Tensor:
        """How like each centre instances are, in 0..1. Shape: ``[..., feature_dim]`` -> ``[..., centres]``."""
        return torch.exp(-measure(scale(embeddings), self.centres) / self.widths)

    def regress(self, embeddings: Tensor) -> Tensor:
        """What either regression says of instances. Shape: ``[..., feature_dim]`` -> ``[..., C, 2]``."""
        said = self.compare(embeddings) @ self.weights.flatten(0, 1).T
        return said.view(*said.shape[:-1], *self.bias.shape) + self.bias

    def forward(self, embeddings: Tensor, mask: Tensor) -> BagOutput:
        """Score a batch of bags. Shapes as the class says."""
        mask = mask.to(embeddings.device, non_blocking=True)
        said = self.regress(embeddings)
        padded = ~mask.unsqueeze(-1)
        instance_logits = said.mean(-1).masked_fill(padded, 0)
        evidence = instance_logits.sigmoid().masked_fill(padded, 0)
        return BagOutput(self.pool(said, mask).mean(0), instance_logits, None, evidence)

    def pool(self, said: Tensor, mask: Tensor) -> Tensor:
        """Bags' logits by either regression. Shape: ``[B, N, C, 2]``, ``[B, N]`` -> ``[2, B, C]``."""
        both = zip((self.pool_share, self.pool_strongest), said.unbind(-1), strict=True)
        return torch.stack([pool(logits, logits, mask)[0] for pool, logits in both])

    def join(self, said: BagOutput, embeddings: Tensor, mask: Tensor) -> BagOutput:
        """The mean of what heads have said of these bags and of what the kernel says, weighed by ``share``."""
        own = self(embeddings, mask)
        return BagOutput(
            said.bag_logits.lerp(own.bag_logits, self.share),
            said.instance_logits.lerp(own.instance_logits, self.share),
            said.attention,
            said.evidence.lerp(own.evidence, self.share),
        )


def scale(embeddings: Tensor) -> Tensor:
    """Embeddings of length 1, in float32; of silence 0. Shape: ``[..., feature_dim]`` -> the same."""
    return F.normalize(embeddings.float(), dim=-1, eps=1e-6)


def measure(one: Tensor, other: Tensor) -> Tensor:
    """Squared distances. Shape: ``[..., D]``, ``[J, D]`` -> ``[..., J]``."""
    squares = one.square().sum(-1, keepdim=True) + other.square().sum(-1)
    return (squares - 2 * one @ other.T).clamp(min=0)
