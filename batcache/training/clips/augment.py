"""Augmentation of features, in training only: masks in time and frequency (SpecAugment, Park et al. 2019), noise, what
microphones and rooms do to a call, and bags laid over each other.
"""

import math

import torch
from torch import Generator, Tensor

from batcache.config.settings import AugmentationConfig


def augment(features: Tensor, config: AugmentationConfig, generator: Generator) -> Tensor:
    """Return augmented features; each instance gets its own masks, so that no species vanishes from a whole bag.

    Masked frames and bands become 0, the level of silence and of dead bands. Features are never negative, here neither.

    Shape: ``[..., T, M]`` -> the same.
    """
    if config.response_std:
        features = features * _responses(features, config.response_std, generator).unsqueeze(-2)
    if config.reverberation:
        features = _reverberate(features, config.reverberation, generator)
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


def mix_bags(
    features: Tensor, mask: Tensor, labels: Tensor, share: float, generator: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Lay another bag of the batch over this share of the bags, where it is the louder, at 0.2 to 1 of its level.

    What either bag holds, both hold together. Of a bag laid over at less than half its level, what it holds may have
    become too faint: that is unknown, where the other does not hold it.

    Shape: features ``[B, N, T, M]``, mask ``[B, N]`` on the CPU, labels ``[B, C]`` int8 (-1: unknown) -> the same.
    """
    bags, device = len(features), features.device
    other = torch.randperm(bags, generator=generator, device=device)
    draw = torch.rand(2, bags, generator=generator, device=device)
    level = torch.where(draw[0] < share, 0.2 + 0.8 * draw[1], 0.0)
    features = torch.maximum(features, features[other] * level.view(-1, 1, 1, 1).to(features.dtype))
    other, level = other.to(mask.device), level.to(mask.device)
    mask = mask | (mask[other] & (level > 0)[:, None])
    other, level = other.to(labels.device), level.to(labels.device)[:, None]
    laid = labels[other].masked_fill(level == 0, 0)
    laid = laid.masked_fill((laid == 1) & (level < 0.5), -1)
    unknown = (labels != 1) & ((labels == -1) | (laid == -1)) & (laid != 1)
    return features, mask, torch.maximum(labels, laid).masked_fill(unknown, -1)


def _responses(features: Tensor, std: float, generator: Generator) -> Tensor:
    """Gains that change slowly from band to band, as microphones' do: four cosines. Shape: ``[..., M]``."""
    place = torch.linspace(0, math.pi, features.shape[-1], device=features.device)
    cosines = torch.cos(torch.arange(4, device=features.device)[:, None] * place)
    weights = torch.randn(*features.shape[:-2], 4, generator=generator, device=features.device)
    return (std * weights @ cosines).exp()


def _reverberate(features: Tensor, share: float, generator: Generator) -> Tensor:
    """In this share of the instances, let each frame die away over the six after it, by 0.2 to 0.7 a frame."""
    draw = torch.rand(2, *features.shape[:-2], 1, 1, generator=generator, device=features.device)
    decay = torch.where(draw[0] < share, 0.2 + 0.5 * draw[1], 0.0).to(features.dtype)
    echo, heard = features, features
    for _ in range(min(6, features.shape[-2] - 1)):
        echo = torch.nn.functional.pad(echo[..., :-1, :], (0, 0, 1, 0)) * decay
        heard = torch.maximum(heard, echo)
    return heard


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
