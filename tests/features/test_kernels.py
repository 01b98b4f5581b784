"""The laws of ``batcache.features.kernels``: three taps are a window, whatever the length, and lose no precision."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


COMPUTE = """
import sys
import numpy as np
from batcache.features.kernels import hann_magnitudes
made = np.empty((1, 3), np.float32)
hann_magnitudes(np.array([[1, -1j, -1]], np.complex64), made)
print(made.tolist())
"""
UNWRITABLE = """
from numba.core import caching
def refuse(self):
    raise OSError("read-only")
for locator in caching.CacheImpl._locator_classes:
    locator.ensure_cache_path = refuse
"""


def compute(code: str, kept: Path) -> str:
    """What a new process says, which keeps what it compiles in a folder."""
    command, settings = [sys.executable, "-c", code], os.environ | {"NUMBA_CACHE_DIR": str(kept)}
    run = subprocess.run(command, check=False, capture_output=True, text=True, env=settings)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_where_nothing_can_be_kept_it_is_compiled_anew(tmp_path) -> None:
    assert compute(UNWRITABLE + COMPUTE, tmp_path) == compute(COMPUTE, tmp_path / "kept") == "[[0.5, 0.5, 0.5]]\n"
    assert not [*tmp_path.glob("*.nb?")] and [*(tmp_path / "kept").rglob("*.nbi")]


@pytest.mark.parametrize("left", [0, 0.5])
def test_what_was_kept_and_is_damaged_is_compiled_anew(tmp_path, left) -> None:
    """As after a power cut."""
    right = compute(COMPUTE, tmp_path)
    for kept in (path for path in tmp_path.rglob("*.nb?") if path.is_file()):
        os.truncate(kept, int(left * kept.stat().st_size))
        assert compute(COMPUTE, tmp_path) == right
