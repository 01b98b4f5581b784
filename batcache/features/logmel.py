"""Log-mel: the logarithm of mel frames in place of PCEN, for those who want levels as they are.

    L[t] = log10(1 + E[t] / eps)

E is the mel magnitude times 2^31, and eps the mel level of the rounding of 16-bit samples, both as PCEN takes them. It
is logarithmic compression, log(1 + gamma E), as in Müller, Fundamentals of Music Processing (2015), section 3.1.2.1,
with gamma given by what a recording can hold: without the 1 the logarithm of silence would be minus infinity, and that
of rounding would be spread over many dB. So silence is 0, as dead bands and padding are, nothing is negative, and what
rounding leaves is near 0.3.

E is a magnitude: above the rounding, 1 is 20 dB. A tone at full scale reaches about 6; the loudest thousandth of 40
real recordings lies above 4.6, in PCEN above 3.1. No frame depends on another.
"""

from collections.abc import Iterable, Iterator
from math import log

import torch
from torch import Tensor, nn

from batcache.config.features import FeatureConfig
from batcache.features.pcen_levels import SCALE, rounding_level


class LogMel(nn.Module):
    """The logarithm of a stream of mel frames."""

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.gamma = SCALE / rounding_level(config)

    def compress(self, mel: Tensor) -> Tensor:
        """Take the logarithm of mel magnitudes. Shape: any -> the same."""
        return torch.log1p(mel * self.gamma).mul_(1 / log(10))

    def stream(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Compress blocks of mel magnitudes. Shape: ``[B, frames, bands]`` each."""
        return map(self.compress, blocks)
