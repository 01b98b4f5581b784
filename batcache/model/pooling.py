"""From the instances of a bag to one logit a species, and back: how much each instance spoke for it.

One linear classifier serves instances and bags; the poolings differ in how its instance logits become the bag's. Padded
instances have no say in any of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from batcache.config.settings import PoolingType


@dataclass(frozen=True, eq=False)
class BagOutput:
    """What the model says of a batch of bags, in float32 also under autocast. Padded instances hold 0 throughout.

    ``attention`` sums to 1 over a bag's instances: one weight an instance (``attention``), or one for each species
    (``linear_softmax`` and those that weigh probabilities); ``max``, ``top_share`` and ``noisy_or`` have none.
    ``evidence`` lies in 0..1: how much each instance speaks for each species, its own probability times its attention
    relative to the largest in the bag. ``bat_logits`` say whether there is a bat at all, where the model hears that.

    Shape:
        bag_logits: ``[B, C]``, instance_logits and evidence: ``[B, N, C]``, attention: ``[B, N]`` or ``[B, N, C]``,
        bat_logits: ``[B]``
    """

    bag_logits: Tensor
    instance_logits: Tensor
    attention: Tensor | None
    evidence: Tensor
    bat_logits: Tensor | None = None


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


class GatedAttentionPooling(nn.Module):
    """As ``AttentionPooling``, the hidden units gated: ``a = softmax(w' (tanh(V h) * sigmoid(U h)))`` (equation 9).

    Shape:
        instance_features: ``[B, N, D]``, instance_logits: ``[B, N, C]``, mask: ``[B, N]``
        returns: bag logits ``[B, C]``, attention ``[B, N]``
    """

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(feature_dim, max(1, feature_dim // 2))
        self.gate = nn.Linear(feature_dim, self.hidden.out_features)
        self.score = nn.Linear(self.hidden.out_features, 1, bias=False)

    def forward(self, instance_features: Tensor, instance_logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pool instance logits into the bag's. Shapes as the class says."""
        hidden = self.hidden(instance_features).tanh() * self.gate(instance_features).sigmoid()
        attention = _masked_softmax(self.score(hidden), mask)
        return (attention * instance_logits).sum(1), attention.squeeze(-1)


class TopSharePooling(nn.Module):
    """The mean of each species' strongest third of the instances, at least one: calls come in trains.

    Shape:
        instance_features: ``[B, N, D]``, instance_logits: ``[B, N, C]``, mask: ``[B, N]``
        returns: bag logits ``[B, C]``, no attention
    """

    share = 1 / 3

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__()

    def forward(self, instance_features: Tensor, instance_logits: Tensor, mask: Tensor) -> tuple[Tensor, None]:
        """Pool instance logits into the bag's. Shapes as the class says."""
        strongest = instance_logits.masked_fill(~mask.unsqueeze(-1), -torch.inf).sort(1, descending=True).values
        taken = (mask.sum(1) * self.share).ceil()
        within = torch.arange(mask.shape[1], device=mask.device) < taken[:, None]
        return strongest.masked_fill(~within.unsqueeze(-1), 0).sum(1) / taken[:, None], None


class MeanPooling(nn.Module):
    """The mean of the instances' probabilities; those below weigh it, each by its ``scores``.

    Shape:
        instance_features: ``[B, N, D]``, instance_logits: ``[B, N, C]``, mask: ``[B, N]``
        returns: bag logits ``[B, C]``, attention ``[B, N, C]``
    """

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__()

    def scores(self, instance_logits: Tensor) -> Tensor:
        """What the weights are the softmax of. Shape: ``[B, N, C]`` -> the same."""
        return torch.zeros_like(instance_logits)

    def forward(self, instance_features: Tensor, instance_logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pool instance logits into the bag's. Shapes as the class says."""
        attention = _masked_softmax(self.scores(instance_logits), mask)
        return _logit_of_mean(attention, instance_logits), attention


class ExponentialSoftmaxPooling(MeanPooling):
    """The probabilities' mean weighed by their own exponentials: ``y = sum(p exp p) / sum(exp p)``.

    From Wang, Li, Metze: A Comparison of Five Multiple Instance Learning Pooling Functions for Sound Event Detection
    with Weak Labeling, ICASSP 2019. Shapes as of ``MeanPooling``.
    """

    def scores(self, instance_logits: Tensor) -> Tensor:
        """The probabilities."""
        return instance_logits.sigmoid()


class SelfWeightedPooling(MeanPooling):
    """The probabilities' mean weighed by themselves: ``y = sum(p p) / sum(p)``.

    This is what Wang, Li, Metze (ICASSP 2019) call linear softmax; it has nothing to learn, unlike
    ``LinearSoftmaxPooling``. Shapes as of ``MeanPooling``.
    """

    def scores(self, instance_logits: Tensor) -> Tensor:
        """The probabilities' logarithms."""
        return F.logsigmoid(instance_logits)


class AutoPooling(MeanPooling):
    """As ``ExponentialSoftmaxPooling``, with a learned sharpness a species, between mean (0) and maximum (infinite).

    From McFee, Salamon, Bello: Adaptive Pooling Operators for Weakly Labeled Sound Event Detection, IEEE/ACM
    Transactions on Audio, Speech and Language Processing, 2018. Shapes as of ``MeanPooling``.
    """

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__(feature_dim, num_classes)
        self.sharpness = nn.Parameter(torch.ones(num_classes))

    def scores(self, instance_logits: Tensor) -> Tensor:
        """The probabilities, sharpened."""
        return self.sharpness * instance_logits.sigmoid()


class NoisyOrPooling(nn.Module):
    """Each instance has its chance to show the species: ``y = 1 - prod(1 - p)``.

    Shape:
        instance_features: ``[B, N, D]``, instance_logits: ``[B, N, C]``, mask: ``[B, N]``
        returns: bag logits ``[B, C]``, no attention
    """

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__()

    def forward(self, instance_features: Tensor, instance_logits: Tensor, mask: Tensor) -> tuple[Tensor, None]:
        """Pool instance logits into the bag's. Shapes as the class says."""
        none = F.logsigmoid(-instance_logits).masked_fill(~mask.unsqueeze(-1), 0).sum(1).clamp(max=-1e-6)
        return (-torch.expm1(none)).log() - none, None


_POOLINGS: dict[PoolingType, Callable[[int, int], nn.Module]] = {
    "max": MaxPooling,
    "attention": AttentionPooling,
    "linear_softmax": LinearSoftmaxPooling,
    "gated_attention": GatedAttentionPooling,
    "top_share": TopSharePooling,
    "mean": MeanPooling,
    "exponential_softmax": ExponentialSoftmaxPooling,
    "self_weighted": SelfWeightedPooling,
    "autopool": AutoPooling,
    "noisy_or": NoisyOrPooling,
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


def _logit_of_mean(attention: Tensor, instance_logits: Tensor) -> Tensor:
    """The logit of the instances' probabilities averaged by ``attention``, stable at both ends. Shape: ``[B, C]``."""
    weight = attention.clamp(min=torch.finfo(attention.dtype).tiny).log().masked_fill(attention == 0, -torch.inf)
    present, absent = F.logsigmoid(instance_logits), F.logsigmoid(-instance_logits)
    return torch.logsumexp(weight + present, 1) - torch.logsumexp(weight + absent, 1)
