"""FLAC headers: STREAMINFO, the blocks that carry a WAV's chunks, and the frames' own word on rate and length.

A frame says in its first bytes which samples it holds and, mostly, at which rate: so the last one tells where a file
ends that STREAMINFO may have cut short. Its header: 14 bits of 1, whether frames differ in length, codes for block
size, rate, channels and sample size, its number (or that of its first sample) as UTF-8 codes a character, and a CRC-8.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import soundfile

from batcache.features.files.riff import TAGS, Chunk
from batcache.features.files.wav import COPY_AGAIN, HeaderError

_MOST_BLOCKS = 10_000
_SHORTEST_FRAME = 10  # bytes: header, one constant subframe, checksums
_RATES = (0, 88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
_RATE_BYTES, _RATE_UNITS = {12: 1, 13: 2, 14: 2}, (1000, 1, 10)  # behind the number, by code; in Hz
_SIZES = (0, 192, 576, 1152, 2304, 4608, 0, 0, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768)
_SIZE_BYTES = {6: 1, 7: 2}
_MOST_TAGS = 8
_LEAST_TAIL, _MOST_TAIL = 1 << 16, 1 << 20  # bytes at the end among which the last frame is looked for
_MOST_TRIED = 5000


@dataclass(frozen=True, slots=True)
class Flac:
    """What a FLAC says of its samples. ``form`` is STREAMINFO, ``start`` the first byte of its frames."""

    form: bytes
    rate: int
    channels: int
    bits: int
    samples: int
    start: int
    tags: tuple[Chunk, ...]
    unread: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame's header. ``first`` is its first sample, ``rate`` None where STREAMINFO's holds."""

    first: int
    samples: int
    rate: int | None


def skip_id3(file: BinaryIO, start: bytes) -> int:
    """Where a file begins behind the ID3v2 tags that some taggers put before a FLAC. ``start`` are its first bytes."""
    place = 0
    for _ in range(_MOST_TAGS):
        if start[:3] != b"ID3" or len(start) < 10:
            break
        length = 0
        for byte in start[6:10]:
            length = length << 7 | (byte & 0x7F)
        place += 10 + length + (10 if start[5] & 0x10 else 0)
        file.seek(place)
        start = file.read(12)
    return place


class _Behind:
    """A file from behind its tags on, as libsndfile reads it, which does not know all of them."""

    def __init__(self, file: BinaryIO, begin: int) -> None:
        self.file, self.begin = file, begin
        self.seek(0)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place counted from where the FLAC begins, from the present one, or from the end."""
        return self.file.seek(offset + (self.begin if whence == 0 else 0), whence) - self.begin

    def tell(self) -> int:
        """The present place, counted from where the FLAC begins."""
        return self.file.tell() - self.begin

    def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        return self.file.read(count)


@contextmanager
def open_flac(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a FLAC to be decoded.

    Raises:
        OSError, LibsndfileError: it cannot be opened.
    """
    with path.open("rb") as file:
        begin = skip_id3(file, file.read(12))
        with soundfile.SoundFile(_Behind(file, begin) if begin else path) as sound:
            yield sound


def read_flac(file: BinaryIO, begin: int, size: int) -> Flac:
    """Read a FLAC's metadata blocks from ``begin`` on, and hold them against its frames.

    Raises:
        HeaderError: it ends too early, does not say its length, or says another rate or length than its frames.
    """
    form, place, last, tags, cut = b"", begin + 4, False, [], ""
    for _ in range(_MOST_BLOCKS):
        if last:
            break
        file.seek(place)
        head = file.read(16)
        if len(head) < 4:
            raise HeaderError("truncated: the FLAC ends within its metadata", COPY_AGAIN)
        last, kind, length = bool(head[0] & 0x80), head[0] & 0x7F, int.from_bytes(head[1:4], "big")
        if kind == 0:
            form = head[4 : 4 + length] + file.read(max(0, min(length, 64) - 12))
        elif kind == 2 and head[4:8] == b"riff" and head[8:12] in TAGS and len(head) == 16:
            claimed = struct.unpack("<I", head[12:])[0]
            there = max(0, min(claimed, length - 12, size - place - 16))
            tags.append(Chunk(head[8:12], place + 16, claimed, there))
            if there < claimed:
                cut = f"{head[8:12].decode()} chunk claims {claimed:,} bytes, {there:,} are there"
        place += 4 + length
    if len(form) < 34 or place >= size:
        raise HeaderError("truncated: the FLAC holds no samples", COPY_AGAIN)
    facts = int.from_bytes(form[10:18], "big")  # 20 bits rate, 3 channels - 1, 5 bits - 1, 36 samples
    rate, channels, bits = facts >> 44, (facts >> 41 & 7) + 1, (facts >> 36 & 31) + 1
    flac = Flac(form, rate, channels, bits, facts & (1 << 36) - 1, place, tuple(tags), cut)
    if not rate:
        raise HeaderError("not a recording: its header says 0 Hz", COPY_AGAIN)
    if not flac.samples:  # 0 is unknown, as when it was streamed
        raise HeaderError("a FLAC that does not say how many samples it holds", "Encode it again, to a file")
    longest, smallest = int.from_bytes(form[2:4], "big"), int.from_bytes(form[4:7], "big")  # samples, bytes of a frame
    frames = (size - place) // max(smallest, _SHORTEST_FRAME) + 1
    if flac.samples > frames * longest:  # instances are planned by this number
        raise HeaderError(f"truncated: {size - place} bytes cannot hold {flac.samples:,} samples", COPY_AGAIN)
    _check_frames(file, flac, size)
    return flac


