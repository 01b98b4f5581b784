"""A moment of a recording, slowed ten times, so that a bat can be heard."""

import wave
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batcache.errors import AudioError
from batcache.features.audio import content_hash, read_blocks, read_header
from batcache.store.format.commit import CachedRecording

SLOWER = 10
_HIGHEST_RATE = 240_000
"""Hz: enough for bats, who call below 120 kHz, and slowed ten times it plays at 24,000 Hz."""
_FADE_S = 0.002
_PEAK = 0.9


def slow_down(path: Path, row: CachedRecording, start_s: float, seconds: float, from_hz: float) -> bytes:
    """A span of a recording as a WAV of 16 bits that lasts ten times as long.

    What lies below ``from_hz`` is left out, since the model does not hear it and a microphone's rumble would drown the
    calls; the rest is made as loud as it can be. ``start_s`` and ``seconds`` are true seconds.

    Raises:
        AudioError: the recording is not there, cannot be read, or is not the one whose features are in the cache.
    """
    header = read_header(path, row.channel)
    status = path.stat()
    unchanged = (status.st_size, status.st_mtime_ns) == (row.size, row.mtime_ns)
    if not unchanged and content_hash(path, header) != row.content:
        raise AudioError(path, "another recording than the one that was judged", "Run `batcache build` again")
    first = min(round(start_s * row.true_rate), header.samples - 1)
    count = max(1, round(seconds * row.true_rate))
    taken = next(read_blocks(path, header, count, first=first))
    scale = 2.0**-15 if taken.dtype == np.int16 else 1.0
    samples: NDArray[np.float64] = taken.astype(np.float64) * scale
    played, rate = band_limit(samples, row.true_rate, from_hz)
    loudest = float(np.abs(played).max(initial=0))
    return _wav(played * (_PEAK / loudest if loudest else 0), round(rate / SLOWER))


def band_limit(samples: NDArray[np.float64], rate: int, from_hz: float) -> tuple[NDArray[np.float64], float]:
    """Samples without what lies below ``from_hz``, at no more than 240,000 Hz, faded at both ends; and their rate.

    One transform of the whole span does both: bins below are set to 0, those above half the new rate are cut off.
    """
    fade = np.minimum(1, np.minimum(np.arange(len(samples)), np.arange(len(samples))[::-1]) / (_FADE_S * rate))
    spectrum = np.fft.rfft(samples * fade)
    spectrum[: int(np.ceil(from_hz * len(samples) / rate))] = 0
    length = min(len(samples), max(1, round(len(samples) * _HIGHEST_RATE / rate)))
    played: NDArray[np.float64] = np.fft.irfft(spectrum[: length // 2 + 1], length) * (length / len(samples))
    return played, rate * length / len(samples)


def _wav(samples: NDArray[np.float64], rate: int) -> bytes:
    content = BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return content.getvalue()
