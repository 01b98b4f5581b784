"""Per-channel energy normalisation (Wang et al. 2017; Lostanlen et al. 2019), in blocks that carry the smoother.

    M[t] = (1 - s) M[t-1] + s E[t]                        each band's running level, time constant 0.1 s
    P[t] = (E[t] / (eps + M[t])^gain + bias)^power - bias^power

The reference is ``librosa.pcen`` with its ``zi`` given. Three choices are ours:

* E is the mel magnitude times 2^31, as librosa's documentation asks for samples in -1..1.
* M starts from each band's mean over the first half second (or all there is). librosa's default of 1 would over-drive
  the first 0.4 s twentyfold.
* eps is the mel level of the rounding of 16-bit samples, so that rounding is never amplified into features.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from batcache.config.features import FeatureConfig
from batcache.features.kernels import smooth
from batcache.features.pcen_levels import SCALE, rounding_level, smoothing

START_S = 0.5
_ROW, _ROWS = 32, 32  # frames smoothed by one product, and such products carried on by another


class Pcen(nn.Module):
    """PCEN of a stream of mel frames.

    On a CPU the smoother goes from frame to frame: M[k] = M[k-1] + s (E[k] - M[k-1]). For a GPU it is unrolled, over K
    frames, to a product with a lower-triangular matrix:
    M[k] = sum_{j<=k} s (1-s)^(k-j) E[j] + (1-s)^(k+1) M[-1].

    So are the levels M[-1] of rows of K frames: each is that of the row before, decayed over K frames, plus what that
    row has added. Two small products then take the place of one large one.
    """

    kernel: Tensor
    decay: Tensor
    carry: Tensor
    row_decay: Tensor

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.gain, self.bias, self.power = config.pcen_gain, config.pcen_bias, config.pcen_power
        self.eps = rounding_level(config)
        self.start_frames = max(1, round(START_S * config.frames_per_second))
        s = self.s = smoothing(config)
        self.register_buffer("kernel", s * _powers(1 - s, _ROW), persistent=False)
        self.register_buffer("decay", _powers(1 - s, _ROW)[:, :1] * (1 - s), persistent=False)
        rows = _powers((1 - s) ** _ROW, _ROWS)
        self.register_buffer("carry", torch.cat([torch.zeros(1, _ROWS), rows[:-1]]), persistent=False)
        self.register_buffer("row_decay", rows[:, :1], persistent=False)

    def smooth(self, energy: Tensor, level: Tensor) -> Tensor:
        """Run the smoother from ``level``, the state before the first frame.

        Shape: energy ``[B, frames, bands]``, level ``[B, bands]`` -> ``[B, frames, bands]``.
        """
        if energy.device.type != "cpu":
            return self.smooth_by_products(energy, level)
        levels = torch.empty_like(energy)
        for one, state, out in zip(energy.numpy(), level.numpy(), levels.numpy(), strict=True):
            smooth(one, self.s, state.copy(), out)
        return levels

    def smooth_by_products(self, energy: Tensor, level: Tensor) -> Tensor:
        """The same in few steps."""
        frames, out = energy.shape[1], []
        if frames % _ROW:
            energy = nn.functional.pad(energy, (0, 0, 0, -frames % _ROW))
        for span in torch.split(energy, _ROW * _ROWS, 1):
            rows = self.kernel @ span.reshape(len(span), -1, _ROW, span.shape[2])  # each as if from silence
            count = rows.shape[1]
            before = self.carry[:count, :count] @ rows[:, :, -1] + self.row_decay[:count] * level[:, None]
            out.append(rows.addcmul_(self.decay, before[:, :, None]).flatten(1, 2))
            level = out[-1][:, -1]
        return (torch.cat(out, 1) if len(out) > 1 else out[0])[:, :frames]

    def compress(self, energy: Tensor, level: Tensor) -> Tensor:
        """Divide by the level and compress. Shapes: all ``[..., frames, bands]``."""
        softened = (level + self.eps).log_().mul_(-self.gain).exp_()  # to the power of -gain, thrice as fast as pow
        return energy.mul(softened).add_(self.bias).pow_(self.power).sub_(self.bias**self.power)

    def stream(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Normalise blocks of mel magnitudes of the same recordings, in order. Shape: ``[B, frames, bands]`` each."""
        level, waiting, frames = None, [], 0
        for block in blocks:
            if level is None:
                waiting.append(block)
                frames += block.shape[1]
                if frames < self.start_frames:
                    continue
                block = torch.cat(waiting, 1)  # noqa: PLW2901
                level = block[:, : self.start_frames].mean(1) * SCALE
            normalised, level = self._step(block, level)
            yield normalised
        if level is None and waiting:
            joined = torch.cat(waiting, 1)
            yield self._step(joined, joined.mean(1) * SCALE)[0]

    def _step(self, mel: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        energy = mel * SCALE
        smoothed = self.smooth(energy, level)
        return self.compress(energy, smoothed), smoothed[:, -1]


def _powers(base: float, size: int) -> Tensor:
    """The lower-triangular matrix of ``base ** (row - column)``. Shape: ``[size, size]``."""
    lag = torch.arange(size)[:, None] - torch.arange(size)
    return torch.where(lag >= 0, base ** lag.clamp(min=0).double(), 0.0).float()
