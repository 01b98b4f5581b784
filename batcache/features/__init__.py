"""WAV to PCEN-mel frames."""
