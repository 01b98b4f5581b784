"""The laws of ``batcache.features.resample``: what passes, what is rejected, where it stands, and what it costs."""

from functools import cache
from itertools import pairwise
from math import ceil, gcd

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchaudio.functional import resample as torchaudio_resample
from torchaudio.transforms import Resample

from batcache.features.resample import SincKernel, make_kernel, stream_soxr, uses_sinc
from batcache.features.sinc import SincResampler
from tests.conftest import noise, tone

TARGET = 256_000
SINC = [384_000, 500_000, 250_000, 312_500, 300_000, 288_000, 192_000, 144_000, 960_000]
SOXR = [214_285, 166_666, 383_999]


@cache
def sinc(rate: int) -> SincResampler:
    return SincResampler(rate, TARGET)


def resample(blocks: list[Tensor], rate: int) -> Tensor:
    if uses_sinc(rate, TARGET):
        return torch.cat([out[0] for out in sinc(rate).stream(block[None] for block in blocks)])
    made = list(stream_soxr((block[None].numpy() for block in blocks), rate, TARGET))
    return torch.from_numpy(np.concatenate(made, 1)[0])


def cut(samples: Tensor, lengths: list[int]) -> list[Tensor]:
    """The samples in blocks of these lengths, the last one taking the rest."""
    ends = [0, *np.cumsum(lengths).clip(max=len(samples)).tolist(), len(samples)]
    return [samples[start:end] for start, end in pairwise(ends)]


def response(hz: float, rate: int) -> complex:
    """Gain and phase at which a tone comes through, away from the ends."""
    made = resample([torch.from_numpy(tone(hz, 0.05, rate, 1.0)).float()], rate).double().numpy()
    middle = slice(2000, 2000 + 8192)
    window = np.hanning(8192)
    carrier = 1j * np.exp(-2j * np.pi * hz / TARGET * np.arange(len(made)))  # of a sine: 1 where gain 1, phase 0
    return complex(2 * (made * carrier)[middle] @ window / window.sum())


@pytest.mark.parametrize("rate, small", [(rate, True) for rate in SINC] + [(rate, False) for rate in SOXR])
def test_the_sinc_kernel_is_used_where_it_is_small(rate, small) -> None:
    assert uses_sinc(rate, TARGET) == small


@pytest.mark.parametrize("rate", SINC)
def test_a_sinc_kernel_that_is_used_takes_no_more_than_16_mb(rate) -> None:
    assert sinc(rate).matrix.numel() * 4 <= 16 * 2**20


def levels_of(samples: Tensor, kernel: SincKernel) -> tuple[Tensor, Tensor]:
    """How samples go on before and behind: the mean of as many as the kernel reaches over."""
    ends = samples[: kernel.context], samples[-kernel.context - kernel.stride :]
    return ends[0].mean().round(), ends[1].mean().round()


@pytest.mark.parametrize("rate", SINC)
def test_the_sinc_path_is_torchaudios(rate) -> None:
    samples = torch.from_numpy(noise(0.05, rate, 6000) + 300)  # 16-bit steps
    kernel = sinc(rate).kernel
    before, after, (start, end) = kernel.orig * 100, kernel.stride * 100, levels_of(samples, kernel)
    padded = torch.cat([start.expand(before), samples, end.expand(after)])
    expected = torchaudio_resample(padded, rate, TARGET, lowpass_filter_width=32)[100 * kernel.new :]  # float64
    made = resample(cut(samples.float(), [1000, 17, 5000]), rate).double()
    # Float32 sums of some 200 products of samples near 6000.
    torch.testing.assert_close(made, expected[: len(made)], rtol=0, atol=0.03)


@pytest.mark.parametrize("rate", SOXR)
def test_the_soxr_path_is_soxr_of_the_whole(rate) -> None:
    samples = noise(0.05, rate, 6000) + 300  # 16-bit steps
    reach = ceil(128 * max(1, rate / TARGET))
    start, end = np.round(samples[:reach].mean()), np.round(samples[-reach:].mean())
    expected = start + soxr.resample(np.r_[samples, np.full(5000, end)] - start, rate, TARGET, quality="HQ")  # float64
    made = resample(cut(torch.from_numpy(samples).float(), [1000, 17, 5000]), rate).numpy()
    np.testing.assert_allclose(made, expected[: len(made)], rtol=0, atol=0.03)  # 20 bits


