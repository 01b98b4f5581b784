"""Metrics under draws of whole groups: how often each clip counts in a draw, and what its species' metrics are then."""
