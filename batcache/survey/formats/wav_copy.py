"""A WAV copied byte for byte with another ``guan`` chunk.

What lies where is what ``features.files.wav`` has found, as when the recording was judged. A chunk is a head of 8 bytes
(its name and its length), its content, and to an even length one byte more. In an RF64 the file's size stands first in
its chunk ``ds64``, else in the file's head. What follows the last whole chunk is no chunk, and is copied too.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from batcache.features.files.riff import RECORDINGS, Chunk
from batcache.features.files.wav import HeaderError, read_wav

GUANO = b"guan"
_HEAD = struct.Struct("<4sI")
_BEYOND = 0xFFFFFFFF
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Layout:
    """What lies where in a WAV: its whole chunks; ``size`` is the file's, in bytes."""

    is_rf64: bool
    chunks: tuple[Chunk, ...]
    size: int

    @property
    def guano(self) -> Chunk | None:
        """The chunk to be replaced."""
        return next((chunk for chunk in self.chunks if chunk.name == GUANO), None)

    def end_of(self, chunk: Chunk) -> int:
        """The byte behind a chunk and, where it has one, its pad byte."""
        is_followed = any(other.start - _HEAD.size == chunk.end for other in self.chunks)
        return chunk.end if is_followed else min(chunk.end + (chunk.claimed & 1), self.size)


def read_layout(file: BinaryIO) -> Layout:
    """Find the chunks of a WAV.

    Raises:
        ValueError: it is none, or one that cannot be written again: with several ``guan`` chunks, or without its sizes.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(12)
    if head[:4] not in RECORDINGS or head[8:] != b"WAVE":
        raise ValueError("no WAV: GUANO has its place in a WAV")
    try:
        found = read_wav(file, size).chunks
    except HeaderError as error:
        raise ValueError(str(error.args[0])) from None
    chunks = tuple(chunk for chunk in found if chunk.there == chunk.claimed)
    names = [chunk.name for chunk in chunks]
    if names.count(GUANO) > 1:
        raise ValueError(f"{names.count(GUANO)} guan chunks, expected one")
    is_rf64 = head[:4] != b"RIFF"
    if is_rf64 and names[0] != b"ds64":
        raise ValueError("an RF64 without a ds64 chunk")
    return Layout(is_rf64, chunks, size)


def write_copy(source: BinaryIO, target: BinaryIO, layout: Layout, guano: bytes) -> None:
    """Copy a WAV with this GUANO, in the place of the one that it has or behind its last chunk.

    Raises:
        ValueError: a RIFF file would be larger than its sizes can say.
        OSError: the disk refuses.
    """
    padded = guano + b"\n" * (len(guano) & 1)  # white space, so that the chunk needs no further byte
    chunk = _HEAD.pack(GUANO, len(padded)) + padded
    old, last = layout.guano, layout.chunks[-1]
    end = layout.end_of(last)
    first, then = (end, end) if old is None else (old.start - _HEAD.size, layout.end_of(old))
    missing = b"\0" * (last.end + (last.claimed & 1) - end) if old is None else b""  # its pad byte
    end_of_chunks = end + len(missing) + len(chunk) - (then - first)
    if not layout.is_rf64 and end_of_chunks - 8 >= _BEYOND:
        raise ValueError("with GUANO it would be larger than a WAV can be")
    _copy(source, target, 0, first)
    target.write(missing + chunk)
    _copy(source, target, then, layout.size)
    if layout.is_rf64:
        target.seek(layout.chunks[0].start)
        target.write(struct.pack("<Q", end_of_chunks - 8))
    else:
        target.seek(4)
        target.write(struct.pack("<I", end_of_chunks - 8))
    target.seek(0, 2)


def _copy(source: BinaryIO, target: BinaryIO, first: int, end: int) -> None:
    source.seek(first)
    while first < end:
        block = source.read(min(_BLOCK, end - first))
        if not block:
            raise OSError(f"ended {end - first} bytes early")
        target.write(block)
        first += len(block)
