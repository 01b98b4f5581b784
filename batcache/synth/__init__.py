"""Simulated bat recordings with known calls: physics from the larynx to the 16-bit sample."""
