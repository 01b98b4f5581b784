"""What lies beyond the ends of a recording, where windows and filters reach: its own level.

Recorders add an offset: usually none, often 0.3 to 0.5 % of full scale. Against zeros beyond the ends it is a step,
and a step is a click of all frequencies, as loud in the first frame as a call. So a recording goes on at the mean of as
many of its samples, at that end, as lie beyond it: that is its offset, and what moves slower than a window. Calls are
faster and leave no trace in it. A recording without an offset goes on with zeros.

The level is rounded to whole 16-bit steps. Half a step is below the rounding of samples, which PCEN holds down.

Blocks are torch's tensors or numpy's arrays (``Samples``), and stay what they are: where numpy is enough, torch is not
imported.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Samples = TypeVar("Samples", "Tensor", NDArray[Any])


def continued(blocks: Iterable[Samples], before: int, after: int) -> Iterator[Samples]:
    """Yield blocks ``[B, n]`` of recordings, in 16-bit steps, with so many samples of their level at both ends.

    The first block grows by those before it, and holds ``before`` samples of its own if there are so many; the last
    grows by those behind. No blocks give none. In memory are the blocks that hold the first ``before`` samples, then
    one and the last ``after`` samples.
    """
    tail: Samples | None = None
    begun = False
    for block, following in pairwise(chain[Samples | None](blocks, [None])):
        assert block is not None, "only what follows the last is"
        is_enough = begun and block.shape[-1] >= after
        tail = block if tail is None or is_enough else join([tail, block])
        if not begun and tail.shape[-1] < before and following is not None:
            continue
        parts = [block] if begun else [level(tail[:, :before], before), tail]
        parts += [level(tail[:, -after:], after)] if following is None else []
        yield join(parts) if len(parts) > 1 else block
        tail, begun = tail[:, -after:], True


def level(samples: Samples, count: int) -> Samples:
    """The mean in whole 16-bit steps, of the samples' type, so many times; 0 where there are no samples.

    Shape: ``[B, n]`` -> ``[B, count]``.
    """
    if isinstance(samples, np.ndarray):
        mean = samples.mean(-1, keepdims=True, dtype=np.float64) if samples.shape[-1] else np.zeros((len(samples), 1))
        return np.broadcast_to(mean.round().astype(samples.dtype), (len(samples), count))
    import torch

    if not samples.shape[-1]:
        return samples.new_zeros(len(samples), count)
    return samples.mean(-1, keepdim=True, dtype=torch.float64).round().to(samples.dtype).expand(-1, count)


def join(blocks: Sequence[Samples]) -> Samples:
    """One behind the other. Shape: ``[..., n]`` each."""
    if isinstance(blocks[0], np.ndarray):
        return np.concatenate(blocks, -1)
    import torch

    return torch.cat(cast("Sequence[Tensor]", list(blocks)), -1)  # type: ignore[arg-type]


def stream_spans(blocks: Iterable[Samples], size: int, hop: int) -> Iterator[Samples]:
    """Re-cut samples ``[B, n]`` into spans that hold whole windows: ``[B, (frames - 1) * hop + size]`` each.

    Half a window of the recording's level stands before its first sample and behind its last.
    """
    held: Samples | None = None
    for block in continued(blocks, size // 2, size - size // 2):
        held = block if held is None else join([held, block])
        frames = (held.shape[-1] - size) // hop  # one less than there are windows: n samples have n // hop
        if frames > 0:
            yield held[:, : (frames - 1) * hop + size]
            held = held[:, frames * hop :]
