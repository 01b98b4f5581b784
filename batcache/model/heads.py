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
from batcache.model.kernel import KernelHead
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
    doubted as much: ``min(0, bat logit)`` is added to their logits.

    Shape:
        embeddings: ``[B, N, feature_dim]``, mask: ``[B, N]``, true at real instances, which come first in each bag
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

    def each(self, embeddings: Tensor, mask: Tensor) -> list[BagOutput]:
        """What each head of species says by itself of a batch of bags. Shapes as the class says."""
        return score_alongside(list(self.heads), self.standardise(embeddings), mask)  # type: ignore[arg-type]

    def forward(self, embeddings: Tensor, mask: Tensor) -> BagOutput:
        """Score a batch of bags. Shapes as the class says."""
        scaled = self.standardise(embeddings)
        of_bats = score_alongside(list(self.bats), scaled, mask) if self.bats else []  # type: ignore[arg-type]
        said = average(score_alongside(list(self.heads), scaled, mask))  # type: ignore[arg-type]
        return doubt(self._join_kernel(said, embeddings, mask), of_bats)

    def _join_kernel(self, said: BagOutput, embeddings: Tensor, mask: Tensor) -> BagOutput:
        return said if self.kernel is None else self.kernel.join(said, embeddings, mask)

    @torch.no_grad()
    def score_pieces(self, pieces: Iterable[Tensor]) -> BagOutput:
        """Judge one bag given as consecutive pieces. Shape: ``[K_i, feature_dim]`` each."""
        embeddings = torch.cat(list(pieces))[None]
        mask = torch.ones(embeddings.shape[:2], dtype=torch.bool)
        if embeddings.shape[1] < _LONG:
            output: BagOutput = self(embeddings, mask)
            return output
        scaled = self.standardise(embeddings)
        said = self._join_kernel(average([head(scaled, mask) for head in self.heads]), embeddings, mask)
        return doubt(said, [head(scaled, mask) for head in self.bats])


def doubt(said: BagOutput, of_bats: list[BagOutput]) -> BagOutput:
    """What is said of species, doubted as much as heads of bats, if any, doubt that there is one."""
    if not of_bats:
        return said
    bats = average(of_bats).bag_logits.squeeze(1)
    return replace(said, bag_logits=said.bag_logits + bats.clamp(max=0).unsqueeze(1), bat_logits=bats)


def average(outputs: list[BagOutput]) -> BagOutput:
    """The mean of what several heads say of the same bags."""
    attentions = [output.attention for output in outputs if output.attention is not None]
    return BagOutput(
        torch.stack([output.bag_logits for output in outputs]).mean(0),
        torch.stack([output.instance_logits for output in outputs]).mean(0),
        torch.stack(attentions).mean(0) if attentions else None,
        torch.stack([output.evidence for output in outputs]).mean(0),
    )
