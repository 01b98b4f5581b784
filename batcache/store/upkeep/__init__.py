"""Keeping a store: verify, repair, prune."""
