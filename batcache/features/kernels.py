"""Loops compiled for the CPU: one pass over memory where array libraries take many, or none that fits."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Loop = TypeVar("Loop", bound=Callable[..., None])
_HALF, _QUARTER = np.float32(0.5), np.float32(0.25)  # Python's would make float64 of all


def _compiled(loop: Loop) -> Loop:
    """Compile for this machine on the first call, and keep what comes of it where a folder for that can be written."""
    settings: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: Loop = numba.njit(loop, cache=True, **settings)
    except RuntimeError:  # there is no such folder
        compiled = numba.njit(loop, **settings)
    return compiled


@_compiled
def hann_magnitudes(spectra: NDArray[np.complex64], magnitudes: NDArray[np.float32]) -> None:
    """Write the magnitudes of the spectra that frames have under a Hann window, given those that they have bare.

    The window ``(1 - cos(2 pi n / N)) / 2`` is three taps on a spectrum X: ``(2 X[k] - X[k-1] - X[k+1]) / 4``. On both
    sides of bin 0, and of the one at Nyquist's frequency, stands the same number, conjugated.

    Shape: spectra ``[frames, N / 2 + 1]``; magnitudes ``[frames, bins]``, of the lowest bins.
    """
    last = spectra.shape[1] - 1
    for frame in range(spectra.shape[0]):
        x, out = spectra[frame], magnitudes[frame]
        out[0] = _HALF * np.abs(x[0].real - x[1].real)
        for k in range(1, min(out.shape[0], last)):
            tapped = x[k] + x[k] - x[k - 1] - x[k + 1]
            out[k] = _QUARTER * np.sqrt(tapped.real * tapped.real + tapped.imag * tapped.imag)
        if out.shape[0] > last:
            out[last] = _HALF * np.abs(x[last].real - x[last - 1].real)


@_compiled
def smooth(energy: NDArray[np.float32], s: np.float32, level: NDArray[np.float32], levels: NDArray[np.float32]) -> None:
    """Run the smoother ``level += s (energy - level)`` through the frames; write the levels, and leave the last.

    Shape: energy and levels ``[frames, bands]``; level ``[bands]``.
    """
    for frame in range(energy.shape[0]):
        now, out = energy[frame], levels[frame]
        for band in range(level.shape[0]):
            level[band] += s * (now[band] - level[band])
            out[band] = level[band]
