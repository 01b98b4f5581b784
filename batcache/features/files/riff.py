"""The chunks of a RIFF file: found one after the other, whatever their writers did about the pad byte.

A chunk is a name of four letters, a size (uint32, little-endian) and so many bytes; behind an odd number of bytes
stands one more, which the size does not count. Some writers leave that byte out. So behind an odd chunk both places
are looked at, and the one where a chunk stands is taken.
"""

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

MOST_CHUNKS = 10_000
"""A gigabyte of empty ones is not walked through, 8 bytes a step."""

RECORDINGS = (b"RIFF", b"RF64", b"BW64")
TAGS = (b"guan", b"wamd", b"LIST")
"""Chunks that say something of the recording."""

_KNOWN = frozenset(
    b"fmt |data|ds64|fact|LIST|guan|wamd|bext|iXML|junk|JUNK|PAD |FLLR|id3 |ID3 |cue |smpl|inst|plst|PEAK|cart|axml|"
    b"chna|umid|levl|afsp|_PMX|DISP|SAUR|minf|elm1|regn|LGWV|RIFF|RF64|BW64".split(b"|")
)
_BEHIND = re.compile(b"|".join(re.escape(name) for name in sorted(_KNOWN - {b"fmt ", b"data", b"ds64", *RECORDINGS})))
_TRAILERS = (b"ID3\2", b"ID3\3", b"ID3\4", b"APETAGEX", b"LYRICSBEGIN", b"<?xml", b"<x:xmpmeta")
_TAIL = 1 << 20  # bytes at a file's end that are searched for chunks
_NEAR = 1 << 13  # bytes at a file's end, of what seems sound
_PROBES, _PROBE = 256, 1 << 16


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: where its content begins, how many bytes it claims, and how many of them the file has."""

    name: bytes
    start: int
    claimed: int
    there: int

    @property
    def end(self) -> int:
        """The byte behind its content, if it is as long as it claims."""
        return self.start + self.claimed


@dataclass(frozen=True, slots=True)
class Walk:
    """Chunks in their order, and what the walk ended in.

    ``remark`` says what stands at the file's end that is no chunk, in words; empty where the chunks fill the file.
    ``is_sound`` is false where that may be samples whose size the header has wrong.
    """

    chunks: tuple[Chunk, ...]
    remark: str = ""
    is_sound: bool = True


def read_chunk(file: BinaryIO, place: int, size: int) -> Chunk | None:
    """The chunk whose name stands at ``place`` in a file of ``size`` bytes; None where no name does."""
    if place + 8 > size:
        return None
    file.seek(place)
    name, claimed = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
    return Chunk(name, place + 8, claimed, min(claimed, size - place - 8)) if _is_name(name) else None


def find_next(file: BinaryIO, end: int, size: int, *, odd: bool) -> tuple[int, Chunk | None]:
    """The chunk behind one whose content ends at ``end``, with or without a pad byte where that is ``odd``.

    Returns where it was looked for, and the chunk; None where none stands there.
    """
    if not odd:
        return end, read_chunk(file, end, size)
    padded, tight = read_chunk(file, end + 1, size), read_chunk(file, end, size)
    if tight is not None and _rank(tight) > _rank(padded):
        return end, tight
    return end + 1, padded


def walk(file: BinaryIO, place: int, size: int, riff_end: int | None, *, odd: bool = False) -> Walk:
    """Walk the chunks from ``place`` to the end of the file; or up to the samples, where there are any on the way.

    Args:
        file: to be read.
        place: where the first chunk is expected; where the content of the one before ends, if that has an ``odd`` size.
        size: of the file, in bytes.
        riff_end: where the chunks end by the size in the file's first chunk, if that says something.
        odd: whether there may be a pad byte at ``place``.
    """
    chunks: list[Chunk] = []
    for _ in range(MOST_CHUNKS):
        place, chunk = find_next(file, place, size, odd=odd)
        if chunk is None:
            return Walk(tuple(chunks), *_what_remains(file, place, size))
        if chunk.there < chunk.claimed and chunk.name not in _KNOWN and riff_end not in (chunk.end, chunk.end + 1):
            return Walk(tuple(chunks), *_what_remains(file, place, size))
        chunks.append(chunk)
        if chunk.name == b"data" or chunk.name in RECORDINGS:
            return Walk(tuple(chunks))
        if chunk.there < chunk.claimed:
            name = chunk.name.decode()
            cut = f"{name} chunk claims {chunk.claimed:,} bytes, {chunk.there:,} are there"
            return Walk(tuple(chunks), cut)
        place, odd = chunk.end, bool(chunk.claimed & 1)
    return Walk(tuple(chunks), f"what follows {MOST_CHUNKS:,} chunks")


def find_tail(file: BinaryIO, begin: int, size: int) -> tuple[Chunk, ...]:
    """The chunks at a file's end, all of known names, the last of which ends where the file does; none if there are no
    such. They are searched for where the size of what stands before them is not known, not before ``begin``.
    """
    begin = max(begin, size - _TAIL)
    file.seek(begin)
    content = file.read(size - begin)
    left = MOST_CHUNKS
    for found in _BEHIND.finditer(content):
        chain, is_whole = _follow(file, begin + found.start(), size, left)
        if is_whole:
            return chain
        left -= len(chain) + 1
        if left <= 0:
            break
    return ()


def hides_tags(file: BinaryIO, begin: int, size: int) -> bool:
    """Whether the name of a chunk that says something of the recording stands near the file's end, behind ``begin``."""
    begin = max(begin, size - _NEAR)
    file.seek(begin)
    content = file.read(size - begin)
    return any(name in content for name in TAGS)


