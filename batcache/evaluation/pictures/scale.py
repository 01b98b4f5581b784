"""What spectrograms have beside them: which frequencies are written, and which values are black and white."""

import numpy as np
from numpy.typing import NDArray

from batcache.config.features import FeatureConfig

TICKS_KHZ = (1, 2, 5, 10, 15, 20, 30, 40, 50, 60, 80, 100, 120, 150, 200)
_BRIGHTEST = 99.8  # percentile of the picture's values that is drawn white
_DARKEST = 20  # of levels above silence, the percentile that is drawn black


def find_range(values: NDArray[np.float32], features: FeatureConfig) -> tuple[float, float]:
    """The values that are drawn black and white. PCEN has held the background down to near 0; a logarithm has not."""
    brightest = max(1.0, float(np.percentile(values, _BRIGHTEST)))
    heard = values[values > 0]
    if features.compression == "pcen" or not len(heard):
        return 0.0, brightest
    return float(np.percentile(heard, _DARKEST)), brightest
