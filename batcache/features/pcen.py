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
from math import pi, sqrt

import torch
from torch import Tensor, nn

from batcache.config import FeatureConfig

SCALE = 2.0**31
START_S = 0.5
_BLOCK = {"cpu": 128, "cuda": 256}  # frames a product


def smoothing(config: FeatureConfig) -> float:
    """The coefficient s of a first-order smoother with the given time constant, as librosa derives it.

    With T the time constant in frames, the -3 dB point of the smoother lies at 1 / (2 pi T) cycles a frame:
    s = (sqrt(1 + 4 T^2) - 1) / (2 T^2).
    """
    frames = config.pcen_time_constant_s * config.frames_per_second
    return (sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2)


def rounding_level(config: FeatureConfig) -> float:
    """Expected mel level, after scaling, of the noise that rounding to 16 bits leaves.

    The rounding error is uniform over a step of 2^-15: standard deviation 2^-15 / sqrt(12). A Hann window has
    sum(w^2) = 3/8 n_fft, so a bin of white noise of deviation d has the expected magnitude d sqrt(pi/4 * 3/8 n_fft)
    (Rayleigh). A Slaney triangle has area 1 over Hz, so its weights on bins ``rate / n_fft`` apart sum to
    ``n_fft / rate``.
    """
    deviation = 2.0**-15 / sqrt(12)
    magnitude = deviation * sqrt(pi / 4 * 3 / 8 * config.n_fft)
    return SCALE * magnitude * config.n_fft / config.target_sample_rate


class Pcen(nn.Module):
    """PCEN of a stream of mel frames.

    Within a block of K frames the recursion unrolls to a product with a lower-triangular matrix:
    M[k] = sum_{j<=k} s (1-s)^(k-j) E[j] + (1-s)^(k+1) M[-1].
    """

    kernel: Tensor
    decay: Tensor

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.gain, self.bias, self.power = config.pcen_gain, config.pcen_bias, config.pcen_power
        self.eps = rounding_level(config)
        self.start_frames = max(1, round(START_S * config.frames_per_second))
        s = smoothing(config)
        size = max(_BLOCK.values())
        lag = torch.arange(size)[:, None] - torch.arange(size)
        kernel = torch.where(lag >= 0, s * (1 - s) ** lag.clamp(min=0).double(), 0.0)
        decay = (1 - s) ** torch.arange(1, size + 1).double()
        self.register_buffer("kernel", kernel.float(), persistent=False)
        self.register_buffer("decay", decay.float()[:, None], persistent=False)

    def smooth(self, energy: Tensor, level: Tensor) -> Tensor:
        """Run the smoother from ``level``, the state before the first frame.

        Shape: energy ``[B, frames, bands]``, level ``[B, bands]`` -> ``[B, frames, bands]``.
        """
        out = torch.empty_like(energy)
        state, size = level.unsqueeze(1), _BLOCK[energy.device.type]
        for block, smoothed in zip(torch.split(energy, size, 1), torch.split(out, size, 1), strict=True):
            k = block.shape[1]
            kernel = self.kernel[:k, :k].expand(len(block), k, k)
            torch.baddbmm(self.decay[:k] * state, kernel, block, out=smoothed)
            state = smoothed[:, -1:]
        return out

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
