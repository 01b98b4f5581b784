"""Recordings to a store: look, plan, compute, write, commit."""
