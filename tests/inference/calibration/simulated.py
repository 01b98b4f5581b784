"""Scores of clips whose true probabilities are known."""

import numpy as np
from numpy.typing import NDArray

from batcache.inference.calibration.platt import sigmoid


def draw(
    rng: np.random.Generator, clips: int, intercept: float = 0.0, slope: float = 1.0, spread: float = 3.0
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Logits, and labels whose probability has the logit intercept + slope * logit. Shape: ``[R]`` each"""
    logits = rng.normal(-1, spread, clips)
    return logits, (rng.random(clips) < sigmoid(intercept + slope * logits)).astype(np.int8)


def precision_above(score: float, intercept: float = 0.0, slope: float = 1.0, spread: float = 3.0) -> float:
    """The precision of all clips that there could be at and above a score, of those that ``draw`` draws from."""
    logits = np.linspace(-1 - 8 * spread, -1 + 8 * spread, 400_001)
    weight = np.exp(-(((logits + 1) / spread) ** 2) / 2) * (sigmoid(logits) >= score)
    return float((weight * sigmoid(intercept + slope * logits)).sum() / weight.sum())
