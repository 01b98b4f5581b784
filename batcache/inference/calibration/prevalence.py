"""How common a species is in other recordings, and what that makes of its probabilities.

Probabilities hold how common a species was among the clips that they were calibrated on; training sets are balanced,
memory cards are not. Where presence changed and calls did not, with prevalence q then and r now,

    p' = p (r / q) / (p (r / q) + (1 - p) (1 - r) / (1 - q))

and r is found from the recordings themselves, without a label, by expectation and maximisation: r <- mean of p'
(Saerens, Latinne and Decaestecker 2002). A p of 0.9 learnt at 10 % is 0.45 at 1 %.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_LEAST = 1e-6
_STEPS = 1000


def shift(probabilities: NDArray[np.floating[Any]], then: float, now: float) -> Floats:
    """Probabilities under another prevalence. Shape: any -> the same; NaN stays NaN.

    >>> float(shift(np.array(0.9), 0.1, 0.01).round(2))
    0.45
    """
    p = probabilities.astype(np.float64)
    present, absent = p * (now / then), (1 - p) * ((1 - now) / (1 - then))
    shifted: Floats = present / (present + absent)
    return shifted


def estimate_prevalence(probabilities: NDArray[np.floating[Any]], then: float) -> float:
    """How common a species is among recordings, of which only its probabilities are known.

    Args:
        probabilities: calibrated where its prevalence was ``then``. Shape: ``[R]``, at least one that is not NaN
        then: above 0 and below 1.
    """
    p = np.clip(probabilities[~np.isnan(probabilities)].astype(np.float64), _LEAST, 1 - _LEAST)
    now = then
    for _ in range(_STEPS):
        before, now = now, float(np.clip(shift(p, then, now).mean(), _LEAST, 1 - _LEAST))
        if abs(now - before) < 1e-9:
            break
    return now
