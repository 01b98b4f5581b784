"""What labels say by likeness: moments of an instance are compared with known ones, and species regressed on that.

Logits of a moment are sums over known moments, the centres: ``f(x) = sum_j a_j exp(-|x - z_j|^2 / w_j) + b``, with
embeddings scaled to length 1 (a Gaussian kernel machine, Schoelkopf, Smola: Learning with Kernels, 2002, on centres
drawn as Williams, Seeger do: Using the Nystroem Method to Speed Up Kernel Machines, NIPS 2000). Nothing of it is drawn
from chance but which centres where there are many. So beside heads, each from its own draw, it steadies what they say.

A moment is two neighbouring steps of the trunk's time, some 60 ms: a call is whole in one of them, wherever it begins,
and two species that call in the same half second hardly ever do so in the same moment. An instance is its strongest.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from batcache.model.pooling import BagOutput, MaxPooling, TopSharePooling

SHARE = 0.5
"""What the kernel says weighs so much in the mean with what heads say, for species that it was taught."""
STEEPNESS = 20.0
"""Of the doubt: a logit of 2 for each tenth by which bats are stranger than 1."""


class Likeness(NamedTuple):
    """What a kernel says of instances.

    Shape:
        said: ``[..., C, 2]``, by either regression of a species; strangeness: ``[...]``, from 0 on
    """

    said: Tensor
    strangeness: Tensor


class KernelHead(nn.Module):
    """Steps of a bag's instances to one logit a species, by the likeness of moments to ``centres`` known ones.

    Each species has two regressions of its own, whose bag logits are averaged: one pooled by the strongest third of the
    instances, as calls come in trains, one by the strongest alone, which hears a species that others drown.

    By the ``strangeness`` of a centre a squared distance from it is multiplied: bats beyond 1 are unlike all that were
    taught. Where it is 0, no bat is.

    Shape:
        steps: ``[B, N, S, feature_dim]``, not standardised; mask: ``[B, N]``, true at real instances
        returns: a ``BagOutput`` with ``num_classes`` species, without attention
    """

    moments: Tensor
    widths: Tensor
    strangeness: Tensor
    weights: Tensor
    bias: Tensor
    share: Tensor

    def __init__(self, centres: int, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("moments", torch.zeros(centres, feature_dim))
        self.register_buffer("widths", torch.ones(centres))
        self.register_buffer("strangeness", torch.zeros(centres))
        self.register_buffer("weights", torch.zeros(num_classes, 2, centres))
        self.register_buffer("bias", torch.zeros(num_classes, 2))
        self.register_buffer("share", torch.zeros(num_classes))
        self.pool_share, self.pool_strongest = TopSharePooling(0, 0), MaxPooling(0, 0)

    def compare(self, moments: Tensor) -> Tensor:
        """How like each centre moments are, in 0..1. Shape: ``[..., feature_dim]`` -> ``[..., centres]``."""
        return torch.exp(-measure(scale(moments), self.moments) / self.widths)

    def listen(self, steps: Tensor) -> Likeness:
        """What is said of instances. Shape: ``[..., S, feature_dim]``, ``...`` as of ``Likeness``.

        An instance is its strongest moment, and as strange as its moments in the mean, weighed by their level.
        """
        moments = join_neighbours(steps.float())
        apart = measure(scale(moments), self.moments)
        said = ((apart / -self.widths).exp_() @ self.weights.flatten(0, 1).T).amax(-2)
        strange = weigh_by_level((apart * self.strangeness).amin(-1), moments)
        return Likeness(said.view(*said.shape[:-1], *self.bias.shape) + self.bias, strange)

    def forward(self, steps: Tensor, mask: Tensor) -> BagOutput:
        """Score a batch of bags. Shapes as the class says."""
        return self.judge(self.listen(steps).said, mask)

    def judge(self, said: Tensor, mask: Tensor) -> BagOutput:
        """Score bags of whose instances the regressions have spoken. Shape: ``[B, N, C, 2]``, ``[B, N]``."""
        mask = mask.to(said.device, non_blocking=True)
        padded = ~mask.unsqueeze(-1)
        instance_logits = said.mean(-1).masked_fill(padded, 0)
        evidence = instance_logits.sigmoid().masked_fill(padded, 0)
        return BagOutput(self.pool(said, mask).mean(0), instance_logits, None, evidence)

    def pool(self, said: Tensor, mask: Tensor) -> Tensor:
        """Bags' logits by either regression. Shape: ``[B, N, C, 2]``, ``[B, N]`` -> ``[2, B, C]``."""
        both = zip((self.pool_share, self.pool_strongest), said.unbind(-1), strict=True)
        return torch.stack([pool(logits, logits, mask)[0] for pool, logits in both])

    def doubt(self, strangeness: Tensor, has_bats: Tensor) -> Tensor:
        """What to add to species' logits where bats are unlike all that were taught; at most 0.

        Instances count as far as each is taken for one with bats.

        Shape:
            strangeness: ``[B, N]``; has_bats: ``[B, N]``, 0 to 1, 0 where padded; returns: ``[B, C]``
        """
        mean = (strangeness * has_bats).sum(1) / has_bats.sum(1).clamp(min=1e-30)
        return STEEPNESS * (1 - mean).clamp(max=0).unsqueeze(1) * self.share.sign()

    def join(self, heard: BagOutput, own: BagOutput) -> BagOutput:
        """The mean of what heads say of bags and of what the kernel says, weighed by ``share``."""
        return BagOutput(
            heard.bag_logits.lerp(own.bag_logits, self.share),
            heard.instance_logits.lerp(own.instance_logits, self.share),
            heard.attention,
            heard.evidence.lerp(own.evidence, self.share),
        )


def join_neighbours(steps: Tensor) -> Tensor:
    """Each step of an instance with the next, by their maximum; the last stays. Shape: ``[..., S, D]`` -> the same."""
    return torch.cat([torch.maximum(steps[..., :-1, :], steps[..., 1:, :]), steps[..., -1:, :]], -2)


def weigh_by_level(values: Tensor, moments: Tensor) -> Tensor:
    """The mean over moments, weighed by their level. Shape: ``[..., S]``, ``[..., S, D]`` -> ``[...]``."""
    level = moments.square().sum(-1)
    return (values * level).sum(-1) / level.sum(-1).clamp(min=1e-30)


def scale(embeddings: Tensor) -> Tensor:
    """Embeddings of length 1, in float32; of silence 0. Shape: ``[..., feature_dim]`` -> the same."""
    return F.normalize(embeddings.float(), dim=-1, eps=1e-6)


def measure(one: Tensor, other: Tensor) -> Tensor:
    """Squared distances. Shape: ``[..., D]``, ``[J, D]`` -> ``[..., J]``."""
    squares = one.square().sum(-1, keepdim=True) + other.square().sum(-1)
    return torch.add(squares, one @ other.T, alpha=-2).clamp_(min=0)