@settings(max_examples=25, deadline=None)
@given(rate=st.sampled_from(SINC[:3] + SOXR), lengths=st.lists(st.integers(0, 700), max_size=12))
def test_cuts_between_blocks_change_nothing(rate, lengths) -> None:
    samples = torch.from_numpy(noise(0.01, rate, 0.2)).float()
    # A matrix product of more rows may add in another order: rounding of values near 0.2.
    torch.testing.assert_close(resample(cut(samples, lengths), rate), resample([samples], rate), rtol=0, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(rate=st.sampled_from([384_000, 250_000, 192_000, 960_000, *SOXR]), samples=st.integers(1, 3000))
def test_n_samples_become_n_times_the_ratio_rounded_up(rate, samples) -> None:
    assert len(resample([torch.ones(samples)], rate)) == ceil(samples * TARGET / rate)


@pytest.mark.parametrize("rate", SINC + SOXR)
def test_what_the_mel_bands_hear_passes_unchanged_and_undelayed(rate) -> None:
    """Up to 100 kHz, or 0.9 of Nyquist where that is lower: the level within 0.05 dB, the phase within 1e-3 (3 ns)."""
    highest = min(100_000, 0.9 * rate / 2)
    for hz in np.linspace(10_000, highest, 6):
        through = response(hz, rate)
        assert abs(20 * np.log10(abs(through))) < 0.05, f"{hz:.0f} Hz"
        assert abs(np.angle(through)) < 1e-3, f"{hz:.0f} Hz"


@pytest.mark.parametrize("rate", [384_000, 500_000, 960_000, 383_999])
def test_what_would_alias_into_the_mel_bands_is_rejected_by_70_db(rate) -> None:
    """Tones from 156 kHz to Nyquist would land below 100 kHz."""
    for hz in np.linspace(156_500, 0.99 * rate / 2, 7):
        if abs(hz - TARGET) > 100_000:
            continue  # lands above 100 kHz
        through = resample([torch.from_numpy(tone(hz, 0.05, rate, 1.0)).float()], rate)[500:-500]
        assert 20 * np.log10(float(through.std()) * 2**0.5) < -70, f"{hz:.0f} Hz"


@pytest.mark.parametrize("rate", [*SINC, *SOXR, 1_999_999, 20_001])
def test_a_level_stays_that_level_to_both_ends(rate) -> None:
    made = resample([torch.full((5000,), 1000.0)] * 2, rate)
    # The sinc kernel's own ripple at 0 Hz.
    torch.testing.assert_close(made, torch.full_like(made, 1000), rtol=1e-4, atol=0)


def test_silence_stays_silent() -> None:
    for rate in (384_000, 214_285):
        assert not resample([torch.zeros(5000)] * 2, rate).any()


@pytest.mark.parametrize("rate", [*SINC, 44_100, 220_500, 705_600])
def test_the_sinc_kernel_is_torchaudios_number_for_number(rate) -> None:
    step = gcd(rate, TARGET)
    theirs = Resample(rate // step, TARGET // step, lowpass_filter_width=32).kernel[:, 0].numpy()
    np.testing.assert_array_equal(make_kernel(rate // step, TARGET // step), theirs)


@pytest.mark.parametrize("rate", [312_500, 960_000, 44_100])
def test_arrays_and_tensors_are_resampled_alike(rate) -> None:
    samples = torch.from_numpy(noise(0.05, rate, 6000)).float()
    blocks = cut(samples, [1000, 17, 900])
    kernel = sinc(rate).kernel
    made = np.concatenate(list(kernel.stream((block[None].numpy() for block in blocks), kernel)), 1)[0]
    np.testing.assert_allclose(made, resample(blocks, rate).numpy(), rtol=0, atol=0.03)  # as against torchaudio above