def _check_frames(file: BinaryIO, flac: Flac, size: int) -> None:
    file.seek(flac.start)
    first = read_frame(file.read(16), flac.form)
    if first is None:
        return  # it is for the decoder to say what is wrong
    if first.rate not in (None, flac.rate):
        finding = f"contradicts itself: its header says {flac.rate:,} Hz, its frames {first.rate:,} Hz"
        raise HeaderError(finding, "Encode it again")
    last = find_last_frame(file, flac, size)
    if last is not None and last.first + last.samples > flac.samples:
        there = last.first + last.samples
        finding = f"contradicts itself: its header says {flac.samples:,} samples, its frames hold {there:,}"
        raise HeaderError(finding, "Encode it again")


def find_last_frame(file: BinaryIO, flac: Flac, size: int) -> Frame | None:
    """The last frame whose header stands near the file's end; None where there is none. All begin like the first."""
    file.seek(flac.start)
    mark = file.read(2)
    longest = int.from_bytes(flac.form[7:10], "big")
    begin = max(flac.start, size - min(max(_LEAST_TAIL, 2 * longest), _MOST_TAIL))
    file.seek(begin)
    content = file.read(size - begin)
    place = len(content)
    for _ in range(_MOST_TRIED):
        place = content.rfind(mark, 0, place)
        if place < 0:
            break
        if frame := read_frame(content[place : place + 16], flac.form):
            return frame
    return None


def read_frame(head: bytes, form: bytes) -> Frame | None:
    """Read a frame's header, given at least 16 bytes if there are so many, and STREAMINFO; None where it is none."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    number, place = _read_number(head)
    if number is None or size_code == 0 or rate_code == 15:
        return None
    size_bytes, rate_bytes = _SIZE_BYTES.get(size_code, 0), _RATE_BYTES.get(rate_code, 0)
    end = place + size_bytes + rate_bytes
    if end >= len(head) or _crc8(head[:end]) != head[end]:
        return None
    samples = int.from_bytes(head[place : place + size_bytes], "big") + 1 if size_bytes else _SIZES[size_code]
    rate = int.from_bytes(head[place + size_bytes : end], "big") * _RATE_UNITS[rate_code - 12] if rate_bytes else 0
    fixed = int.from_bytes(form[:2], "big")  # samples of every frame but the last, where all are alike
    first = number if head[1] & 1 else number * fixed
    return Frame(first, samples, (rate if rate_bytes else _RATES[rate_code]) or None)


def _read_number(head: bytes) -> tuple[int | None, int]:
    """The number behind the fourth byte, coded as UTF-8 codes a character, and where it ends."""
    lead = head[4]
    if lead < 0x80:
        return lead, 5
    more = 8 - (lead ^ 0xFF).bit_length() - 1
    if not 1 <= more <= 6 or len(head) < 5 + more:
        return None, 5
    number = lead & (0x3F >> more)
    for byte in head[5 : 5 + more]:
        if byte & 0xC0 != 0x80:
            return None, 5
        number = number << 6 | (byte & 0x3F)
    return number, 5 + more


def _crc8(data: bytes) -> int:
    """The checksum of a frame's header: polynomial x^8 + x^2 + x + 1."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc
