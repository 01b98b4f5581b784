"""A WAV copied byte for byte with another ``guan`` chunk: RIFF, RF64 and extensible files of any coding.

A RIFF file is a head of 12 bytes (``RIFF``, its size, ``WAVE``) and chunks, each a name, a uint32 length and so many
bytes, to an even place. In an RF64, sizes that do not fit stand in its chunk ``ds64``: that of the file first, that of
the samples second. What follows the last whole chunk is no chunk, and is copied too.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

GUANO = b"guan"
_HEAD = struct.Struct("<4sI")
_BEYOND = 0xFFFFFFFF
_BLOCK = 1 << 20
_MOST_CHUNKS = 10_000


@dataclass(frozen=True)
class Chunk:
    """A chunk: its name, where its head begins, its length as claimed, and where the next one begins."""

    name: bytes
    start: int
    length: int
    end: int


@dataclass(frozen=True)
class Layout:
    """What lies where in a WAV; ``size`` is the file's, in bytes."""

    is_rf64: bool
    chunks: tuple[Chunk, ...]
    size: int

    @property
    def guano(self) -> Chunk | None:
        """The chunk to be replaced."""
        return next((chunk for chunk in self.chunks if chunk.name == GUANO), None)


def read_layout(file: BinaryIO) -> Layout:
    """Find the chunks of a WAV.

    Raises:
        ValueError: it is none, or one that cannot be written again: with several ``guan`` chunks, or without its sizes.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        raise ValueError("no WAV: GUANO has its place in a WAV")
    chunks = tuple(_walk(file, size))
    names = [chunk.name for chunk in chunks]
    if names.count(GUANO) > 1:
        raise ValueError(f"{names.count(GUANO)} guan chunks, expected one")
    if head[:4] == b"RF64" and names[:1] != [b"ds64"]:
        raise ValueError("an RF64 without a ds64 chunk")
    if b"data" not in names:
        raise ValueError("no whole data chunk")
    return Layout(head[:4] == b"RF64", chunks, size)


def _walk(file: BinaryIO, size: int) -> Iterator[Chunk]:
    place, long_size = 12, 0
    for _ in range(_MOST_CHUNKS):
        if place + 8 > size:
            return
        file.seek(place)
        name, length = _HEAD.unpack(file.read(8))
        if not (name.isascii() and name.decode().isprintable()):
            return
        if name == b"ds64":
            long_size = struct.unpack("<Q", file.read(16)[8:].ljust(8, b"\0"))[0]
        elif name == b"data" and length == _BEYOND and long_size:
            length = long_size
        end = place + 8 + length
        if end > size:
            return
        yield Chunk(name, place, length, min(end + (length & 1), size))
        place = end + (length & 1)


def write_copy(source: BinaryIO, target: BinaryIO, layout: Layout, guano: bytes) -> None:
    """Copy a WAV with this GUANO, in the place of the one that it has or behind its last chunk.

    Raises:
        ValueError: a RIFF file would be larger than its sizes can say.
        OSError: the disk refuses.
    """
    padded = guano + b"\n" * (len(guano) & 1)  # white space, so that the chunk needs no further byte
    chunk = _HEAD.pack(GUANO, len(padded)) + padded
    old, last = layout.guano, layout.chunks[-1]
    behind = b"\0" * (last.start + 8 + last.length + (last.length & 1) - last.end)  # that the last chunk lacks
    first, then = (last.end, last.end) if old is None else (old.start, old.end)
    missing = behind if old is None else b""
    end_of_chunks = last.end + len(missing) + len(chunk) - (then - first)
    if not layout.is_rf64 and end_of_chunks - 8 >= _BEYOND:
        raise ValueError("with GUANO it would be larger than a WAV can be")
    _copy(source, target, 0, first)
    target.write(missing + chunk)
    _copy(source, target, then, layout.size)
    if layout.is_rf64:
        target.seek(layout.chunks[0].start + 8)
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
