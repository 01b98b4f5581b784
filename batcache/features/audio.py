"""Audio files: what their headers say, what their samples hash to, and the samples themselves.

Only WAV (RIFF, RF64, BW64, extensible) and FLAC count as recordings. Headers are parsed here, not by libsndfile,
because it shortens a truncated file in silence, and because the content hash must cover the samples and their format
but not the metadata: tagging a file does not make it another recording. A WAV's samples are decoded here too;
libsndfile decodes FLAC.
"""

import re
import stat
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from io import FileIO
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
from blake3 import blake3
from numpy.typing import NDArray

from batcache.errors import AudioError
from batcache.features.files.file_formats import START, name_format
from batcache.features.files.flac import open_flac, read_flac, skip_id3
from batcache.features.files.riff import RECORDINGS, Chunk
from batcache.features.files.wav import COPY_AGAIN, HeaderError, read_wav
from batcache.features.levels import Levels

NO_SUCH_FILE = "no such file"
_HASH_BLOCK = 1 << 20
_FEW_SAMPLES = 1 << 13
_ZERO_CROSSING = re.compile(r"\.(zc|\d\d#)$", re.IGNORECASE)
_FLAC_SUBTYPES = {8: "PCM_S8", 16: "PCM_16", 24: "PCM_24"}
_WIDTHS = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}  # bytes of a WAV's samples
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
    channel: int = 1
    """The channel that is taken, counted from 1."""
    warning: str = ""
    """What of the header was not believed; empty where it agrees with itself and the file."""
    tags: tuple[Chunk, ...] = ()
    """The chunks that say something of the recording, of those in ``files.riff.TAGS``."""
    unread: str = ""
    """What stands beside the samples that could not be read as chunks."""


def read_header(path: Path, channel: int = 1) -> AudioHeader:
    """Return a file's header, having checked that all the audio it promises is there. ``channel`` is to be taken.

    Raises:
        AudioError: missing, empty, truncated, zero-crossing, not WAV or FLAC, of a coding that is not lossless, without
            such a channel, or contradicting itself.
    """
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise AudioError(path, "a pipe or a device, expected a file", COPY_AGAIN)  # opening one may never return
        with path.open("rb") as file:
            if status.st_size == 0:
                raise AudioError(path, "empty file (0 bytes)", COPY_AGAIN)
            header = _read(path, file, status.st_size)
    except HeaderError as error:
        raise AudioError(path, *error.args) from None
    except FileNotFoundError:
        raise AudioError(path, NO_SUCH_FILE, "Correct the row or pass --data-dir") from None
    except OSError as error:
        raise AudioError(path, f"cannot be read ({error.strerror})", "Check the disk and the permissions") from None
    if channel > header.channels:
        raise AudioError(path, f"no channel {channel}: it has {header.channels}", "Correct its row's channel")
    return header if channel == 1 else replace(header, channel=channel)


def _read(path: Path, file: BinaryIO, size: int) -> AudioHeader:
    start = file.read(12)
    if _ZERO_CROSSING.search(path.name):
        raise HeaderError("a zero-crossing file, which holds no waveform", "Use the full-spectrum WAV")
    if start[:4] in RECORDINGS and start[8:12] == b"WAVE":
        wav = read_wav(file, size)
        read = wav.format
        return AudioHeader(
            rate=read.rate,
            channels=read.channels,
            samples=wav.length // read.block,
            subtype=read.subtype,
            format=wav.form,
            audio_start=wav.start,
            audio_bytes=wav.length,
            compressed=False,
            warning=wav.warning,
            tags=wav.tags,
            unread=wav.unread,
        )
    begin = skip_id3(file, start)
    file.seek(begin)
    if file.read(4) != b"fLaC":
        file.seek(0)
        raise HeaderError(*name_format(file.read(START)))
    flac = read_flac(file, begin, size)
    if flac.bits not in _FLAC_SUBTYPES:
        raise HeaderError(f"coded in {flac.bits} bits, expected 8, 16 or 24", "Convert it to PCM")
    return AudioHeader(
        rate=flac.rate,
        channels=flac.channels,
        samples=flac.samples,
        subtype=_FLAC_SUBTYPES[flac.bits],
        format=flac.form,
        audio_start=flac.start,
        audio_bytes=size - flac.start,
        compressed=True,
        tags=flac.tags,
        unread=flac.unread,
    )


def content_hash(path: Path, header: AudioHeader) -> str:
    """BLAKE3 of the samples as stored, of their format, and of which channel is taken where that is not the first.

    Metadata do not enter. Raises as ``content_hashes``.
    """
    return content_hashes(path, header)[0]


