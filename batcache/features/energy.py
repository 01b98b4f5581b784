"""What is heard of recordings beside their features: where their energy lies, and how loud they are."""

import numpy as np
from numpy.typing import NDArray

from batcache.config.features import FeatureConfig
from batcache.features.levels import Levels


class BandEnergy:
    """What is heard of some recordings beside their features.

    That is the shares of their energy below ``fmin`` and above ``fmax``, of each window that does not overlap with the
    one before, whatever blocks they come in; the peak of float samples; and the ``levels`` of each, as it is decoded.
    """

    def __init__(self, config: FeatureConfig, recordings: int = 1) -> None:
        spacing = config.target_sample_rate / config.n_fft
        self.below, self.above = int(config.fmin / spacing), int(config.fmax / spacing) + 1
        self.step = -(-config.n_fft // config.hop_length)
        """Every so many frames there is a window that does not overlap with the one before."""
        self.seen = 0
        self.power = np.zeros((recordings, config.n_fft // 2 + 1))
        self.peak = np.zeros(recordings, np.float32)
        self.levels = tuple(Levels() for _ in range(recordings))

    @property
    def next_frames(self) -> int:
        """The first of the frames to come whose window does not overlap with the last one that was taken."""
        return -self.seen % self.step

    def add(self, power: NDArray[np.float32], frames: int) -> None:
        """Take the squared magnitudes of windows that do not overlap, summed, of so many frames that follow.

        Shape: ``[recordings, bins]``.
        """
        self.seen += frames
        self.power[:, : power.shape[1]] += power

    def add_peak(self, peak: NDArray[np.float32]) -> None:
        """Take the largest of float samples, in 16-bit steps. Shape: ``[recordings]``."""
        self.peak = np.maximum(self.peak, peak)

    def overscale(self, recording: int = 0) -> float:
        """The peak of a recording's samples, in four digits, where it lies beyond full scale (1); else 0."""
        peak = float(self.peak[recording]) * 2.0**-15
        return float(f"{peak:.4g}") if peak > 1 else 0.0

    def shares(self, recording: int = 0) -> tuple[float, float]:
        """Shares of a recording's energy that lie below ``fmin`` and above ``fmax``, to four decimals."""
        power = self.power[recording].copy()
        power[:2] = 0  # the recorder's offset, which a Hann window spreads over two bins
        total = float(power.sum()) or 1.0
        below, above = (float(part.sum()) / total for part in (power[: self.below], power[self.above :]))
        return round(below, 4), round(above, 4)
