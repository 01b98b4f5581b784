"""Augmentation of features, in training only: masks in time and frequency (SpecAugment, Park et al. 2019), noise."""

import torch
from torch import Generator, Tensor

from batcache.config.settings import AugmentationConfig


def augment(features: Tensor, config: AugmentationConfig, generator: Generator) -> Tensor:
    """Return augmented features; each instance gets its own masks, so that no species vanishes from a whole bag.

    Masked frames and bands become 0, the level of silence and of dead bands. Features are never negative, here neither.

    Shape: ``[..., T, M]`` -> the same.
    """
    if config.noise_injection:
        noise = torch.randn(features.shape, generator=generator, device=features.device)
        features = (features + config.noise_std * noise).clamp(min=0)
    if config.time_masking:
        features = features.masked_fill(_spans(features, -2, config.time_mask_param, generator).unsqueeze(-1), 0)
    if config.freq_masking:
        features = features.masked_fill(_spans(features, -1, config.freq_mask_param, generator).unsqueeze(-2), 0)
    if config.bandwidth_masking:
        features = features.masked_fill(_upper_bands(features, config.bandwidth_masking, generator).unsqueeze(-2), 0)
    return features


def augment_real(features: Tensor, mask: Tensor, config: AugmentationConfig, generator: Generator) -> Tensor:
    """Augment the real instances: else padding would take its part of what is drawn, and decide the others'.

    Shape: ``[B, N, T, M]``, ``[B, N]`` -> ``[B, N, T, M]``
    """
    places = mask.flatten().nonzero().squeeze(1).to(features.device, non_blocking=True)
    flat = features.flatten(0, 1)
    real = augment(flat[places], config, generator)
    return flat.index_copy(0, places, real).view_as(features)


def _upper_bands(features: Tensor, share: float, generator: Generator) -> Tensor:
    """In this share of the instances, the bands from a random one of the upper half on. Shape: ``[..., M]`` bool."""
    bands = features.shape[-1]
    draw = torch.rand(2, *features.shape[:-2], 1, generator=generator, device=features.device)
    first = torch.where(draw[0] < share, bands // 2 + (draw[1] * (bands - bands // 2)).floor(), bands)
    return torch.arange(bands, device=features.device) >= first


def _spans(features: Tensor, axis: int, widest: int, generator: Generator) -> Tensor:
    """One random span an instance along an axis, 0 to ``widest`` long, anywhere. Shape: ``[..., size]`` bool."""
    size = features.shape[axis]
    draw = torch.rand(2, *features.shape[:-2], 1, generator=generator, device=features.device)
    width = (draw[0] * (min(widest, size) + 1)).floor()
    start = (draw[1] * (size - width + 1)).floor()
    place = torch.arange(size, device=features.device)
    return (place >= start) & (place < start + width)
