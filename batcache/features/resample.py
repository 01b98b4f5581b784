"""Any true rate to the target rate, in blocks, in bounded memory.

Two engines, chosen by the rate alone. Where the reduced ratio ``orig : new`` keeps it small, torchaudio's polyphase
sinc kernel, applied as one matrix product; else soxr, whose memory does not grow with the ratio. Both are linear
phase: sample *i* of the output stands at the same instant as sample ``i * rate / target`` of the input.

``n`` samples become ``ceil(n * target / rate)``. Blocks cut anywhere give the same samples as the whole recording: the
sinc path carries its context from block to block, soxr carries its own. Beyond its ends a recording goes on with its
own level (``features.ends``).
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, pairwise
from math import ceil, gcd

import numpy as np
import soxr
from numpy.typing import NDArray

from batcache.features.ends import Samples, continued, join

# Zero crossings on each side of the sinc. 32 keep 0 to 0.93 of the lower Nyquist within 0.02 dB and put what would
# alias below 100 kHz (156 kHz and up at 256 kHz) 80 dB down; torchaudio's 6 would leave it at -33 dB.
_LOWPASS_WIDTH = 32
_ROLLOFF = 0.99
_LARGEST_KERNEL = 16 * 2**20  # bytes; 214,285 Hz to 256 kHz would need 8.8 GB
_SOXR_REACH = 128  # samples at the lower rate: beyond 110 a step does not show in the sixth decimal
_OUTPUTS_A_ROW = 32  # several phases share one row of the product, so that it is a matrix product worth the name


def uses_sinc(rate: int, target_rate: int) -> bool:
    """Whether the sinc kernel for this rate is small enough to be held."""
    step = gcd(rate, target_rate)
    orig, new = rate // step, target_rate // step
    width = ceil(_LOWPASS_WIDTH * orig / min(orig, new))
    return new * (2 * width + orig) * 4 <= _LARGEST_KERNEL


def make_kernel(orig: int, new: int) -> NDArray[np.float32]:
    """torchaudio's windowed sinc, number for number: ``new`` outputs of the inputs around ``orig`` of them.

    Shape: ``[new, taps]``.
    """
    base = min(orig, new) * _ROLLOFF
    width = ceil(_LOWPASS_WIDTH * orig / base)
    phase = (np.arange(0, -new, -1) / new).astype(np.float32)  # torchaudio's are of this precision too
    crossings = (phase[:, None] + np.arange(-width, width + orig) / orig) * base
    crossings = crossings.clip(-_LOWPASS_WIDTH, _LOWPASS_WIDTH)
    window = np.cos(crossings * np.pi / _LOWPASS_WIDTH / 2) ** 2
    return (np.sinc(crossings) * window * (base / orig)).astype(np.float32)  # type: ignore[no-any-return]


class SincKernel:
    """torchaudio's windowed-sinc resampling as a product of overlapping rows with one banded matrix.

    The kernel ``[new, taps]`` makes ``new`` outputs of the ``taps`` inputs around ``orig`` of them. ``groups`` such
    steps share a row of ``groups * orig + taps - orig`` inputs; the matrix holds the kernel once for each, shifted.
    """

    def __init__(self, rate: int, target_rate: int) -> None:
        step = gcd(rate, target_rate)
        self.orig, self.new = rate // step, target_rate // step
        kernel = make_kernel(self.orig, self.new)
        taps = kernel.shape[1]
        self.context = (taps - self.orig) // 2
        groups = max(1, _OUTPUTS_A_ROW // self.new)
        self.matrix = np.zeros((groups * self.orig + taps - self.orig, groups * self.new), np.float32)
        for group in range(groups):
            place = slice(group * self.new, (group + 1) * self.new)
            self.matrix[group * self.orig :, place][:taps] = kernel.T
        self.stride = groups * self.orig

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample the middle of ``samples``, which carries the context on both sides.

        Shape: ``[B, rows * stride + 2 * context]`` -> ``[B, rows * outputs a row]``.
        """
        rows = np.lib.stride_tricks.sliding_window_view(samples, len(self.matrix), -1)[:, :: self.stride]
        return (rows @ self.matrix).reshape(len(samples), -1)

    def stream(self, blocks: Iterable[Samples], product: Callable[[Samples], Samples]) -> Iterator[Samples]:
        """Resample blocks ``[B, n]`` of any length; the outputs joined are those of the blocks joined.

        ``product`` is what this kernel does when it is called, for what the blocks are.
        """
        held: Samples | None = None
        fed, made = 0, 0
        beyond = self.context + self.stride  # the last row may reach so far
        for block, following in pairwise(chain[Samples | None](continued(blocks, self.context, beyond), [None])):
            assert block is not None, "only what follows the last is"
            held = block if held is None else join([held, block])
            fed += block.shape[-1]
            rows = (held.shape[-1] - 2 * self.context) // self.stride
            if rows > 0:
                out = product(held[:, : rows * self.stride + 2 * self.context])
                if following is None:
                    out = out[:, : -(-(fed - self.context - beyond) * self.new // self.orig) - made]
                held, made = held[:, rows * self.stride :], made + out.shape[-1]
                yield out


def stream_soxr(blocks: Iterable[NDArray[np.float32]], rate: int, target_rate: int) -> Iterator[NDArray[np.float32]]:
    """Resample blocks ``[B, n]`` of float32 samples by soxr at high quality (20 bits), on the CPU.

    soxr takes zeros to lie beyond the ends. So it is given the samples less the level at which they begin and, for as
    long as its filter reaches, the level at which they end.
    """
    beyond = ceil(_SOXR_REACH * max(1, rate / target_rate))
    resampler, level, fed, made = None, np.zeros((0, 0), np.float32), 0, 0
    for block, following in pairwise(chain[NDArray[np.float32] | None](continued(blocks, beyond, beyond), [None])):
        assert block is not None, "only what follows the last is"
        if resampler is None:
            resampler = soxr.ResampleStream(rate, target_rate, len(block), dtype="float32", quality="HQ")
            level, block = block[:, :1], block[:, beyond:]  # noqa: PLW2901
        fed += block.shape[-1]
        out = resampler.resample_chunk((block - level).T, last=following is None).T
        if following is None:
            out = out[:, : -(-(fed - beyond) * target_rate // rate) - made]
        made += out.shape[-1]
        yield np.ascontiguousarray(out) + level