def content_hashes(path: Path, header: AudioHeader) -> tuple[str, str]:
    """The content hash, and the one that it would be for the first channel, which are one where that is taken.

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
    first = digest.hexdigest()
    if header.channel > 1:
        digest.update(b"channel %d" % header.channel)
    return digest.hexdigest(), first


def read_blocks(
    path: Path, header: AudioHeader, block: int, levels: Levels | None = None, first: int = 0
) -> Generator[NDArray[np.int16] | NDArray[np.float32], None, None]:
    """Yield the channel of ``header`` in blocks of ``block`` samples: int16 for a 16-bit file, else float32 in -1..1.

    ``levels`` hears all channels. ``first`` is the sample to begin with.

    Raises:
        AudioError: samples that are missing, not decodable, NaN, infinite or a million times full scale.
    """
    blocks = _decode_flac(path, header, block, first) if header.compressed else _read_wav(path, header, block, first)
    taken, done = header.channel - 1, first
    for samples in blocks:
        if levels is not None:
            levels.add(samples, taken)
        one = samples[:, taken]
        if one.dtype == np.float32 and not (np.abs(one) <= _LOUDEST).all():  # NaN compares false
            finding = f"holds NaN, infinite or absurdly large samples after sample {done}"
            raise AudioError(path, finding, "Export it again")
        done += len(one)
        yield one


def is_constant(path: Path, header: AudioHeader) -> bool:
    """Whether the channel of ``header`` holds nothing but one value; no more is read than until two differ.

    Raises:
        AudioError: as ``read_blocks``.
    """
    value = None
    with closing(read_blocks(path, header, _FEW_SAMPLES)) as blocks:
        for samples in blocks:
            value = samples[0] if value is None else value
            if (samples != value).any():
                return False
    return True


def _decode_flac(path: Path, header: AudioHeader, block: int, first: int) -> Iterator[NDArray[Any]]:
    dtype, done = "int16" if header.subtype == "PCM_16" else "float32", first
    try:
        with open_flac(path) as sound:
            if first:
                sound.seek(first)
            while done < header.samples:
                samples = sound.read(min(block, header.samples - done), dtype=dtype, always_2d=True)
                if not len(samples):
                    raise AudioError(path, f"truncated: {done} of {header.samples} samples are there", COPY_AGAIN)
                done += len(samples)
                yield samples
    except (soundfile.LibsndfileError, OSError, TypeError) as error:
        said = getattr(error, "error_string", error)  # the whole repeats the path
        raise AudioError(path, f"cannot be decoded after sample {done} ({said})", COPY_AGAIN) from None


def _read_wav(path: Path, header: AudioHeader, block: int, first: int) -> Iterator[NDArray[Any]]:
    width, done = _WIDTHS[header.subtype], first
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(header.audio_start + first * header.channels * width)
            while done < header.samples:
                raw = np.empty((min(block, header.samples - done), header.channels, width), np.uint8)
                missing = _fill(file, raw)
                if missing:
                    done += len(raw) - ceil(missing / raw.strides[0])
                    raise AudioError(path, f"truncated: {done} of {header.samples} samples are there", COPY_AGAIN)
                done += len(raw)
                yield _to_samples(raw, header.subtype)
    except OSError as error:
        raise AudioError(path, f"cannot be read ({error.strerror})", "Check the disk and the permissions") from None


def _fill(file: FileIO, raw: NDArray[np.uint8]) -> int:
    """Read until ``raw`` is full; returns how many bytes the file lacked."""
    left = raw.reshape(-1).data
    while len(left) and (count := file.readinto(left)):
        left = left[count:]
    return len(left)


def _to_samples(raw: NDArray[np.uint8], subtype: str) -> NDArray[Any]:
    """Stored samples as numbers: int16 of 16 bits, else float32 in -1..1.

    Shape: ``[n, channels, bytes]`` -> ``[n, channels]``.
    """
    match subtype:
        case "PCM_16":
            return raw.view("<i2")[..., 0]
        case "PCM_U8":
            return (raw[..., 0].astype(np.float32) - 128) * np.float32(2**-7)
        case "PCM_24":
            wide = np.zeros((*raw.shape[:2], 4), np.uint8)
            wide[..., 1:] = raw
            return wide.view("<i4")[..., 0].astype(np.float32) * np.float32(2**-31)
        case "PCM_32":
            return raw.view("<i4")[..., 0].astype(np.float32) * np.float32(2**-31)
        case "FLOAT":
            return raw.view("<f4")[..., 0].astype(np.float32, copy=False)
        case _:
            with np.errstate(over="ignore"):  # infinite then, and refused
                return raw.view("<f8")[..., 0].astype(np.float32)
