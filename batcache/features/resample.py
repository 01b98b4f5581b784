"""Any true rate to the target rate, in blocks, in bounded memory.

Two engines, chosen by the rate alone. Where the reduced ratio ``orig : new`` keeps it small, torchaudio's polyphase
sinc kernel, applied as one matrix product; else soxr, whose memory does not grow with the ratio. Both are linear
phase: sample *i* of the output stands at the same instant as sample ``i * rate / target`` of the input.

``n`` samples become ``ceil(n * target / rate)``. Blocks cut anywhere give the same samples as the whole recording: the
sinc path carries its context from block to block, soxr carries its own. Beyond its ends a recording goes on with its
own level (``features.ends``).
"""

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from math import ceil, gcd

import soxr
import torch
from torch import Tensor, nn
from torchaudio.transforms import Resample

from batcache.features.ends import continued

# Zero crossings on each side of the sinc. 32 keep 0 to 0.93 of the lower Nyquist within 0.02 dB and put what would
# alias below 100 kHz (156 kHz and up at 256 kHz) 80 dB down; torchaudio's 6 would leave it at -33 dB.
_LOWPASS_WIDTH = 32
_LARGEST_KERNEL = 16 * 2**20  # bytes; 214,285 Hz to 256 kHz would need 8.8 GB
_SOXR_REACH = 128  # samples at the lower rate: beyond 110 a step does not show in the sixth decimal
_OUTPUTS_A_ROW = 32  # several phases share one row of the product, so that it is a matrix product worth the name


def uses_sinc(rate: int, target_rate: int) -> bool:
    """Whether the sinc kernel for this rate is small enough to be held."""
    step = gcd(rate, target_rate)
    orig, new = rate // step, target_rate // step
    width = ceil(_LOWPASS_WIDTH * orig / min(orig, new))
    return new * (2 * width + orig) * 4 <= _LARGEST_KERNEL


class SincResampler(nn.Module):
    """torchaudio's windowed-sinc resampling as a product of overlapping rows with one banded matrix.

    The kernel ``[new, taps]`` makes ``new`` outputs of the ``taps`` inputs around ``orig`` of them. ``groups`` such
    steps share a row of ``groups * orig + taps - orig`` inputs; the matrix holds the kernel once for each, shifted.
    """

    matrix: Tensor

    def __init__(self, rate: int, target_rate: int) -> None:
        super().__init__()
        step = gcd(rate, target_rate)
        self.orig, self.new = rate // step, target_rate // step
        kernel = Resample(self.orig, self.new, lowpass_filter_width=_LOWPASS_WIDTH).kernel[:, 0]  # [new, taps]
        taps = kernel.shape[1]
        self.context = (taps - self.orig) // 2
        groups = max(1, _OUTPUTS_A_ROW // self.new)
        matrix = torch.zeros(groups * self.orig + taps - self.orig, groups * self.new)
        for group in range(groups):
            matrix[group * self.orig :, group * self.new : (group + 1) * self.new][:taps] = kernel.T
        self.register_buffer("matrix", matrix, persistent=False)
        self.stride = groups * self.orig

    def forward(self, samples: Tensor) -> Tensor:
        """Resample the middle of ``samples``, which carries the context on both sides.

        Shape: ``[B, rows * stride + 2 * context]`` -> ``[B, rows * outputs a row]``.
        """
        return (samples.unfold(-1, self.matrix.shape[0], self.stride) @ self.matrix).flatten(-2)

    def stream(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Resample blocks ``[B, n]`` of any length; the outputs joined are those of the blocks joined."""
        held, fed, made = None, 0, 0
        beyond = self.context + self.stride  # the last row may reach so far
        for block, following in pairwise(chain(continued(blocks, self.context, beyond), [None])):
            assert block is not None, "only what follows the last is"
            held = block if held is None else torch.cat([held, block], -1)
            fed += block.shape[-1]
            rows = (held.shape[-1] - 2 * self.context) // self.stride
            if rows > 0:
                out = self(held[:, : rows * self.stride + 2 * self.context])
                if following is None:
                    out = out[:, : -(-(fed - self.context - beyond) * self.new // self.orig) - made]
                held, made = held[:, rows * self.stride :], made + out.shape[-1]
                yield out


def stream_soxr(blocks: Iterable[Tensor], rate: int, target_rate: int) -> Iterator[Tensor]:
    """Resample blocks ``[B, n]`` of float32 samples by soxr at high quality (20 bits), on the CPU.

    soxr takes zeros to lie beyond the ends. So it is given the samples less the level at which they begin and, for as
    long as its filter reaches, the level at which they end.
    """
    beyond = ceil(_SOXR_REACH * max(1, rate / target_rate))
    resampler, level, fed, made = None, torch.zeros(0), 0, 0
    for block, following in pairwise(chain(continued(blocks, beyond, beyond), [None])):
        assert block is not None, "only what follows the last is"
        if resampler is None:
            resampler = soxr.ResampleStream(rate, target_rate, len(block), dtype="float32", quality="HQ")
            level, block = block[:, :1], block[:, beyond:]  # noqa: PLW2901
        fed += block.shape[-1]
        out = torch.from_numpy(resampler.resample_chunk((block - level).cpu().numpy().T, last=following is None).T)
        if following is None:
            out = out[:, : -(-(fed - beyond) * target_rate // rate) - made]
        made += out.shape[-1]
        yield out.to(block.device) + level
