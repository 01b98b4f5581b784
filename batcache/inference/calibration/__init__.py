"""Held-out scores to probabilities and thresholds."""
