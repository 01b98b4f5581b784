"""Convolutions within each instance, a recurrent network along the bag, a pooling head over it.

Padded instances never enter: the mask selects the real ones, and from there to the head they stand one after the
other, ``[K, ...]``. So neither BatchNorm's statistics nor dropout's draws depend on how far a batch was padded. A mask
is best left on the CPU, which has to know it: fetched from a GPU, it waits for all that the GPU has still to do.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from batcache.config.settings import ModelConfig
from batcache.errors import ConfigError
from batcache.model.pooling import BagOutput, MILPoolingHead
from batcache.model.trunk import Trunk


class CRNN(Trunk):
    """Instances of mel frames to features that know their neighbours in the bag: a ``Trunk``, then a recurrent network.

    Shape:
        features: ``[B, N, T, M]``, mask: ``[B, N]``, true at real instances, which come first in each bag
        returns: ``[B, N, feature_dim]``, 0 at padded instances

    Raises:
        ConfigError: no layers are given; also see ``Trunk``.
    """

    def __init__(self, config: ModelConfig, n_mels: int) -> None:
        if config.conv_layers is None:
            raise ConfigError("model.conv_layers", "not given", "Name them: from chance there are no others")
        super().__init__(config.conv_layers, n_mels, 2 * config.rnn_hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.rnn = nn.GRU(
            self.feature_dim,
            config.rnn_hidden_size,
            config.rnn_layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.dropout if config.rnn_layers > 1 else 0.0,  # it lies between layers only
        )

    def contextualise(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Let each instance hear its neighbours, both ways along its bag.

        Shape:
            embeddings: ``[K, feature_dim]``, the real instances, bag after bag; mask: ``[B, N]``
            returns: ``[B, N, feature_dim]``, 0 at padded instances
        """
        return run_along_bags(self.rnn, spread(self.dropout(embeddings), mask), mask, self.dropout)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return each instance's features in the light of its bag. Shapes as the class says."""
        mask = mask.cpu()
        return self.contextualise(self.embed(select_real(features, mask)), mask)


class BatMILModel(nn.Module):
    """A bag of instances to one logit a species: ``CRNN``, then ``MILPoolingHead``.

    Shape:
        features: ``[B, N, T, M]``, mask: ``[B, N]``, true at real instances, which come first in each bag
        returns: a ``BagOutput`` with ``num_classes`` species
    """

    def __init__(self, config: ModelConfig, n_mels: int, num_classes: int) -> None:
        super().__init__()
        self.crnn = CRNN(config, n_mels)
        self.head = MILPoolingHead(self.crnn.feature_dim, num_classes, config.pooling_type)

    def forward(self, features: Tensor, mask: Tensor) -> BagOutput:
        """Score a batch of bags. Shapes as the class says."""
        output: BagOutput = self.head(self.crnn(features, mask), mask.to(features.device, non_blocking=True))
        return output

    def embed(self, instances: Tensor) -> Tensor:
        """What each real instance holds. Shape: ``[K, T, M]`` -> ``[K, feature_dim]``"""
        return self.crnn.embed(instances)

    def each(self, embeddings: Tensor, mask: Tensor) -> list[BagOutput]:
        """What its one head says of bags of embedded instances, as models of several heads tell it.

        Shape:
            embeddings: ``[K, feature_dim]``, the real instances, bag after bag; mask: ``[B, N]``
        """
        mask = mask.cpu()
        return [self.head(self.crnn.contextualise(embeddings, mask), mask.to(embeddings.device, non_blocking=True))]

    @torch.no_grad()
    def score_pieces(self, pieces: Iterable[Tensor]) -> BagOutput:
        """Judge one bag of any length, given as consecutive pieces, in the memory of one piece and all embeddings.

        Equals ``forward`` on the whole bag. For eval mode only: in training, BatchNorm would see the pieces.

        Shape:
            pieces: ``[K_i, T, M]`` each, returns: a ``BagOutput`` with ``B = 1`` and ``N`` the sum of all ``K_i``
        """
        assert not self.training, "score_pieces in train mode"
        embeddings = torch.cat([self.crnn.embed(piece) for piece in pieces])
        mask = torch.ones(1, len(embeddings), dtype=torch.bool)
        output: BagOutput = self.head(self.crnn.contextualise(embeddings, mask), mask.to(embeddings.device))
        return output


def select_real(features: Tensor, mask: Tensor) -> Tensor:
    """The real instances of a batch, bag after bag. Shape: ``[B, N, ...]`` -> ``[K, ...]``."""
    instances = features.flatten(0, 1)
    return instances if mask.all() else instances[places(mask, features.device)]


def places(mask: Tensor, device: torch.device) -> Tensor:
    """Where the real instances stand among all, bag after bag. Shape: ``[B, N]`` -> ``[K]``."""
    return mask.flatten().nonzero().squeeze(1).to(device, non_blocking=True)


def spread(real: Tensor, mask: Tensor) -> Tensor:
    """Put what real instances hold in their places, 0 at padded ones. Shape: ``[K, ...]`` -> ``[B, N, ...]``."""
    mask = mask.cpu()
    bags = real.new_zeros(mask.numel(), *real.shape[1:])
    return bags.index_copy(0, places(mask, real.device), real).view(*mask.shape, *real.shape[1:])


def run_along_bags(rnn: nn.GRU, bags: Tensor, mask: Tensor, dropout: nn.Dropout) -> Tensor:
    """What a recurrent network makes of the real instances of each bag.

    Shape:
        bags: ``[B, N, D]``, mask: ``[B, N]``, returns: ``[B, N, 2 * hidden]``, 0 at padded instances
    """
    mask = mask.cpu()  # packing needs the lengths there
    lengths = mask.sum(1)
    assert (lengths > 0).all(), "a bag without real instances"
    assert (mask[:, :-1] >= mask[:, 1:]).all(), "a padded instance before a real one"
    order = lengths.argsort(descending=True, stable=True)  # here: pack_padded_sequence would wait for a GPU twice
    there = order.to(bags.device, non_blocking=True)
    packed, _ = rnn(pack_padded_sequence(bags[there], lengths[order], batch_first=True))
    dropped = PackedSequence(dropout(packed.data), packed.batch_sizes)
    longest_first = pad_packed_sequence(dropped, batch_first=True, total_length=mask.shape[1])[0]
    return longest_first[order.argsort().to(bags.device, non_blocking=True)]
