"""Convolutions within an instance: a spectrogram of half a second becomes one embedding."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from batcache.config.features import FeatureConfig
from batcache.config.settings import ConvLayer, NamedLayer
from batcache.config.types import Count, Section
from batcache.errors import ConfigError


@dataclass(frozen=True)
class TrunkConfig(Section):
    """The layers of a trunk that was taught elsewhere, and the features that it was taught with."""

    conv_layers: tuple[NamedLayer, ...]
    feature_dim: Count
    features: FeatureConfig


class Trunk(nn.Module):
    """Instances of features to an embedding each.

    The convolutions keep time and frequency. At each time step left, channels and bands are projected together, so that
    45 kHz and 50 kHz stay apart; then each embedding takes its maximum over time, so that one call of 3 ms counts as
    much in 500 ms as in 5.

    Shape:
        instances: ``[K, T, M]``, returns: ``[K, feature_dim]``, or ``[K, S, feature_dim]`` of ``S`` steps of time

    Raises:
        ConfigError: the layers leave nothing of the ``n_mels`` bands, or, when called, of the ``T`` frames.
    """

    def __init__(self, conv_layers: Sequence[ConvLayer], n_mels: int, feature_dim: int) -> None:
        super().__init__()
        self.conv_layers, self.feature_dim = tuple(conv_layers), feature_dim
        channels = [1, *(layer.filters for layer in conv_layers)]
        bands = _remaining(n_mels, "mel bands", self.conv_layers)
        blocks = [_block(inputs, layer) for inputs, layer in zip(channels, conv_layers, strict=False)]
        self.convolutions = nn.Sequential(*blocks).to(memory_format=torch.channels_last)  # a quarter faster on a CPU
        self.projection = nn.Linear(channels[-1] * bands, feature_dim)

    def embed(self, instances: Tensor) -> Tensor:
        """Return what each instance holds; in eval mode without regard to the others. Shapes as the class says."""
        return self.embed_steps(instances).amax(1)

    def embed_steps(self, instances: Tensor) -> Tensor:
        """Return what each step of time in each instance holds. Shapes as the class says."""
        _remaining(instances.shape[1], "frames", self.conv_layers)
        maps = self.convolutions(instances.unsqueeze(1))
        steps: Tensor = self.projection(maps.permute(0, 2, 3, 1).flatten(2)).relu()
        return steps


class FrozenTrunk(Trunk):
    """A trunk that reads any cache's bands and learns nothing unless told to: its BatchNorm keeps its statistics.

    A cache with other bands is read by interpolation onto the trunk's centres; bands that the cache has not are 0, as
    those above the Nyquist frequency of a slow recorder are, which the trunk met while it was taught.

    Raises:
        ConfigError: the cache's features are of another kind than the trunk's.
    """

    bands: Tensor | None

    def __init__(self, config: TrunkConfig, features: FeatureConfig) -> None:
        taught = config.features
        super().__init__(config.conv_layers, taught.n_mels, config.feature_dim)
        there, wanted = _kind(features), _kind(taught)
        for name, value in there.items():
            if value != wanted[name]:
                finding = f"{value} in this cache, {wanted[name]} in what the trunk was taught with"
                raise ConfigError(f"data.{name}", finding, "Pass --init none, or build a cache as the trunk's was")
        same = all(getattr(features, name) == getattr(taught, name) for name in ("fmin", "fmax", "n_mels"))
        self.register_buffer("bands", None if same else interpolate_bands(features, taught), persistent=False)
        self.train(False)

    def embed_steps(self, instances: Tensor) -> Tensor:
        """Shapes as of ``Trunk``; ``M`` are the cache's bands."""
        return super().embed_steps(instances if self.bands is None else instances @ self.bands)

    def train(self, mode: bool = True) -> "FrozenTrunk":
        """Stay in eval mode: statistics of a few clips are worse than those of thousands."""
        return super().train(False)


def _kind(features: FeatureConfig) -> dict[str, float | str]:
    """What must be alike for a trunk to read features, by name of a setting; windows and hops in seconds."""
    rate = features.target_sample_rate
    pcen = {name: value for name, value in vars(features).items() if name.startswith("pcen_")}
    seconds = {"n_fft": features.n_fft / rate, "hop_length": features.hop_length / rate}
    return {"compression": features.compression, **seconds, **pcen}


def interpolate_bands(features: FeatureConfig, trunk: FeatureConfig) -> Tensor:
    """Weights that take a cache's bands to a trunk's, linear between centres; on the CPU. Shape: ``[M, n_mels]``.

    Above 1 kHz the Slaney mel scale is logarithmic, so all centres are evenly spaced there.
    """
    there = _log_centres(features.fmin, features.fmax, features.n_mels)
    step = float(there[1] - there[0]) if len(there) > 1 else 1.0
    place = (_log_centres(trunk.fmin, trunk.fmax, trunk.n_mels) - there[0]) / step
    distance = (torch.arange(features.n_mels, device="cpu")[:, None] - place[None, :]).abs()
    weights = (1 - distance).clamp(min=0)
    # Up to half a band beyond the outermost centres the outermost band itself still holds what is there.
    edge = (place > -0.5) & (place < features.n_mels - 0.5)
    return (weights / weights.sum(0).clamp(min=1e-9) * edge).float()


def _log_centres(fmin: float, fmax: float, bands: int) -> Tensor:
    return torch.linspace(math.log(fmin), math.log(fmax), bands + 2, dtype=torch.float64, device="cpu")[1:-1]


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
