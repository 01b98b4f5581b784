"""The laws of ``batcache.features.kernels``: three taps are a window, whatever the length, and lose no precision."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcache.features import kernels
from batcache.features.kernels import hann_magnitudes


def windowed(frames: np.ndarray) -> np.ndarray:
    """In float64."""
    size = frames.shape[1]
    window = (1 - np.cos(2 * np.pi * np.arange(size) / size)) / 2
    return np.abs(np.fft.rfft(frames.astype(np.float64) * window))


def tapped(frames: np.ndarray, bins: int) -> np.ndarray:
    made = np.full((len(frames), bins), np.nan, np.float32)
    hann_magnitudes(np.fft.rfft(frames).astype(np.complex64), made)
    return made


@settings(deadline=None, max_examples=40)
@given(half=st.integers(2, 200), frames=st.integers(0, 5), seed=st.integers(0, 99), data=st.data())
def test_taps_are_the_window_in_every_bin_of_any_even_length(half, frames, seed, data) -> None:
    samples = np.random.default_rng(seed).standard_normal((frames, 2 * half)).astype(np.float32)
    bins = data.draw(st.integers(2, half + 1))
    # Float32 sums of up to 400 values near 1.
    np.testing.assert_allclose(tapped(samples, bins), windowed(samples)[:, :bins], rtol=0, atol=2e-5)


@pytest.mark.parametrize("offset", [0.0, 1.0, 32_000.0])
def test_a_whisper_beside_a_loud_offset_and_rumble_is_heard_as_well_as_through_a_window(offset) -> None:
    """What leaks from them into the bare spectrum cancels, but for float32 rounding, which a window leaves as well."""
    time = np.arange(1536) / 384_000
    loud = offset + 1000 * np.sin(2 * np.pi * 700 * time)
    frame = (loud + np.sin(2 * np.pi * 45_000 * time))[None].astype(np.float32)
    window = np.hanning(1537)[:-1].astype(np.float32)
    exact, before = windowed(frame), np.abs(np.fft.rfft(frame * window))
    off, off_before = (np.abs(made - exact)[:, 40:481].max() for made in (tapped(frame, 769), before))
    assert off < 2 * max(off_before, 1e-4) and off < 1e-6 * np.abs(loud).sum()


def test_threads_that_begin_at_once_compile_once(monkeypatch) -> None:
    compiled: list[object] = []

    def njit(*settings: object, **more: object) -> Callable[[object], object]:
        compile_it = numba_njit(*settings, **more)
        return lambda loop: compiled.append(loop) or compile_it(loop)

    numba_njit = numba.njit
    monkeypatch.setattr(numba, "njit", njit)
    monkeypatch.setattr(kernels, "_LOOPS", {})
    spectra, made = np.ones((1, 3), np.complex64), np.empty((8, 1, 3), np.float32)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda out: hann_magnitudes(spectra, out), made))
    assert len(compiled) == 1 and not made.any()
