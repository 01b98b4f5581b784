"""What few labels teach on top of a trunk: heads on embeddings, each from its own draw, averaged.

A fit from a few dozen clips depends on its start and its draws. Several heads cost little beside the trunk, and their
mean is steadier than any of them. A kernel beside them is steadier still.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from batcache.config.settings import ModelConfig
from batcache.model.alongside import run_alongside
from batcache.model.kernel import KernelHead, Likeness
from batcache.model.pooling import BagOutput, MILPoolingHead

INPUT_DROPOUT = 0.3
_LONG = 1024
"""Instances. Along a bag that is as long, five heads at once would take 70 MB an hour; there they run one by one."""
BAT_HEADS = 2
"""Heads that say whether there is a bat at all."""


class EmbeddingHead(nn.Module):
    """Embeddings of a bag's instances to one logit a species.

    A hidden layer, a recurrent network along the bag, a pooling. What the recurrent network says is added to what it
    hears through a layer that starts at zero, so that it costs few labels nothing and many may use it.

    Shape:
        embeddings: ``[B, N, feature_dim]``, mask: ``[B, N]``, true at real instances, which come first in each bag
        returns: a ``BagOutput`` with ``num_classes`` species
    """

    def __init__(self, config: ModelConfig, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        hidden = config.head_size
        self.hidden = nn.Sequential(nn.Dropout(INPUT_DROPOUT), nn.Linear(feature_dim, hidden), nn.ReLU())
        self.rnn = nn.GRU(
            hidden,
            config.rnn_hidden_size,
            config.rnn_layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.dropout if config.rnn_layers > 1 else 0.0,
        )
        self.context = nn.Linear(2 * config.rnn_hidden_size, hidden)
        nn.init.zeros_(self.context.weight)
        nn.init.zeros_(self.context.bias)
        self.dropout = nn.Dropout(config.dropout)
        self.pool = MILPoolingHead(hidden, num_classes, config.pooling_type)

    def forward(self, embeddings: Tensor, mask: Tensor) -> BagOutput:
        """Score a batch of bags. Shapes as the class says."""
        return score_alongside([self], embeddings, mask)[0]

    def pool_heard(self, heard: Tensor, neighbours: Tensor, mask: Tensor) -> BagOutput:
        """Score bags of which hidden layer and recurrent network have spoken.

        Shape:
            heard: ``[B, N, head_size]``, neighbours: ``[B, N, 2 * rnn_hidden_size]``
        """
        heard = heard + self.context(self.dropout(neighbours))
        output: BagOutput = self.pool(self.dropout(heard), mask.to(heard.device, non_blocking=True))
        return output


def score_alongside(heads: Sequence[EmbeddingHead], embeddings: Tensor, mask: Tensor) -> list[BagOutput]:
    """What each of several heads says of a batch of bags. Shapes as ``EmbeddingHead`` says."""
    heard = [head.hidden(embeddings) for head in heads]
    neighbours = run_alongside([head.rnn for head in heads], torch.stack(heard), mask)
    spoken = zip(heads, heard, neighbours.unbind(0), strict=True)
    return [head.pool_heard(own, others, mask) for head, own, others in spoken]


class MILHeads(nn.Module):
    """Several ``EmbeddingHead``s on standardised embeddings; what they say is averaged.

    Where there is a ``kernel``, of so many ``centres``, what it says is averaged with that, each species in its share.
    Where it ``hears_bats``, heads of their own say whether there is a bat at all. Where they doubt it, the species are
    doubted as much: ``min(0, bat logit)`` is added to their logits. Where they hear bats that are unlike all that the
    kernel was taught, the species are doubted too.

    Shape:
        steps: ``[B, N, S, feature_dim]``, of which heads hear the maximum and the kernel each; for heads alone it may
        have been taken before, ``S = 1``
        mask: ``[B, N]``, true at real instances, which come first in each bag
        returns: a ``BagOutput`` with ``num_classes`` species
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, config: ModelConfig, feature_dim: int, num_classes: int, *, hears_bats: bool = False, centres: int = 0
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("std", torch.ones(feature_dim))
        self.heads = nn.ModuleList(EmbeddingHead(config, feature_dim, num_classes) for _ in range(config.heads))
        self.kernel: KernelHead | None = KernelHead(centres, feature_dim, num_classes) if centres else None
        of_bats = replace(config, pooling_type="max")  # one pass in an hour is a bat
        self.bats = nn.ModuleList(EmbeddingHead(of_bats, feature_dim, 1) for _ in range(BAT_HEADS * hears_bats))

    def standardise_by(self, embeddings: Tensor) -> None:
        """Take mean and spread of these embeddings as those of all. Shape: ``[K, feature_dim]``."""
        std, mean = torch.std_mean(embeddings.float(), 0, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-3, std, 1.0))  # a dead feature stays what it is

    def standardise(self, embeddings: Tensor) -> Tensor:
        """Embeddings as the heads want them. Shape: ``[..., feature_dim]`` -> the same, float32"""
        return (embeddings.float() - self.mean) / self.std

    def each(self, steps: Tensor, mask: Tensor) -> list[BagOutput]:
        """What each head of species says by itself of a batch of bags. Shapes as the class says."""
        return score_alongside(list(self.heads), self.standardise(steps.amax(-2)), mask)  # type: ignore[arg-type]

    def forward(self, steps: Tensor, mask: Tensor) -> BagOutput:
        """Score a batch of bags. Shapes as the class says."""
        return self._judge(steps.amax(-2), None if self.kernel is None else self.kernel.listen(steps), mask)

    @torch.no_grad()
    def score_pieces(self, pieces: Iterable[Tensor]) -> BagOutput:
        """Judge one bag given as consecutive pieces, in their turn. Shape: ``[K_i, S, feature_dim]`` each."""
        embeddings, likenesses = list[Tensor](), list[Likeness]()
        for steps in pieces:
            embeddings.append(steps.amax(-2))
            if self.kernel is not None:
                likenesses.append(self.kernel.listen(steps))
        mask = torch.ones(1, sum(map(len, embeddings)), dtype=torch.bool)
        likeness = Likeness(*(torch.cat(part)[None] for part in zip(*likenesses, strict=True))) if likenesses else None
        return self._judge(torch.cat(embeddings)[None], likeness, mask)

    def _judge(self, embeddings: Tensor, likeness: Likeness | None, mask: Tensor) -> BagOutput:
        """What all say of bags: heads of embeddings, ``[B, N, feature_dim]``, the kernel of how like they are."""
        scaled = self.standardise(embeddings)
        heard = average(_listen(self.heads, scaled, mask))
        if self.kernel is not None and likeness is not None:
            heard = self.kernel.join(heard, self.kernel.judge(likeness.said, mask))
        if not self.bats:
            return heard
        bats = average(_listen(self.bats, scaled, mask))
        doubt = bats.bag_logits.clamp(max=0)
        if self.kernel is not None and likeness is not None:
            doubt = doubt + self.kernel.doubt(likeness.strangeness, bats.evidence.squeeze(-1))
        return replace(heard, bag_logits=heard.bag_logits + doubt, bat_logits=bats.bag_logits.squeeze(1))


def _listen(heads: nn.ModuleList, scaled: Tensor, mask: Tensor) -> list[BagOutput]:
    if scaled.shape[1] < _LONG:
        return score_alongside(list(heads), scaled, mask)  # type: ignore[arg-type]
    return [head(scaled, mask) for head in heads]


def average(outputs: list[BagOutput]) -> BagOutput:
    """The mean of what several heads say of the same bags."""
    attentions = [output.attention for output in outputs if output.attention is not None]
    return BagOutput(
        torch.stack([output.bag_logits for output in outputs]).mean(0),
        torch.stack([output.instance_logits for output in outputs]).mean(0),
        torch.stack(attentions).mean(0) if attentions else None,
        torch.stack([output.evidence for output in outputs]).mean(0),
    )
