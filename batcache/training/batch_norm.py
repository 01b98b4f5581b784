"""BatchNorm over what all ranks hold of a batch, on any device: torch's own SyncBatchNorm knows CUDA only."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from batcache.training import ranks


def share_statistics(network: nn.Module) -> None:
    """Let every BatchNorm of a network take its statistics, in training, from what all ranks hold. Weights stay."""
    for name, module in network.named_children():
        if isinstance(module, nn.BatchNorm2d):
            network.add_module(name, SharedBatchNorm2d.of(module))
        else:
            share_statistics(module)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """``BatchNorm2d`` whose batch is that of all ranks together; a rank may hold nothing of it.

    Shape: ``[k, C, H, W]`` -> the same, ``k`` of this rank.
    """

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> "SharedBatchNorm2d":
        """The same with shared statistics: its weights and statistics are those of ``norm`` itself."""
        shared = cls(norm.num_features, norm.eps, norm.momentum, device="meta").train(norm.training)
        shared._parameters, shared._buffers = norm._parameters, norm._buffers
        return shared

    def forward(self, x: Tensor) -> Tensor:
        """Normalise. Shapes as the class says."""
        if not self.training:
            return super().forward(x)
        count, mean, squares = _statistics(x.detach())
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.float(), self.momentum)
        self.running_var.lerp_((squares / (count - 1)).float(), self.momentum)
        given = mean.float(), (squares / count).float(), self.weight, self.bias, count, self.eps
        normalised: Tensor = _Normalise.apply(x, *given)
        return normalised


def _statistics(own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and sum of squares about the mean of each channel over all ranks, in float64.

    Each rank's own are put together as Chan, Golub and LeVeque (1979) do: no small number is taken for the difference
    of two large ones. Shapes: ``[]``, ``[C]``, ``[C]``.
    """
    channels, numbers = own.shape[1], own.numel() // own.shape[1]
    rows = torch.zeros(ranks.count(), 2 * channels + 1, dtype=torch.float64, device=own.device)
    if numbers:
        variance, mean = torch.var_mean(own.float(), (0, 2, 3), correction=0)
        rows[ranks.rank()] = torch.cat([mean.new_tensor([numbers]), mean, variance * numbers]).double()
    counts, means, squares = torch.split(ranks.add_up(rows), [1, channels, channels], 1)
    mean = (counts * means).sum(0) / counts.sum()
    return counts.sum(), mean, (squares + counts * (means - mean) ** 2).sum(0)


class _Normalise(torch.autograd.Function):
    """``y = w (x - mean) / sqrt(var + eps) + b``, where mean and var are those of the x of all ranks.

    With ``h = (x - mean) / std`` and means over all ranks' numbers of a channel,
    ``dx = w / std (dy - mean(dy) - h mean(dy h))`` (Ioffe and Szegedy 2015).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, count: Tensor, eps: float
    ) -> Tensor:
        ctx.count, ctx.eps = count, eps  # a tensor: as a number, a GPU would be waited for
        ctx.save_for_backward(x, mean, variance, weight)
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, variance, weight = ctx.saved_tensors
        scale = (variance + ctx.eps).rsqrt()
        there = mean.view(-1, 1, 1), scale.view(-1, 1, 1)
        whitened, dy = (x.float() - there[0]) * there[1], gradient.float()
        own = torch.stack([dy.sum((0, 2, 3)), (dy * whitened).sum((0, 2, 3))])
        of_all = (ranks.add_up(own.clone()) / ctx.count).view(2, -1, 1, 1)
        dx = (weight * scale).view(-1, 1, 1) * (dy - of_all[0] - whitened * of_all[1])
        return dx.to(x.dtype), None, None, own[1], own[0], None, None
