"""The loss: binary cross-entropy over the labels that are known, positive ones weighed by species."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from batcache.config.settings import Config
from batcache.errors import ConfigError

HEAVIEST_WEIGHT = 100.0


def class_weights(config: Config, labels: Iterable[tuple[int, ...]], species: Sequence[str]) -> Tensor:
    """The weight of each species' positive labels in the loss, by those of each training clip. Shape: ``[C]``.

    Raises:
        ConfigError: weights for species that there are not, or not one a species.
    """
    given = config.training.class_weights
    if given == "balanced":
        alike = Counter(labels)  # a million clips have few different ones
        rows, clips = np.array(list(alike)), np.array(list(alike.values()))
        positives, negatives = clips @ (rows == 1), clips @ (rows == 0)
        weights = np.where(positives, negatives / np.maximum(positives, 1), 1.0)
        return torch.tensor(weights.clip(1 / HEAVIEST_WEIGHT, HEAVIEST_WEIGHT), dtype=torch.float32)
    if isinstance(given, dict):
        unknown = sorted(set(given) - set(species))
        if unknown:
            raise ConfigError(
                "training.class_weights", f"no such species: {', '.join(unknown)}", f"There are: {', '.join(species)}"
            )
        return torch.tensor([given.get(name, 1.0) for name in species])
    if given is not None and len(given) != len(species):
        raise ConfigError("training.class_weights", f"{len(given)} numbers for {len(species)} species", "Give one each")
    return torch.tensor(given if given is not None else [1.0] * len(species))


def masked_loss(logits: Tensor, labels: Tensor, positive_weights: Tensor) -> Tensor:
    """Binary cross-entropy, averaged over the labels that are known. Shapes: ``[B, C]``, ``[B, C]`` int8, ``[C]``."""
    known = labels >= 0
    losses = F.binary_cross_entropy_with_logits(
        logits.float(), labels.clamp(min=0).float(), pos_weight=positive_weights, reduction="none"
    )
    return (losses * known).sum() / known.sum().clamp(min=1)
