"""The numbers that PCEN starts from, known without torch: its smoother's coefficient and the level of rounding."""

from math import pi, sqrt

from batcache.config.features import FeatureConfig

SCALE = 2.0**31


def smoothing(config: FeatureConfig) -> float:
    """The coefficient s of a first-order smoother with the given time constant, as librosa derives it.

    With T the time constant in frames, the -3 dB point of the smoother lies at 1 / (2 pi T) cycles a frame:
    s = (sqrt(1 + 4 T^2) - 1) / (2 T^2).
    """
    frames = config.pcen_time_constant_s * config.frames_per_second
    return (sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2)


def rounding_level(config: FeatureConfig) -> float:
    """Expected mel level, after scaling, of the noise that rounding to 16 bits leaves.

    The rounding error is uniform over a step of 2^-15: standard deviation 2^-15 / sqrt(12). A Hann window has
    sum(w^2) = 3/8 n_fft, so a bin of white noise of deviation d has the expected magnitude d sqrt(pi/4 * 3/8 n_fft)
    (Rayleigh). A Slaney triangle has area 1 over Hz, so its weights on bins ``rate / n_fft`` apart sum to
    ``n_fft / rate``.
    """
    deviation = 2.0**-15 / sqrt(12)
    magnitude = deviation * sqrt(pi / 4 * 3 / 8 * config.n_fft)
    return SCALE * magnitude * config.n_fft / config.target_sample_rate
