"""The network as nodes: instances to embeddings, the embeddings of a bag to one logit a species.

No bag is padded here, so there is no mask: a recording goes through by itself, or with others of equal length.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from batcache.inference.onnx.nodes import Nodes, whole
from batcache.inference.onnx.pooling import POOLINGS, linear
from batcache.model.checkpoint import Model
from batcache.model.crnn import BatMILModel
from batcache.model.heads import EmbeddingHead
from batcache.model.kernel import STEEPNESS, KernelHead
from batcache.model.pooling import MILPoolingHead
from batcache.model.trunk import FrozenTrunk, Trunk


def embed(nodes: Nodes, instances: str, trunk: Trunk, kernel: KernelHead | None) -> list[str]:
    """What each instance holds and, where there is a kernel, what its regressions say of it and how strange it is.

    Shape: ``[K, T, M]`` -> ``[K, feature_dim]``, ``[K, 2 * C]``, ``[K, 1]``.
    """
    if isinstance(trunk, FrozenTrunk) and trunk.bands is not None:
        instances = nodes.add("MatMul", instances, _array(trunk.bands))
    maps = nodes.add("Unsqueeze", instances, whole(1))
    for block in trunk.convolutions:
        convolution, norm = block[0], block[1]  # type: ignore[index]
        maps = nodes.add("Conv", maps, *_fold(convolution, norm), **_sizes(convolution))
        maps = nodes.add("Relu", nodes.add("MaxPool", maps, kernel_shape=[2, 2], strides=[2, 2]))
    steps = nodes.add("Reshape", nodes.add("Transpose", maps, perm=[0, 2, 3, 1]), whole(0, 0, -1))
    steps = nodes.add("Relu", linear(nodes, steps, trunk.projection))
    embeddings = nodes.add("ReduceMax", steps, whole(1), keepdims=0)
    return [embeddings, *([] if kernel is None else _listen(nodes, steps, kernel))]


def _listen(nodes: Nodes, steps: str, kernel: KernelHead) -> list[str]:
    """As ``KernelHead.listen``. Shape: ``[K, S, D]`` -> ``[K, 2 * C]``, ``[K, 1]``."""
    last, end = whole(-1), whole(np.iinfo(np.int64).max)
    after = nodes.add("Concat", nodes.slice(steps, whole(1), end, 1), nodes.slice(steps, last, end, 1), axis=1)
    moments = nodes.add("Max", steps, after)
    length = nodes.add("ReduceL2", moments, whole(-1))
    scaled = nodes.add("Div", moments, nodes.add("Max", length, 1e-6))
    squares = nodes.add("ReduceSumSquare", scaled, whole(-1))
    product = nodes.add("MatMul", scaled, _array(2 * kernel.moments.T))
    apart = nodes.add("Sub", nodes.add("Add", squares, _array(kernel.moments.square().sum(-1))), product)
    apart = nodes.add("Max", apart, 0.0)
    like = nodes.add("Exp", nodes.add("Div", apart, _array(-kernel.widths)))
    # Species of the first regression, then those of the second.
    weights, bias = kernel.weights.transpose(0, 1).flatten(0, 1), kernel.bias.T.flatten()
    said = nodes.add("ReduceMax", nodes.add("MatMul", like, _array(weights.T)), whole(1), keepdims=0)
    nearest = nodes.add("ReduceMin", nodes.add("Mul", apart, _array(kernel.strangeness)), whole(-1), keepdims=0)
    strange = _weigh(nodes, nearest, nodes.add("ReduceSumSquare", moments, whole(-1), keepdims=0))
    return [nodes.add("Add", said, _array(bias)), strange]


def _weigh(nodes: Nodes, values: str, weights: str) -> str:
    """The weighed mean over the second axis, which stays."""
    weighed, weight = (nodes.add("ReduceSum", v, whole(1)) for v in (nodes.add("Mul", values, weights), weights))
    return nodes.add("Div", weighed, nodes.add("Max", weight, 1e-30))


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and bias of a convolution that does what BatchNorm after it does."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    weight = convolution.weight.double() * scale[:, None, None, None]
    return _array(weight), _array(norm.bias.double() - norm.running_mean.double() * scale)


def _sizes(convolution: nn.Conv2d) -> dict[str, list[int]]:
    padding = [int(size) for size in convolution.padding]
    return {"strides": list(convolution.stride), "pads": [*padding, *padding]}


def score(nodes: Nodes, given: Sequence[str], model: Model) -> list[str]:
    """Logits, how much each instance speaks for each species and, where the model hears it, whether there is a bat.

    Shape: what ``embed`` gives, ``[B, N, …]`` each -> ``[B, C]``, ``[B, N, C]``, ``[B]``.
    """
    embeddings = given[0]
    if isinstance(model, BatMILModel):
        return _pool(nodes, run_along(nodes, embeddings, model.crnn.rnn), model.head)
    heads = model.heads
    scaled = nodes.add("Div", nodes.add("Sub", embeddings, _array(heads.mean)), _array(heads.std))
    logits, evidence = _average(nodes, scaled, heads.heads)
    if (kernel := heads.kernel) is not None:
        said = zip([logits, evidence], _score_by_kernel(nodes, given[1], kernel), strict=True)
        logits, evidence = (_mix(nodes, *pair, kernel.share) for pair in said)
    if not heads.bats:
        return [logits, evidence]
    bat, heard = _average(nodes, scaled, heads.bats)  # [B, 1], [B, N, 1]
    doubt = nodes.add("Min", bat, 0.0)
    if kernel is not None:
        doubt = nodes.add("Add", doubt, _doubt_by_kernel(nodes, given[2], heard, kernel))
    return [nodes.add("Add", logits, doubt), evidence, nodes.add("Squeeze", bat, whole(1))]


def _average(nodes: Nodes, scaled: str, heads: nn.ModuleList) -> list[str]:
    said = [_score_by_head(nodes, scaled, head) for head in heads]  # type: ignore[arg-type]
    return [nodes.add("Mean", *outputs) for outputs in zip(*said, strict=True)]


def _score_by_head(nodes: Nodes, scaled: str, head: EmbeddingHead) -> list[str]:
    hidden = head.hidden[1]
    assert isinstance(hidden, nn.Linear)
    heard = nodes.add("Relu", linear(nodes, scaled, hidden))
    context = linear(nodes, run_along(nodes, heard, head.rnn), head.context)
    return _pool(nodes, nodes.add("Add", heard, context), head.pool)


def _score_by_kernel(nodes: Nodes, regressed: str, kernel: KernelHead) -> list[str]:
    species = len(kernel.bias)
    said = [nodes.slice(regressed, whole(first), whole(first + species), 2) for first in (0, species)]
    pools = kernel.pool_share, kernel.pool_strongest
    bags = [POOLINGS[type(pool)](nodes, pool, one, one)[0] for pool, one in zip(pools, said, strict=True)]
    return [nodes.add("Mean", *bags), nodes.add("Sigmoid", nodes.add("Mean", *said))]


def _doubt_by_kernel(nodes: Nodes, strange: str, heard: str, kernel: KernelHead) -> str:
    """As ``KernelHead.doubt``. Shape: ``[B, N, 1]`` each -> ``[B, C]``."""
    mean = nodes.add("Squeeze", _weigh(nodes, strange, heard), whole(1))
    beyond = nodes.add("Min", nodes.add("Sub", 1.0, mean), 0.0)
    return nodes.add("Mul", beyond, _array(STEEPNESS * kernel.share.sign()))


def _mix(nodes: Nodes, of_heads: str, of_kernel: str, share: Tensor) -> str:
    own = nodes.add("Mul", of_kernel, _array(share))
    return nodes.add("Add", nodes.add("Mul", of_heads, _array(1 - share)), own)


def _pool(nodes: Nodes, features: str, head: MILPoolingHead) -> list[str]:
    logits = linear(nodes, features, head.classifier)
    bag, weights = POOLINGS[type(head.pooling)](nodes, head.pooling, features, logits)
    evidence = nodes.add("Sigmoid", logits)
    if weights is not None:
        share = nodes.add("Div", weights, nodes.add("ReduceMax", weights, whole(1)))
        evidence = nodes.add("Mul", evidence, share)
    return [bag, evidence]


def run_along(nodes: Nodes, bags: str, rnn: nn.GRU) -> str:
    """What a bidirectional GRU hears along each bag. Shape: ``[B, N, D]`` -> ``[B, N, 2 * hidden]``.

    torch multiplies by the reset gate what the recurrent product has come to, bias included. ONNX does so only where
    ``linear_before_reset`` is set; its default is another network.
    """
    along = nodes.add("Transpose", bags, perm=[1, 0, 2])
    for layer in range(rnn.num_layers):
        names = [f"l{layer}", f"l{layer}_reverse"]
        both = nodes.add_many(
            "GRU",
            1,
            along,
            np.stack([_reorder(getattr(rnn, f"weight_ih_{name}")) for name in names]),
            np.stack([_reorder(getattr(rnn, f"weight_hh_{name}")) for name in names]),
            np.stack(
                [
                    np.concatenate([_reorder(getattr(rnn, f"bias_{part}_{name}")) for part in ("ih", "hh")])
                    for name in names
                ]
            ),
            direction="bidirectional",
            hidden_size=rnn.hidden_size,
            linear_before_reset=1,
        )[0]  # [N, 2, B, hidden]
        along = nodes.add("Reshape", nodes.add("Transpose", both, perm=[0, 2, 1, 3]), whole(0, 0, -1))
    return nodes.add("Transpose", along, perm=[1, 0, 2])


def _reorder(weights: Tensor) -> NDArray[np.float32]:
    """Gates in ONNX's order, update, reset, new, in place of torch's: reset, update, new."""
    reset, update, new = _array(weights).reshape(3, -1, *weights.shape[1:])
    return np.concatenate([update, reset, new])


def _array(value: Tensor) -> NDArray[np.float32]:
    return value.detach().cpu().float().numpy()
