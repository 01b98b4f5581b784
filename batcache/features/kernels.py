"""Loops compiled for the CPU: one pass over memory where array libraries take many, or have none that fits."""

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_COMPILING = threading.Lock()
_LOOPS: dict[Callable[..., None], Callable[..., None]] = {}
_HALF, _QUARTER = np.float32(0.5), np.float32(0.25)  # Python's would make float64 of all


def hann_magnitudes(spectra: NDArray[np.complex64], magnitudes: NDArray[np.float32]) -> None:
    """Write the magnitudes of the spectra that frames have under a Hann window, given those that they have bare.

    The window ``(1 - cos(2 pi n / N)) / 2`` is three taps on a spectrum X: ``(2 X[k] - X[k-1] - X[k+1]) / 4``. On both
    sides of bin 0, and of the one at Nyquist's frequency, stands the same number, conjugated.

    Shape: spectra ``[frames, N / 2 + 1]``; magnitudes ``[frames, bins]``, of the lowest bins. Both contiguous.
    """
    compiled(_hann_magnitudes, "void(complex64[:,::1], float32[:,::1])")(spectra, magnitudes)


def smooth(energy: NDArray[np.float32], s: float, level: NDArray[np.float32], levels: NDArray[np.float32]) -> None:
    """Run the smoother ``level += s (energy - level)`` through the frames; write the levels, and leave the last.

    Shape: energy and levels ``[frames, bands]``; level ``[bands]``. All contiguous.
    """
    compiled(_smooth, "void(float32[:,::1], float32, float32[::1], float32[:,::1])")(energy, s, level, levels)


def compiled(loop: Callable[..., None], signature: str) -> Callable[..., None]:
    """Compile a loop for this machine, once a process; it runs without the GIL.

    It is not kept on disk: numba's files carry no checksum.
    """
    import numba  # only where it is needed: it takes a second

    with _COMPILING:
        if loop not in _LOOPS:
            _LOOPS[loop] = numba.njit(signature, nogil=True, error_model="numpy")(loop)
        return _LOOPS[loop]


def _hann_magnitudes(spectra: NDArray[np.complex64], magnitudes: NDArray[np.float32]) -> None:
    last = spectra.shape[1] - 1
    for frame in range(spectra.shape[0]):
        x, out = spectra[frame], magnitudes[frame]
        out[0] = _HALF * np.abs(x[0].real - x[1].real)
        for k in range(1, min(out.shape[0], last)):
            tapped = x[k] + x[k] - x[k - 1] - x[k + 1]
            out[k] = _QUARTER * np.sqrt(tapped.real * tapped.real + tapped.imag * tapped.imag)
        if out.shape[0] > last:
            out[last] = _HALF * np.abs(x[last].real - x[last - 1].real)


def _smooth(
    energy: NDArray[np.float32], s: np.float32, level: NDArray[np.float32], levels: NDArray[np.float32]
) -> None:
    for frame in range(energy.shape[0]):
        now, out = energy[frame], levels[frame]
        for band in range(level.shape[0]):
            level[band] += s * (now[band] - level[band])
            out[band] = level[band]
