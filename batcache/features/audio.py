"""Audio files: what their headers say, what their samples hash to, and the samples themselves.

Only WAV (RIFF, RF64, extensible) and FLAC count as recordings. Headers are parsed here, not by libsndfile, because
it shortens a truncated file in silence, and because the content hash must cover the samples and their format but
not the metadata: tagging a file does not make it another recording.
"""

import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from math import ceil
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from blake3 import blake3
from numpy.typing import NDArray

from batcache.errors import AudioError

_HASH_BLOCK = 1 << 20
_ZERO_CROSSING = re.compile(r"\.(zc|\d\d#)$", re.IGNORECASE)
_SUBTYPES = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"}
_REMEDY = "Copy it again from the recorder or leave it out"
_MOST_CHUNKS = 10_000  # a gigabyte of empty ones is not walked through, 8 bytes a step
_SHORTEST_FRAME = 10  # bytes, of a FLAC: header, one constant subframe, checksums
_LOUDEST = 1e6  # full scale is 1; near 1e30 features overflow to NaN


@dataclass(frozen=True, slots=True)
class AudioHeader:
    """What a file says of itself. ``rate`` in Hz as written there; time expansion is not applied."""

    rate: int
    channels: int
    samples: int
    subtype: str
    format: bytes
    """The bytes that describe the samples: a WAV's ``fmt `` chunk, a FLAC's STREAMINFO."""
    audio_start: int
    audio_bytes: int
    compressed: bool
    """Whether the samples must be decoded: FLAC."""


def read_header(path: Path) -> AudioHeader:
    """Return a file's header, having checked that all the audio it promises is there.

    Raises:
        AudioError: missing, empty, truncated, zero-crossing, not WAV or FLAC, or of a coding that is not lossless.
    """
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise AudioError(path, "a pipe or a device, expected a file", _REMEDY)  # opening one may never return
        size = status.st_size
        with path.open("rb") as file:
            start = file.read(12)
            if size == 0:
                raise AudioError(path, "empty file (0 bytes)", _REMEDY)
            if _ZERO_CROSSING.search(path.name):
                raise AudioError(path, "a zero-crossing file, which holds no waveform", "Use the full-spectrum WAV")
            if start[:4] in (b"RIFF", b"RF64") and start[8:12] == b"WAVE":
                form, audio_start, audio_bytes = _walk_riff(path, file, size)
            elif start[:4] == b"fLaC":
                form, audio_start, audio_bytes = _walk_flac(path, file, size)
            else:
                raise AudioError(path, f"not audio: begins with {start[:4]!r}, expected RIFF or fLaC", _REMEDY)
    except FileNotFoundError:
        raise AudioError(path, "no such file", "Correct the row or pass --data-dir") from None
    except OSError as error:
        raise AudioError(path, f"cannot be read ({error.strerror})", "Check the disk and the permissions") from None
    with _open(path) as sound:
        if sound.subtype not in _SUBTYPES:
            raise AudioError(path, f"coded as {sound.subtype}, expected PCM or float samples", "Convert it to PCM")
        if not sound.frames:
            raise AudioError(path, f"holds no samples ({audio_bytes} bytes are less than one)", _REMEDY)
        return AudioHeader(
            rate=sound.samplerate,
            channels=sound.channels,
            samples=sound.frames,
            subtype=sound.subtype,
            format=form,
            audio_start=audio_start,
            audio_bytes=audio_bytes,
            compressed=start[:4] == b"fLaC",
        )


def content_hash(path: Path, header: AudioHeader) -> str:
    """BLAKE3 of the samples as stored and of their format; metadata does not enter.

    Raises:
        AudioError: the file cannot be read to the end of its audio.
    """
    digest = blake3(header.format)
    left = header.audio_bytes
    try:
        with path.open("rb") as file:
            file.seek(header.audio_start)
            while left and (block := file.read(min(left, _HASH_BLOCK))):
                digest.update(block)
                left -= len(block)
    except OSError as error:
        raise AudioError(path, f"cannot be read ({error.strerror})", "Check the disk and the permissions") from None
    if left:
        raise AudioError(path, f"ended {left} bytes before its audio does", "Let the copy finish, then run it again")
    return digest.hexdigest()


