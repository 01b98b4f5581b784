"""WAV to PCEN-mel or log-mel frames."""
