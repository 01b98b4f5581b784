"""The laws of ``batcache.features.pcen``: librosa's numbers, from blocks cut anywhere, without a start-up transient."""

from itertools import pairwise

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from batcache.config.features import FeatureConfig
from batcache.features.mel import Mel
from batcache.features.pcen import Pcen
from batcache.features.pcen_levels import SCALE, rounding_level, smoothing
from tests.conftest import noise

DEFAULT = FeatureConfig()
PCEN = Pcen(DEFAULT)


def mel(frames: int, seed: int = 0, level: float = 1e-3) -> Tensor:
    """Positive numbers as a mel spectrogram has them, with a burst 40 dB up and a silent band."""
    generator = np.random.default_rng(seed)
    values = level * generator.rayleigh(size=(frames, 8))
    values[frames // 3 : frames // 3 + 5, 3] *= 100
    values[:, 7] = 0
    return torch.from_numpy(values).float()


def pcen(*blocks: Tensor) -> Tensor:
    return torch.cat([made[0] for made in PCEN.stream(block[None] for block in blocks)])


def librosa_pcen(values: Tensor, config: FeatureConfig = DEFAULT, **options: float) -> np.ndarray:
    """In float64. ``zi`` is the state (1 - s) M[-1] of librosa's filter, M[-1] each band's mean over half a second."""
    energy = values.double().numpy().T * 2**31
    start = energy[:, : round(0.5 * config.frames_per_second)].mean(1, keepdims=True)
    return librosa.pcen(
        energy,
        sr=config.target_sample_rate,
        hop_length=config.hop_length,
        gain=config.pcen_gain,
        bias=config.pcen_bias,
        power=config.pcen_power,
        eps=rounding_level(config),
        zi=(1 - smoothing(config)) * start,
        **(options or {"time_constant": config.pcen_time_constant_s}),
    ).T


@given(seconds=st.floats(0.01, 2), hop=st.integers(32, 1024))
@settings(deadline=None, max_examples=30)
def test_the_smoother_is_the_one_that_librosa_derives_from_the_time_constant(seconds, hop) -> None:
    config = FeatureConfig(pcen_time_constant_s=seconds, hop_length=hop)
    values = mel(50)
    np.testing.assert_allclose(librosa_pcen(values, config), librosa_pcen(values, config, b=smoothing(config)))


@pytest.mark.parametrize("frames", [1, 2, 127, 128, 129, 499, 500, 501, 2000])
def test_pcen_is_librosas(frames) -> None:
    # Values near 1, of float32 energies (1e-7) raised to powers.
    np.testing.assert_allclose(pcen(mel(frames)), librosa_pcen(mel(frames)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        FeatureConfig(pcen_gain=0.5, pcen_bias=10.0, pcen_power=0.25, pcen_time_constant_s=0.4),
        FeatureConfig(n_fft=512, hop_length=128, pcen_gain=0.0),
        FeatureConfig(target_sample_rate=384_000, hop_length=384, pcen_power=1.0, pcen_bias=5.0),
    ],
)
def test_every_setting_of_pcen_means_what_librosa_means_by_it(config) -> None:
    made, expected = torch.cat(list(Pcen(config).stream([mel(700)[None]])))[0], librosa_pcen(mel(700), config)
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5 * max(1, expected.max()))  # power 1: large values


@settings(deadline=None, max_examples=25)
@given(lengths=st.lists(st.integers(1, 400), min_size=1, max_size=12), seed=st.integers(0, 9))
def test_cuts_between_blocks_change_nothing(lengths, seed) -> None:
    whole = mel(sum(lengths), seed)
    blocks = [whole[a:b] for a, b in pairwise([0, *np.cumsum(lengths).tolist()])]
    # The same sums in products of other shapes: float32 rounding.
    torch.testing.assert_close(pcen(*blocks), pcen(whole), rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(frames=st.integers(1, 3000), seed=st.integers(0, 9), recordings=st.integers(1, 3))
def test_a_gpus_smoother_is_the_cpus(frames, seed, recordings) -> None:
    energy = torch.stack([SCALE * mel(frames, seed + i) for i in range(recordings)])
    level = energy[:, : min(frames, 500)].mean(1)
    by_products, by_frames = PCEN.smooth_by_products(energy, level), PCEN.smooth(energy, level)
    # Float32 rounding, of sums of up to 1,024 products and of a hundred frames that a level remembers.
    torch.testing.assert_close(by_products, by_frames, rtol=1e-5, atol=1e-5 * float(energy.mean()))


def test_each_recording_starts_afresh() -> None:
    first = pcen(mel(600))
    pcen(mel(600, seed=1, level=10.0))
    assert torch.equal(pcen(mel(600)), first)


def test_a_steady_level_gives_its_steady_value_from_the_first_frame() -> None:
    """No transient: M = E throughout, so P = (E / (eps + E)^gain + bias)^power - bias^power."""
    energy = 1e-3 * SCALE
    expected = (energy / (PCEN.eps + energy) ** 0.98 + 2) ** 0.5 - 2**0.5
    torch.testing.assert_close(pcen(torch.full((700, 1), 1e-3)), torch.full((700, 1), expected), rtol=1e-5, atol=0)


def test_silence_gives_zero() -> None:
    assert not pcen(torch.zeros(700, 4)).any()


def test_a_tenfold_level_moves_features_little() -> None:
    """E / M^0.98 grows as E^0.02: by 4.7 % for a factor of ten, and the values by no more than that and a trifle."""
    quiet, loud = pcen(mel(700, level=1e-3)), pcen(mel(700, level=1e-2))
    assert float((loud[:, :7] / quiet[:, :7]).max()) < 10**0.02 * 1.01
    assert float((loud[:, :7] / quiet[:, :7]).min()) >= 1


def rounding_noise(seconds: float) -> np.ndarray:
    """In 16-bit steps."""
    wave = noise(seconds, DEFAULT.target_sample_rate, 0.01) * 2**15
    return np.round(wave) - wave


def test_the_rounding_level_is_that_of_rounding_to_16_bits() -> None:
    engine = Mel(DEFAULT, DEFAULT.target_sample_rate)
    measured = engine(torch.from_numpy(rounding_noise(2)).float()).double().mean() * 2**31
    # 3 %: 256,000 magnitudes scatter by 0.1 %, and triangles of three bins do not sum to n_fft / rate exactly.
    assert rounding_level(DEFAULT) == pytest.approx(float(measured), rel=0.03)
    assert rounding_level(DEFAULT) == pytest.approx(1.3e3, rel=0.05)


def test_rounding_noise_is_not_amplified() -> None:
    """At M = eps the gain is halved: half of what the same noise gives 60 dB up."""
    engine = Mel(DEFAULT, DEFAULT.target_sample_rate)
    wave = torch.from_numpy(rounding_noise(1)).float()
    assert float(pcen(engine(wave)).mean()) < 0.6 * float(pcen(engine(wave * 1000)).mean())
