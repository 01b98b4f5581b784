"""A rendered clip as a WAV file with a GUANO chunk.

RIFF WAVE, mono, 16-bit PCM, then a chunk ``guan``: UTF-8 lines ``Key: value``, the first ``GUANO|Version: 1.0``
(https://guano-md.org). The file is built here byte for byte, so it holds no clock and no host: same clip, same bytes.
"""

import struct

import numpy as np

from batcache.synth.render import Clip


def guano(clip: Clip, filename: str) -> str:
    """The metadata as GUANO text. It says what was simulated, not where the calls are: that is for the events."""
    names = sorted({event.species for event in clip.events})
    fields = {
        "GUANO|Version": "1.0",
        "Make": "batcache",
        "Model": "simulated",
        "Original Filename": filename,
        "Samplerate": str(clip.rate_hz),
        "Length": f"{len(clip.samples) / clip.rate_hz:.3f}",
        "TE": "1",
        "Temperature Ext": f"{clip.night.air.temperature_c:.1f}",
        "Humidity": f"{clip.night.air.humidity_percent:.0f}",
        "Species Manual ID": ",".join(names),
        "Note": "simulated recording, no bat was there",
    }
    return "\n".join(f"{key}: {value}" for key, value in fields.items() if value) + "\n"


def wav_bytes(clip: Clip, filename: str) -> bytes:
    """The whole file."""
    data = np.asarray(clip.samples, dtype="<i2").tobytes()
    text = guano(clip, filename).encode()
    text += b"\n" * (len(text) % 2)  # chunks have even length
    form = struct.pack("<HHIIHH", 1, 1, clip.rate_hz, 2 * clip.rate_hz, 2, 16)
    body = b"WAVE" + _chunk(b"fmt ", form) + _chunk(b"data", data) + _chunk(b"guan", text)
    return _chunk(b"RIFF", body)


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content
