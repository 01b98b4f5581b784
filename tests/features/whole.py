"""A recording's features, whole, and recordings to compute them of."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from batcache.config.features import FeatureConfig
from batcache.features.audio import read_header
from batcache.features.frontend import FrontEnd
from batcache.features.mel import ENGINES
from tests.conftest import noise

WriteWav = Callable[..., Path]
Features = NDArray[np.float16]

DEFAULT = FeatureConfig()
TARGET = DEFAULT.target_sample_rate
FLOAT16 = 2.0**-11
"""Largest relative error of rounding to float16."""
SHORT = [
    "20170701_213954-MYOMYS-LR_0_0.5.wav",  # 500 kHz
    "20180627_215323-RHIFER-LR_0_0.5.wav",  # 384 kHz
    "AudiomothNoBatCalls.WAV",  # 250 kHz, a tenth of a second
    "Barbastella_barbastellus_2_s.wav",
    "DaubentonSocialCalls.wav",  # 256 kHz
    "20230322_172000_selec2.wav",  # 192 kHz: dead bands
    "Kuhls-pipistrelle-Pipistrellus_kuhlii_Ski0145_S2_From1152515ms_To1170806ms.wav",  # 144 kHz, 24 bits, WAVEX
    "Vespertilio_murinus_Ski0136_S2_From2445870ms_To2450281ms_social.wav",  # 960 kHz, 24 bits
    "Mmyo_Ski0112_S1_From0748143ms_To0763637ms.wav",  # 312.5 kHz: resampled; 32 bits
    "Mdau_TE384.wav",  # time-expanded ten times
    "Miniopterus_schreibersii_Ski0139_S2_From1247635ms_To1258317ms.wav",  # 960 kHz, expanded, 24 bits
    "A004130_WOARYDBXLW.WAV",  # 300 kHz, loud low noise
]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
on_every_engine = pytest.mark.parametrize(
    "front_end",
    [("cpu", engine) for engine in ENGINES]
    + [pytest.param(("cuda", engine), marks=[pytest.mark.gpu, needs_cuda]) for engine in ENGINES],
    ids="-".join,
    indirect=True,
)


def features(front_end: FrontEnd, path: Path, true_rate: int = 384_000) -> Features:
    blocks = list(front_end.stream(path, read_header(path), true_rate))
    return np.concatenate(blocks) if blocks else np.zeros((0, DEFAULT.n_mels), np.float16)


def golden_recording() -> np.ndarray:
    """0.7 s at 384 kHz, int16, by formula: chirps from 90 to 20 kHz each 70 ms, in noise of a multiplicative generator.

    The generator is x[n] = a^n mod 2^64 with Knuth's a; its upper 32 bits are the noise. That is so quiet (3 steps of
    16 bits) that eps matters. All stands on an offset of half a per cent of full scale.
    """
    n = np.arange(268_800)
    powers = np.cumprod(np.full(len(n), 6364136223846793005, np.uint64))  # wraps at 2^64, which is the modulus
    hiss = (powers >> np.uint64(32)).astype(np.float64) / 2**32 - 0.5
    t = n % 26_880 / 384_000  # seconds since the last chirp began; each takes 5 ms
    chirp = np.where(t < 0.005, np.sin(np.pi * t / 0.005) ** 2 * np.sin(2 * np.pi * (90_000 * t - 7e6 * t**2)), 0)
    return np.round(32768 * (0.1 * chirp + 0.0003 * hiss + 0.005)).astype(np.int16)


def burst_in_noise(hz: float, at_s: float, rate: int) -> np.ndarray:
    """0.7 s of noise with 5 ms of a tone centred at ``at_s``."""
    wave = noise(0.7, rate, 0.002)
    t = np.arange(len(wave)) / rate - at_s
    return wave + np.where(np.abs(t) < 0.0025, 0.1 * np.cos(np.pi * t / 0.005) ** 2 * np.sin(2 * np.pi * hz * t), 0)
