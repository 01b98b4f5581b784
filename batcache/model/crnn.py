"""Convolutions within each instance, a recurrent network along the bag, a pooling head over it.

Padded instances never enter: the mask selects the real ones, and from there to the head they stand one after the
other, ``[K, ...]``. So neither BatchNorm's statistics nor dropout's draws depend on how far a batch was padded. A mask
is best left on the CPU, which has to know it: fetched from a GPU, it waits for all that the GPU has still to do.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from batcache.config.settings import ConvLayer, ModelConfig
from batcache.errors import ConfigError
from batcache.model.pooling import BagOutput, MILPoolingHead


class CRNN(nn.Module):
    """PCEN-mel instances to features that know their neighbours in the bag.

    The convolutions keep time and frequency. At each time step left, channels and bands are projected together, so that
    45 kHz and 50 kHz stay apart; then each embedding takes its maximum over time, so that one call of 3 ms counts as
    much in 500 ms as in 5.

    Shape:
        features: ``[B, N, T, M]``, mask: ``[B, N]``, true at real instances, which come first in each bag
        returns: ``[B, N, feature_dim]``, 0 at padded instances

    Raises:
        ConfigError: the layers leave nothing of the ``n_mels`` bands, or, when called, of the ``T`` frames.
    """

    def __init__(self, config: ModelConfig, n_mels: int) -> None:
        super().__init__()
        self.conv_layers = config.conv_layers
        self.feature_dim = 2 * config.rnn_hidden_size
        channels = [1, *(layer.filters for layer in config.conv_layers)]
        bands = _remaining(n_mels, "mel bands", config.conv_layers)
        blocks = [_block(inputs, layer) for inputs, layer in zip(channels, config.conv_layers, strict=False)]
        self.convolutions = nn.Sequential(*blocks).to(memory_format=torch.channels_last)  # a quarter faster on a CPU
        self.projection = nn.Linear(channels[-1] * bands, self.feature_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.rnn = nn.GRU(
            self.feature_dim,
            config.rnn_hidden_size,
            config.rnn_layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.dropout if config.rnn_layers > 1 else 0.0,  # it lies between layers only
        )

    def embed(self, instances: Tensor) -> Tensor:
        """Return what each instance holds; in eval mode without regard to the others.

        Shape:
            instances: ``[K, T, M]``, returns: ``[K, feature_dim]``
        """
        _remaining(instances.shape[1], "frames", self.conv_layers)
        maps = self.convolutions(instances.unsqueeze(1))
        steps = self.projection(maps.permute(0, 2, 3, 1).flatten(2)).relu()
        embeddings: Tensor = self.dropout(steps.amax(1))
        return embeddings

    def contextualise(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Let each instance hear its neighbours, both ways along its bag.

        Shape:
            embeddings: ``[K, feature_dim]``, the real instances, bag after bag; mask: ``[B, N]``
            returns: ``[B, N, feature_dim]``, 0 at padded instances
        """
        mask = mask.cpu()  # packing needs the lengths there
        lengths = mask.sum(1)
        assert (lengths > 0).all(), "a bag without real instances"
        assert (mask[:, :-1] >= mask[:, 1:]).all(), "a padded instance before a real one"
        bags = embeddings.new_zeros(mask.numel(), self.feature_dim)
        bags = bags.index_copy(0, _places(mask, embeddings.device), embeddings).view(*mask.shape, -1)
        order = lengths.argsort(descending=True, stable=True)  # here: pack_padded_sequence would wait for a GPU twice
        there = order.to(embeddings.device, non_blocking=True)
        packed, _ = self.rnn(pack_padded_sequence(bags[there], lengths[order], batch_first=True))
        dropped = PackedSequence(self.dropout(packed.data), packed.batch_sizes)
        longest_first = pad_packed_sequence(dropped, batch_first=True, total_length=mask.shape[1])[0]
        return longest_first[order.argsort().to(embeddings.device, non_blocking=True)]

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return each instance's features in the light of its bag. Shapes as the class says."""
        mask = mask.cpu()
        real = features.flatten(0, 1)
        if not mask.all():
            real = real[_places(mask, features.device)]
        return self.contextualise(self.embed(real), mask)


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


def _places(mask: Tensor, device: torch.device) -> Tensor:
    """Where the real instances stand among all, bag after bag."""
    return mask.flatten().nonzero().squeeze(1).to(device, non_blocking=True)


def _block(channels: int, layer: ConvLayer) -> nn.Sequential:
    return nn.Sequential(
        # BatchNorm takes away what a bias would add.
        nn.Conv2d(channels, layer.filters, layer.kernel_size, layer.stride, layer.padding, bias=False),
        nn.BatchNorm2d(layer.filters),
        # ReLU and maximum commute: this way round, ReLU has a quarter of the work.
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
    )


def _remaining(size: int, axis: Literal["frames", "mel bands"], layers: tuple[ConvLayer, ...]) -> int:
    """Return how many frames or mel bands of ``size`` leave the last layer."""
    given, index = size, ("frames", "mel bands").index(axis)
    for number, layer in enumerate(layers, 1):
        kernel, stride, padding = (
            sizes if isinstance(sizes, int) else sizes[index]
            for sizes in (layer.kernel_size, layer.stride, layer.padding)
        )
        size = ((size + 2 * padding - kernel) // stride + 1) // 2
        if size < 1:
            raise ConfigError(
                "model.conv_layers",
                f"layer {number} of {len(layers)} leaves nothing of {given} {axis}, expected at least 1",
                "Remove layers, lower kernel_size or stride, or raise "
                + ("data.instance_s" if axis == "frames" else "data.n_mels"),
            )
    return size
