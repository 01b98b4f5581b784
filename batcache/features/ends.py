"""What lies beyond the ends of a recording, where windows and filters reach: its own level.

Recorders add an offset: usually none, often 0.3 to 0.5 % of full scale. Against zeros beyond the ends it is a step,
and a step is a click of all frequencies, as loud in the first frame as a call. So a recording goes on at the mean of as
many of its samples, at that end, as lie beyond it: that is its offset, and what moves slower than a window. Calls are
faster and leave no trace in it. A recording without an offset goes on with zeros.

The level is rounded to whole 16-bit steps. Half a step is below the rounding of samples, which PCEN holds down.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

import torch
from torch import Tensor


def continued(blocks: Iterable[Tensor], before: int, after: int) -> Iterator[Tensor]:
    """Yield blocks ``[B, n]`` of recordings, in 16-bit steps, with so many samples of their level at both ends.

    The first block grows by those before it, and holds ``before`` samples of its own if there are so many; the last
    grows by those behind. No blocks give none. In memory are the blocks that hold the first ``before`` samples, then
    one and the last ``after`` samples.
    """
    tail, begun = None, False
    for block, following in pairwise(chain(blocks, [None])):
        assert block is not None, "only what follows the last is"
        is_enough = begun and block.shape[-1] >= after
        tail = block if tail is None or is_enough else torch.cat([tail, block], -1)
        if not begun and tail.shape[-1] < before and following is not None:
            continue
        parts = [block] if begun else [level(tail[:, :before]).expand(-1, before), tail]
        parts += [level(tail[:, -after:]).expand(-1, after)] if following is None else []
        yield torch.cat(parts, -1) if len(parts) > 1 else block
        tail, begun = tail[:, -after:], True


def level(samples: Tensor) -> Tensor:
    """The mean in whole 16-bit steps, of the samples' type. Shape: ``[B, n]`` -> ``[B, 1]``; 0 where ``n`` is."""
    if not samples.shape[-1]:
        return samples.new_zeros(len(samples), 1)
    return samples.mean(-1, keepdim=True, dtype=torch.float64).round().to(samples.dtype)
