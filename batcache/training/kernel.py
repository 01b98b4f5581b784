"""Teaching a ``KernelHead``: a regression on likeness to known moments, fitted to its optimum."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from batcache.device import limit_threads
from batcache.model.crnn import spread
from batcache.model.heads import MILHeads, average, score_alongside
from batcache.model.kernel import SHARE, KernelHead, join_neighbours, measure, scale, weigh_by_level

MOST_INSTANCES = 6_000
"""Of training clips, simulated ones apart: as many teach it."""
MOST_CENTRES = 512
_RIDGE = 1e-4
_WIDTH = 2.0  # of the median of squared distances between centres
_AT_ONCE = 8_192  # moments that are compared with centres
_LEAST_SPREAD = 1e-5  # of a direction among centres, of the largest: below, float32 would tell nothing of it
_STEPS = 60
_KNOWN = 0.98  # of the clips with species are not stranger than 1
LEAST_KNOWN = 19
"""With fewer clips with species, more than one of twenty that are known would be stranger than all of them."""
_GAIN = 2.1  # heads, fitted by steps and not to an optimum under a ridge, spread their logits so much further


def teach_kernel(
    heads: MILHeads,
    steps: Sequence[Tensor],
    labels: Tensor,
    positive_weights: Tensor,
    max_instances: int,
    groups: Sequence[str],
) -> None:
    """Teach the kernel beside heads; where these hear bats, also how strange a bat may be.

    What the kernel of an earlier model says stays as it is. Of each bag ``max_instances`` are taken at most.

    Shape:
        steps: ``[N_i, S, feature_dim]`` each, of B clips, then of L simulated ones; labels: ``[B + L, C]``, -1 where
        unknown or not to be taught, as of species that an earlier model knows; positive_weights: ``[C]``; groups: of
        the B clips
    """
    is_taught = (labels == 1).any(0) & (labels == 0).any(0)
    if not is_taught.any():
        return
    with limit_threads(1):
        cut, labels = list(_cut(steps, max_instances)), labels.masked_fill(~is_taught, -1)
        kernel = fit_kernel(cut, labels, positive_weights)
        if heads.bats:
            heard = hear_bats(heads, cut[: len(groups)])
            holds = labels[: len(groups)] == 1
            kernel.strangeness.fill_(find_strangeness(kernel, cut, heard, holds, groups))
    kernel.share.copy_(SHARE * is_taught)
    kernel = kernel.to(heads.mean.device)
    heads.kernel = kernel if heads.kernel is None else _chain(heads.kernel, kernel)


def _cut(steps: Sequence[Tensor], most: int) -> Iterator[Tensor]:
    """So many consecutive instances of each bag at most, from a drawn place."""
    rng = np.random.default_rng(0)
    for bag in steps:
        first = int(rng.integers(max(len(bag) - most, 0) + 1))
        yield bag[first : first + most]


def fit_kernel(steps: Sequence[Tensor], labels: Tensor, positive_weights: Tensor) -> KernelHead:
    """Fit regressions on these instances; all on the CPU.

    Centres are drawn from the strongest moments of instances, in which a call is likelier than in any other. The loss
    is the heads', of each species by itself, beside a ridge on the regressions: ``_RIDGE |f|^2`` in the kernel's own
    norm. From all weights at 0, L-BFGS takes it towards its optimum.

    Shape:
        steps: ``[N_i, S, feature_dim]`` each; labels: ``[B, C]``, -1 where unknown; positive_weights: ``[C]``
    """
    moments = join_neighbours(torch.cat(list(steps)).float())
    counts = torch.tensor([len(bag) for bag in steps])
    mask = torch.arange(int(counts.max())) < counts[:, None]
    strongest = moments.square().sum(-1).argmax(1)
    drawn = _draw_centres(len(moments))
    made = KernelHead(len(drawn), moments.shape[-1], labels.shape[1])
    made.moments.copy_(scale(moments[drawn, strongest[drawn]]))
    apart = measure(made.moments, made.moments)
    apart = apart[apart > 1e-9]
    made.widths.fill_(_WIDTH * float(apart.median()) if len(apart) else 1.0)
    basis = _orthogonalise(made)
    parts = torch.split(moments.flatten(0, 1), _AT_ONCE)
    like = torch.cat([made.compare(part) @ basis for part in parts])  # [K * S, R]
    weights = torch.zeros(made.bias.numel(), basis.shape[1], requires_grad=True)
    bias = torch.zeros(made.bias.shape, requires_grad=True)
    known = labels >= 0
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        said = (like @ weights.T).view(*moments.shape[:2], -1).amax(1) + bias.flatten()
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


def _draw_centres(instances: int) -> Tensor:
    """Places of the instances that become centres, the same for the same number of instances. Shape: ``[J]``"""
    return torch.randperm(instances, generator=torch.Generator().manual_seed(0))[:MOST_CENTRES]


@torch.no_grad()
def hear_bats(heads: MILHeads, steps: Sequence[Tensor]) -> list[Tensor]:
    """How far each instance is taken for one with bats, 0 to 1. Shape: ``[N_i, S, feature_dim]`` -> ``[N_i]`` each."""
    heard = []
    for bag in steps:
        scaled = heads.standardise(bag.amax(1).to(heads.mean.device))[None]
        mask = torch.ones(scaled.shape[:2], dtype=torch.bool)
        said = average(score_alongside(list(heads.bats), scaled, mask))  # type: ignore[arg-type]
        heard.append(said.evidence[0, :, 0].cpu())
    return heard


def find_strangeness(
    kernel: KernelHead, steps: Sequence[Tensor], has_bats: Sequence[Tensor], holds: Tensor, groups: Sequence[str]
) -> float:
    """One by the squared distance from the nearest centre that ``_KNOWN`` of the clips with species keep within.

    Each clip is compared with centres of other groups alone, as a new recording is, and counts where one of its species
    calls in another group too; its distance is the mean that ``KernelHead.doubt`` takes. Where fewer than
    ``LEAST_KNOWN`` tell, it is 0.

    Shape:
        steps: ``[N_i, S, feature_dim]`` each, of which the kernel's centres were drawn: of B clips, then of simulated
        ones, which are centres alone; has_bats: ``[N_i]`` each, of the B; holds: ``[B, C]``; groups: of the B clips
    """
    of = np.unique(groups, return_inverse=True)[1]
    of_all = np.concatenate([of, np.full(len(steps) - len(of), -1)])  # simulated clips are of no group
    of_centres = np.repeat(of_all, [len(bag) for bag in steps])[_draw_centres(sum(map(len, steps))).numpy()]
    known = []
    for i, (bag, heard) in enumerate(zip(steps[: len(of)], has_bats, strict=True)):
        others = torch.from_numpy(of != of[i])
        centres = kernel.moments[torch.from_numpy(of_centres != of[i])]
        if (holds[i] & holds[others].any(0)).any() and len(centres):
            moments = join_neighbours(bag.float())
            apart = weigh_by_level(measure(scale(moments), centres).amin(-1), moments)
            known.append(float((apart * heard).sum() / heard.sum().clamp(min=1e-30)))
    return 1 / max(float(np.quantile(known, _KNOWN)), 1e-6) if len(known) >= LEAST_KNOWN else 0.0


def _orthogonalise(kernel: KernelHead) -> Tensor:
    """What takes likenesses to centres to features whose products are the kernel's. Shape: ``[J, R]``"""
    values, vectors = torch.linalg.eigh(kernel.compare(kernel.moments).double())
    kept = values > _LEAST_SPREAD * values[-1]
    basis: Tensor = vectors[:, kept] / values[kept].sqrt()
    return basis.float()


def _chain(one: KernelHead, other: KernelHead) -> KernelHead:
    """One kernel for what two say, each of species of its own: of those of the other it says 0."""
    both = KernelHead(len(one.moments) + len(other.moments), one.moments.shape[1], len(one.share)).to(one.share.device)
    for name in ("moments", "widths", "strangeness", "weights"):
        dim = -1 if name == "weights" else 0
        getattr(both, name).copy_(torch.cat([getattr(one, name), getattr(other, name)], dim))
    both.bias.copy_(one.bias + other.bias)
    both.share.copy_(one.share + other.share)
    return both
