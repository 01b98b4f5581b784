"""``SincKernel`` on any device."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from batcache.features.resample import SincKernel


class SincResampler(nn.Module):
    """A ``SincKernel`` whose matrix follows the module to its device."""

    matrix: Tensor

    def __init__(self, rate: int, target_rate: int) -> None:
        super().__init__()
        self.kernel = SincKernel(rate, target_rate)
        self.register_buffer("matrix", torch.from_numpy(self.kernel.matrix), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Resample the middle of ``samples``, which carries the context on both sides.

        Shape: ``[B, rows * stride + 2 * context]`` -> ``[B, rows * outputs a row]``.
        """
        return (samples.unfold(-1, self.matrix.shape[0], self.kernel.stride) @ self.matrix).flatten(-2)

    def stream(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Resample blocks ``[B, n]`` of any length; the outputs joined are those of the blocks joined."""
        return self.kernel.stream(blocks, self)
