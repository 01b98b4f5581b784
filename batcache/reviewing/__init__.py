"""Predictions looked at by a person: a local page that asks, and the table of what was answered."""
