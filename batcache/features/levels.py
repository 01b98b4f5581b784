"""What is heard of a recording's samples as they are decoded: whether there is a sound at all, and on which channel."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MUCH_LOUDER = 4.0  # 12 dB: more than microphones of one recorder differ by


class Levels:
    """One recording's levels, in the order of its channels; samples may come in any blocks.

    How loud a channel is, is told by the largest step from one of its samples to the next: an offset makes none, wind
    and handling make small ones.
    """

    def __init__(self) -> None:
        self.is_constant = True
        """Whether the channel that is taken holds nothing but one value."""
        self._taken = 0
        self._value: Any = None
        self._steps: NDArray[np.float64] | None = None
        self._last: NDArray[Any] | None = None

    def add(self, samples: NDArray[Any], taken: int) -> None:
        """Take samples of all channels, of which that at the position ``taken`` is used. Shape: ``[n, channels]``."""
        if not len(samples):
            return
        if self._value is None:
            self._taken, self._value = taken, samples[0, taken]
        if self.is_constant:
            self.is_constant = bool((samples[:, taken] == self._value).all())
        if samples.shape[1] > 1:
            self._add_steps(samples)

    def _add_steps(self, samples: NDArray[Any]) -> None:
        before = samples[:1] if self._last is None else self._last
        self._last = samples[-1:].copy()
        wide = np.concatenate([before, samples]).astype(np.float32)
        with np.errstate(invalid="ignore", over="ignore"):  # only the channel that is taken is refused for such
            steps = np.nan_to_num(np.fmax.reduce(np.abs(np.diff(wide, axis=0)), 0), posinf=0).astype(np.float64)
        self._steps = steps if self._steps is None else np.maximum(self._steps, steps)

    @property
    def warning(self) -> str:
        """Why another channel may be the one to take; empty where nothing speaks for that."""
        if self._steps is None:
            return ""
        mine, loudest = self._steps[self._taken], int(self._steps.argmax())
        if self._steps[loudest] <= _MUCH_LOUDER * mine:
            return ""
        if not mine:
            return f"channel {self._taken + 1} is taken and silent, channel {loudest + 1} is not"
        louder = round(20 * math.log10(self._steps[loudest] / mine))
        return f"channel {self._taken + 1} is taken, channel {loudest + 1} is {louder} dB louder"