def read_blocks(path: Path, header: AudioHeader, block: int) -> Iterator[NDArray[np.int16] | NDArray[np.float32]]:
    """Yield the first channel in blocks of ``block`` samples: int16 for a 16-bit file, else float32 in -1..1.

    Raises:
        AudioError: samples that are missing, not decodable, NaN, infinite or a million times full scale.
    """
    if header.subtype == "PCM_16" and not header.compressed:
        yield from _read_int16(path, header, block)
        return
    dtype = "int16" if header.subtype == "PCM_16" else "float32"
    done = 0
    with _open(path) as sound:
        while done < header.samples:
            try:
                samples = sound.read(min(block, header.samples - done), dtype=dtype, always_2d=True)[:, 0]
            except (soundfile.LibsndfileError, OSError) as error:
                raise AudioError(path, f"cannot be decoded after sample {done} ({error})", _REMEDY) from None
            if not len(samples):
                raise AudioError(path, f"truncated: {done} of {header.samples} samples are there", _REMEDY)
            if dtype == "float32" and not (np.abs(samples) <= _LOUDEST).all():  # NaN compares false
                finding = f"holds NaN, infinite or absurdly large samples after sample {done}"
                raise AudioError(path, finding, "Export it again")
            done += len(samples)
            yield samples


def _read_int16(path: Path, header: AudioHeader, block: int) -> Iterator[NDArray[np.int16]]:
    """The same of a 16-bit WAV, whose samples need no decoding."""
    done = 0
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(header.audio_start)
            while done < header.samples:
                samples = np.empty((min(block, header.samples - done), header.channels), "<i2")
                missing = _fill(file, samples)
                if missing:
                    done += len(samples) - ceil(missing / samples.strides[0])
                    raise AudioError(path, f"truncated: {done} of {header.samples} samples are there", _REMEDY)
                done += len(samples)
                yield samples[:, 0]
    except OSError as error:
        raise AudioError(path, f"cannot be read ({error.strerror})", "Check the disk and the permissions") from None


def _fill(file: FileIO, samples: NDArray[np.int16]) -> int:
    """Read until ``samples`` is full; returns how many bytes the file lacked."""
    left = samples.reshape(-1).view(np.uint8).data
    while len(left) and (count := file.readinto(left)):
        left = left[count:]
    return len(left)


def _open(path: Path) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, OSError, TypeError) as error:
        finding = f"not readable as audio ({getattr(error, 'error_string', error)})"  # the whole repeats the path
        raise AudioError(path, finding, _REMEDY) from None


def _walk_riff(path: Path, file: BinaryIO, size: int) -> tuple[bytes, int, int]:
    """Find a WAV's format and where its samples lie: (``fmt `` bytes, first byte, number of bytes)."""
    form, long_size, place = b"", 0, 12
    for _ in range(_MOST_CHUNKS):
        if place + 8 > size:
            break
        file.seek(place)
        name, length = struct.unpack("<4sI", file.read(8))
        if not (name.isascii() and name.decode().isprintable()):
            break  # no chunk: walking on through a megabyte of zeros would take 8 bytes a step
        if name == b"ds64":  # RF64: the sizes that do not fit 32 bits
            long_size = struct.unpack("<Q", file.read(16)[8:].ljust(8, b"\0"))[0]
        elif name == b"fmt ":
            form = file.read(min(length, 64))
        elif name == b"data":
            length = long_size if length == 0xFFFFFFFF and long_size else length
            there = size - place - 8
            if length > there:
                raise AudioError(path, f"truncated: {there} of {length} bytes of audio are there", _REMEDY)
            if length == 0:
                raise AudioError(path, "holds no samples (its data chunk is empty)", _REMEDY)
            if len(form) < 16:
                raise AudioError(path, "not a WAV: no format chunk before the samples", _REMEDY)
            return form, place + 8, length
        place += 8 + length + (length & 1)
    raise AudioError(path, "truncated or damaged: no samples (no data chunk)", _REMEDY)


def _walk_flac(path: Path, file: BinaryIO, size: int) -> tuple[bytes, int, int]:
    """Find a FLAC's STREAMINFO and where its frames lie, past the metadata blocks."""
    form, place, last = b"", 4, False
    for _ in range(_MOST_CHUNKS):
        if last:
            break
        file.seek(place)
        head = file.read(4)
        if len(head) < 4:
            raise AudioError(path, "truncated: the FLAC ends within its metadata", _REMEDY)
        last, kind, length = bool(head[0] & 0x80), head[0] & 0x7F, int.from_bytes(head[1:], "big")
        if kind == 0:
            form = file.read(min(length, 64))
        place += 4 + length
    if len(form) < 34 or place >= size:
        raise AudioError(path, "truncated: the FLAC holds no samples", _REMEDY)
    samples = int.from_bytes(form[13:18], "big") & (1 << 36) - 1
    if not samples:  # 0 is unknown, as when it was streamed
        raise AudioError(path, "a FLAC that does not say how many samples it holds", "Encode it again, to a file")
    longest, smallest = int.from_bytes(form[2:4], "big"), int.from_bytes(form[4:7], "big")  # samples, bytes of a frame
    frames = (size - place) // max(smallest, _SHORTEST_FRAME) + 1
    if samples > frames * longest:  # instances are planned by this number
        raise AudioError(path, f"truncated: {size - place} bytes cannot hold {samples:,} samples", _REMEDY)
    return form, place, size - place
