"""Mel bands: where they lie, which of them a recorder's rate cannot fill, and whether each holds a bin."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from batcache.config.features import FeatureConfig
from batcache.errors import ConfigError


def band_edges_hz(config: FeatureConfig) -> NDArray[np.float64]:
    """Lower edge, centre and upper edge of each mel band. Shape: ``[n_mels, 3]``, Hz.

    The Slaney scale is linear to 1 kHz (15 mel) and above it has 27 mel for each factor of 6.4.
    """
    per_factor = np.log(6.4) / 27

    def to_mel(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + float(np.log(hz / 1000) / per_factor)

    mel = np.linspace(to_mel(config.fmin), to_mel(config.fmax), config.n_mels + 2)
    hz = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * per_factor))
    return np.lib.stride_tricks.sliding_window_view(hz, 3)


@lru_cache
def dead_bands(config: FeatureConfig, true_rate: int) -> int:
    """Number of bands, counted from the top, that a recording of this rate cannot fill.

    A band is dead where its upper edge lies above 0.95 of the recording's Nyquist frequency: recorders' anti-aliasing
    filters leave nothing trustworthy above.
    """
    return int((band_edges_hz(config)[:, 2] > 0.95 * true_rate / 2).sum())


def check_bands(config: FeatureConfig) -> None:
    """Raise where some mel band is too narrow to hold an FFT bin: it would be 0 for every recording.

    Raises:
        ConfigError: names how many bands, and the settings that would mend it.
    """
    spacing = config.target_sample_rate / config.n_fft
    edges = (band_edges_hz(config) / spacing).round(6)  # an edge that falls on a bin does not hold it
    inside = np.ceil(edges[:, 2]) - np.floor(edges[:, 0]) - 1  # bins strictly between
    empty = int((inside < 1).sum())
    if empty:
        raise ConfigError(
            "data.n_mels",
            f"{empty} of {config.n_mels} mel bands from {config.fmin:g} to {config.fmax:g} Hz hold no FFT bin "
            f"(bins are {spacing:g} Hz apart)",
            "Lower n_mels or raise n_fft",
        )
