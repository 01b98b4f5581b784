"""Combinations of settings, judged in the same folds."""
