"""The poolings of ``model.pooling`` as nodes, for bags without padded instances.

Each takes the nodes, its module, the features ``[B, N, D]`` and logits ``[B, N, C]`` of instances; it gives the bag's
logits ``[B, C]``, and the weights of instances, ``[B, N, 1]`` or ``[B, N, C]``, or None where it has none.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from batcache.inference.onnx.nodes import FLOAT, INT64, Nodes, whole
from batcache.model import pooling as torch_pooling

Pooled = tuple[str, str | None]


def pool_max(nodes: Nodes, module: Any, features: str, logits: str) -> Pooled:
    """The strongest instance of each species."""
    return nodes.add("ReduceMax", logits, whole(1), keepdims=0), None


def pool_top_share(nodes: Nodes, module: Any, features: str, logits: str) -> Pooled:
    """The mean of the strongest third, rounded up in float32 as torch does."""
    count = nodes.add("Cast", nodes.add("Shape", logits, start=1, end=2), to=FLOAT)
    taken = nodes.add("Cast", nodes.add("Ceil", nodes.add("Mul", count, float(module.share))), to=INT64)
    strongest = nodes.add_many("TopK", 2, logits, taken, axis=1)[0]
    return nodes.add("ReduceMean", strongest, whole(1), keepdims=0), None


def pool_noisy_or(nodes: Nodes, module: Any, features: str, logits: str) -> Pooled:
    """``log(1 - exp(n)) - n`` with ``n = sum log(1 - p)``.

    Near 0, ``1 - exp(n)`` would lose its digits; it is ``-2 sinh(n / 2) exp(n / 2)``.
    """
    none = nodes.add(
        "Min", nodes.add("Neg", nodes.add("ReduceSum", nodes.add("Softplus", logits), whole(1), keepdims=0)), -1e-6
    )
    half = nodes.add("Mul", nodes.add("Max", none, -80.0), 0.5)  # beyond, 1 - exp(n) is 1 and sinh overflows
    some = nodes.add("Mul", nodes.add("Mul", nodes.add("Sinh", half), nodes.add("Exp", half)), -2.0)
    return nodes.add("Sub", nodes.add("Log", some), none), None


def pool_by_score(nodes: Nodes, module: Any, features: str, logits: str) -> Pooled:
    """Logits weighed by the softmax of what a layer says of each instance."""
    said = features
    if isinstance(module, torch_pooling.AttentionPooling | torch_pooling.GatedAttentionPooling):
        said = nodes.add("Tanh", linear(nodes, features, module.hidden))
    if isinstance(module, torch_pooling.GatedAttentionPooling):
        said = nodes.add("Mul", said, nodes.add("Sigmoid", linear(nodes, features, module.gate)))
    weights = nodes.add("Softmax", linear(nodes, said, module.score), axis=1)
    return nodes.add("ReduceSum", nodes.add("Mul", weights, logits), whole(1), keepdims=0), weights


def pool_mean(nodes: Nodes, module: Any, features: str, logits: str, score: str) -> Pooled:
    """The logit of the probabilities' mean, weighed by the softmax of a score that is made of the logits."""
    present, absent = (nodes.add("Neg", nodes.add("Softplus", x)) for x in (nodes.add("Neg", logits), logits))
    scores = {
        "same": lambda: nodes.add("Mul", logits, 0.0),
        "probability": lambda: nodes.add("Sigmoid", logits),
        "logarithm": lambda: present,
        "sharpened": lambda: nodes.add("Mul", nodes.add("Sigmoid", logits), module.sharpness.detach().numpy()),
    }[score]()
    weight = nodes.add("LogSoftmax", scores, axis=1)
    sums = [
        nodes.add("ReduceLogSumExp", nodes.add("Add", weight, part), whole(1), keepdims=0) for part in (present, absent)
    ]
    return nodes.add("Sub", *sums), nodes.add("Exp", weight)


def linear(nodes: Nodes, values: str, layer: Any) -> str:
    """A linear layer along the last axis."""
    product = nodes.add("MatMul", values, layer.weight.detach().numpy().T)
    return product if layer.bias is None else nodes.add("Add", product, layer.bias.detach().numpy())


POOLINGS: Mapping[type, Callable[[Nodes, Any, str, str], Pooled]] = {
    torch_pooling.MaxPooling: pool_max,
    torch_pooling.TopSharePooling: pool_top_share,
    torch_pooling.NoisyOrPooling: pool_noisy_or,
    torch_pooling.AttentionPooling: pool_by_score,
    torch_pooling.GatedAttentionPooling: pool_by_score,
    torch_pooling.LinearSoftmaxPooling: pool_by_score,
    torch_pooling.MeanPooling: partial(pool_mean, score="same"),
    torch_pooling.ExponentialSoftmaxPooling: partial(pool_mean, score="probability"),
    torch_pooling.SelfWeightedPooling: partial(pool_mean, score="logarithm"),
    torch_pooling.AutoPooling: partial(pool_mean, score="sharpened"),
}
