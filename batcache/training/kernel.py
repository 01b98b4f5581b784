"""Teaching a ``KernelHead``: a regression on likeness to known instances, fitted to its optimum."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from batcache.device import limit_threads
from batcache.model.crnn import spread
from batcache.model.heads import MILHeads
from batcache.model.kernel import SHARE, KernelHead, measure, scale

MOST_INSTANCES = 3_000
"""Of all training clips. Where there are more, labels are not few, and what a kernel is worth was not measured."""
MOST_CENTRES = 512
_RIDGE = 1e-5
_LEAST_SPREAD = 1e-5  # of a direction among centres, of the largest: below, float32 would tell nothing of it
_STEPS = 60
_GAIN = 1.5  # heads, fitted by steps and not to an optimum under a ridge, spread their logits so much further


def teach_kernel(
    heads: MILHeads,
    embeddings: Sequence[Tensor],
    labels: Tensor,
    positive_weights: Tensor,
    kept: Sequence[bool],
    max_instances: int,
) -> None:
    """Teach the kernel beside heads, where labels are few.

    What the kernel of an earlier model says of species that are ``kept`` stays as it is; those of a model without one
    get none, which would know but a part of their clips. Of each bag ``max_instances`` are taken at most.

    Shape:
        embeddings: ``[N_i, feature_dim]`` each; labels: ``[B, C]``, -1 where unknown or not taught;
        positive_weights: ``[C]``
    """
    cut = list(_cut(embeddings, max_instances))
    is_taught = (labels == 1).any(0) & (labels == 0).any(0) & ~torch.tensor(kept)
    if sum(map(len, cut)) > MOST_INSTANCES or not is_taught.any():
        return
    with limit_threads(1):
        kernel = fit_kernel(cut, labels.masked_fill(~is_taught, -1), positive_weights)
    kernel.share.copy_(SHARE * is_taught)
    kernel = kernel.to(heads.mean.device)
    heads.kernel = kernel if heads.kernel is None else _chain(heads.kernel, kernel)


def _cut(embeddings: Sequence[Tensor], most: int) -> Iterator[Tensor]:
    """So many consecutive instances of each bag at most, from a drawn place."""
    rng = np.random.default_rng(0)
    for bag in embeddings:
        first = int(rng.integers(max(len(bag) - most, 0) + 1))
        yield bag[first : first + most]


def fit_kernel(embeddings: Sequence[Tensor], labels: Tensor, positive_weights: Tensor) -> KernelHead:
    """Fit regressions on these instances; all on the CPU.

    The loss is the heads', of each species by itself, beside a ridge on the regressions: ``_RIDGE |f|^2`` in the
    kernel's own norm. From all weights at 0, L-BFGS takes it to its optimum.

    Shape:
        embeddings: ``[N_i, feature_dim]`` each; labels: ``[B, C]``, -1 where unknown; positive_weights: ``[C]``
    """
    instances = scale(torch.cat(list(embeddings)))
    counts = torch.tensor([len(bag) for bag in embeddings])
    mask = torch.arange(int(counts.max())) < counts[:, None]
    draw = torch.randperm(len(instances), generator=torch.Generator().manual_seed(0))
    made = KernelHead(min(len(instances), MOST_CENTRES), instances.shape[1], labels.shape[1])
    made.centres.copy_(instances[draw[: len(made.centres)]])
    apart = measure(made.centres, made.centres)
    apart = apart[apart > 1e-9]
    made.widths.fill_(float(apart.median()) if len(apart) else 1.0)
    basis = _orthogonalise(made)
    like = made.compare(instances) @ basis  # [K, R]
    weights = torch.zeros(made.bias.numel(), basis.shape[1], requires_grad=True)
    bias = torch.zeros(made.bias.shape, requires_grad=True)
    known = labels >= 0
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        said = like @ weights.T + bias.flatten()
        pooled = made.pool(spread(said, mask).view(*mask.shape, *bias.shape), mask)
        wanted = labels.clamp(min=0).float().expand_as(pooled)
        losses = F.binary_cross_entropy_with_logits(pooled, wanted, pos_weight=positive_weights, reduction="none")
        loss = (losses * known).sum() / len(labels) + _RIDGE * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    made.weights.copy_(_GAIN * (weights.detach() @ basis.T).view_as(made.weights))
    made.bias.copy_(_GAIN * bias.detach())
    return made


def _orthogonalise(kernel: KernelHead) -> Tensor:
    """What takes likenesses to centres to features whose products are the kernel's. Shape: ``[J, R]``"""
    values, vectors = torch.linalg.eigh(kernel.compare(kernel.centres).double())
    kept = values > _LEAST_SPREAD * values[-1]
    basis: Tensor = vectors[:, kept] / values[kept].sqrt()
    return basis.float()


def _chain(one: KernelHead, other: KernelHead) -> KernelHead:
    """One kernel for what two say, each of species of its own: of those of the other it says 0."""
    both = KernelHead(len(one.centres) + len(other.centres), one.centres.shape[1], len(one.share)).to(one.share.device)
    for name in ("centres", "widths", "weights"):
        dim = -1 if name == "weights" else 0
        getattr(both, name).copy_(torch.cat([getattr(one, name), getattr(other, name)], dim))
    both.bias.copy_(one.bias + other.bias)
    both.share.copy_(one.share + other.share)
    return both