def _follow(file: BinaryIO, place: int, size: int, most: int) -> tuple[tuple[Chunk, ...], bool]:
    """Chunks of known names from a place on, no more than ``most``, and whether they end where the file does."""
    chain: list[Chunk] = []
    odd = False
    while len(chain) < most:
        place, chunk = find_next(file, place, size, odd=odd)
        if chunk is None or chunk.name not in _KNOWN or chunk.there < chunk.claimed:
            break
        chain.append(chunk)
        place, odd = chunk.end, bool(chunk.claimed & 1)
        if size - place <= odd:
            return tuple(chain), True
    return tuple(chain), False


def _is_name(name: bytes) -> bool:
    return name.isascii() and name.decode().isprintable()


def _rank(chunk: Chunk | None) -> int:
    """How much speaks for a chunk: a known name, and a size that the file can hold."""
    if chunk is None:
        return 0
    return 1 + (chunk.there == chunk.claimed) + 2 * (chunk.name in _KNOWN)


def _what_remains(file: BinaryIO, place: int, size: int) -> tuple[str, bool]:
    """What stands from ``place`` to the file's end, where no chunk does, and whether it is surely no samples."""
    left = size - place
    if left <= 0:
        return "", True
    file.seek(place)
    start = file.read(min(left, 16))
    if left < 8:
        return (f"its last {left} bytes, which are no chunk", True) if start.strip(b"\0") else ("", True)
    if start.startswith(_TRAILERS) or (start[:3] == b"TAG" and left == 128):
        return f"its last {left:,} bytes, a tag of other formats", True
    if is_zero(file, place, left):
        return f"its last {left:,} bytes, which are 0", True
    return f"its last {left:,} bytes, which are no chunk", False


def is_zero(file: BinaryIO, place: int, count: int) -> bool:
    """Whether so many bytes are all 0. Of very many, a part is looked at, spread over all."""
    step = max(_PROBE, count // _PROBES)
    for begin in (*range(place, place + count, step), place + max(0, count - _PROBE)):
        file.seek(begin)
        if file.read(min(_PROBE, place + count - begin)).strip(b"\0"):
            return False
    return True
