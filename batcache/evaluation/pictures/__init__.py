"""Clips, scores and evidence as pictures."""
