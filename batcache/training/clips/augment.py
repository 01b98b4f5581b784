"""Augmentation of features, in training only: masks in time and frequency (SpecAugment, Park et al. 2019), noise."""

import torch
from torch import Generator, Tensor

from batcache.config.settings import AugmentationConfig


def augment(
    features: Tensor, config: AugmentationConfig, generator: Generator, first: int = 0, among: int | None = None
) -> Tensor:
    """Return augmented features; each instance gets its own masks, so that no species vanishes from a whole bag.

    Masked frames and bands become 0, the level of silence and of dead bands. Features are never negative, here neither.
    The instances may be those from ``first`` on ``among`` so many: they become what they would become among them.

    Shape: ``[..., T, M]`` -> the same.
    """
    instances = (len(features) if among is None else among, *features.shape[1:-2])
    own = slice(first, first + len(features))

    def uniform() -> Tensor:
        return torch.rand(2, *instances, 1, generator=generator, device=features.device)[:, own]

    if config.noise_injection:
        noise = torch.randn(*instances, *features.shape[-2:], generator=generator, device=features.device)[own]
        features = (features + config.noise_std * noise).clamp(min=0)
    if config.time_masking:
        features = features.masked_fill(_spans(features, -2, config.time_mask_param, uniform()).unsqueeze(-1), 0)
    if config.freq_masking:
        features = features.masked_fill(_spans(features, -1, config.freq_mask_param, uniform()).unsqueeze(-2), 0)
    if config.bandwidth_masking:
        features = features.masked_fill(_upper_bands(features, config.bandwidth_masking, uniform()).unsqueeze(-2), 0)
    return features


def _upper_bands(features: Tensor, share: float, draw: Tensor) -> Tensor:
    """In this share of the instances, the bands from a random one of the upper half on. Shape: ``[..., M]`` bool."""
    bands = features.shape[-1]
    first = torch.where(draw[0] < share, bands // 2 + (draw[1] * (bands - bands // 2)).floor(), bands)
    return torch.arange(bands, device=features.device) >= first


def _spans(features: Tensor, axis: int, widest: int, draw: Tensor) -> Tensor:
    """One random span an instance along an axis, 0 to ``widest`` long, anywhere. Shape: ``[..., size]`` bool."""
    size = features.shape[axis]
    width = (draw[0] * (min(widest, size) + 1)).floor()
    start = (draw[1] * (size - width + 1)).floor()
    place = torch.arange(size, device=features.device)
    return (place >= start) & (place < start + width)
