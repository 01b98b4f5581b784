"""From the instances of a bag to one logit a species, and back: how much each instance spoke for it.

One linear classifier serves instances and bags; the poolings differ in how its instance logits become the bag's. Padded
instances have no say in any of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from batcache.config.settings import PoolingType


@dataclass(frozen=True, eq=False)
class BagOutput:
    """What the model says of a batch of bags, in float32 also under autocast. Padded instances hold 0 throughout.

    ``attention`` sums to 1 over a bag's instances: one weight an instance (``attention``), or one for each species
    (``linear_softmax``); ``max`` has none. ``evidence`` lies in 0..1: how much each instance speaks for each species,
    its own probability times its attention relative to the largest in the bag.

    Shape:
        bag_logits: ``[B, C]``, instance_logits and evidence: ``[B, N, C]``, attention: ``[B, N]`` or ``[B, N, C]``
    """

    bag_logits: Tensor
    instance_logits: Tensor
    attention: Tensor | None
    evidence: Tensor


class MaxPooling(nn.Module):
    """The strongest instance decides, for each species by itself.

    Shape:
        instance_features: ``[B, N, D]``, instance_logits: ``[B, N, C]``, mask: ``[B, N]``
        returns: bag logits ``[B, C]``, no attention
    """

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__()

    def forward(self, instance_features: Tensor, instance_logits: Tensor, mask: Tensor) -> tuple[Tensor, None]:
        """Pool instance logits into the bag's. Shapes as the class says."""
        return instance_logits.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(1), None


class AttentionPooling(nn.Module):
    """One learned weight an instance; the weighted feature is classified.

    The weights are ``a = softmax(w' tanh(V h))``, the feature is ``sum a h``, from
    Ilse, Tomczak, Welling: Attention-based Deep Multiple Instance Learning, ICML 2018, equations 7 and 8.

    Shape:
        instance_features: ``[B, N, D]``, instance_logits: ``[B, N, C]``, mask: ``[B, N]``
        returns: bag logits ``[B, C]``, attention ``[B, N]``
    """

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(feature_dim, max(1, feature_dim // 2))
        # A softmax ignores what is added to all its scores, so a bias here would never learn.
        self.score = nn.Linear(self.hidden.out_features, 1, bias=False)

    def forward(self, instance_features: Tensor, instance_logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pool instance logits into the bag's. Shapes as the class says."""
        scores = self.score(self.hidden(instance_features).tanh())
        attention = _masked_softmax(scores, mask)
        # The classifier is affine and the weights sum to 1: W (sum a h) + b = sum a (W h + b).
        return (attention * instance_logits).sum(1), attention.squeeze(-1)


class LinearSoftmaxPooling(nn.Module):
    """Each species scores the instances by a linear layer of its own; their softmax weighs the instance logits.

    Not the parameter-free linear softmax of Wang, Li, Metze (ICASSP 2019), where probabilities weigh themselves.

    Shape:
        instance_features: ``[B, N, D]``, instance_logits: ``[B, N, C]``, mask: ``[B, N]``
        returns: bag logits ``[B, C]``, attention ``[B, N, C]``
    """

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.score = nn.Linear(feature_dim, num_classes, bias=False)  # no bias, as in AttentionPooling

    def forward(self, instance_features: Tensor, instance_logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pool instance logits into the bag's. Shapes as the class says."""
        attention = _masked_softmax(self.score(instance_features), mask)
        return (attention * instance_logits).sum(1), attention


_POOLINGS: dict[PoolingType, type[MaxPooling] | type[AttentionPooling] | type[LinearSoftmaxPooling]] = {
    "max": MaxPooling,
    "attention": AttentionPooling,
    "linear_softmax": LinearSoftmaxPooling,
}


class MILPoolingHead(nn.Module):
    """Classify instances and pool them into a bag. Every bag holds at least one real instance.

    Shape:
        instance_features: ``[B, N, feature_dim]``, mask: ``[B, N]``, true at real instances
        returns: a ``BagOutput`` with ``num_classes`` species
    """

    def __init__(self, feature_dim: int, num_classes: int, pooling_type: PoolingType) -> None:
        super().__init__()
        # Its bias starts near 0, not at a low prior: a loss with balanced class weights comes to rest around 0.5.
        self.classifier = nn.Linear(feature_dim, num_classes)
        self.pooling = _POOLINGS[pooling_type](feature_dim, num_classes)

    def forward(self, instance_features: Tensor, mask: Tensor) -> BagOutput:
        """Classify a batch of bags. Shapes as the class says."""
        assert mask.is_cuda or mask.any(1).all(), "a bag without real instances"  # on a GPU, to ask is to wait
        padded = ~mask.unsqueeze(-1)
        # Zeroed before the layers, not only after: a gradient of 0 times a padded NaN would still be NaN.
        instance_features = instance_features.masked_fill(padded, 0)
        instance_logits = self.classifier(instance_features).float().masked_fill(padded, 0)
        bag_logits, attention = self.pooling(instance_features, instance_logits, mask)
        evidence = instance_logits.sigmoid().masked_fill(padded, 0)
        if attention is not None:
            weights = attention.view(*mask.shape, -1)
            evidence = evidence * (weights / weights.amax(1, keepdim=True))
        return BagOutput(bag_logits, instance_logits, attention, evidence)


def _masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax of ``[B, N, X]`` over the real instances, in float32: small weights underflow in float16."""
    return scores.float().masked_fill(~mask.unsqueeze(-1), -torch.inf).softmax(1)
