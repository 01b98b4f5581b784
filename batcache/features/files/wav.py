"""WAV headers (RIFF, RF64, BW64): how samples are coded, and where they lie.

All that a header says of them twice or more is compared. How they are coded: block size and byte rate must be what
channels, bits and rate make; a header that contradicts itself there is refused, since nobody knows which of its numbers
is wrong. Where they end: by the data chunk's size (of an RF64 the one in ``ds64``), if chunks follow it up to the end
of the file. Where they do not, ``decide_end`` says what is believed instead and why; nothing is cut off in silence.
"""

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from batcache.features.files.riff import RECORDINGS, TAGS, Chunk, Walk, find_tail, hides_tags, is_zero, walk

COPY_AGAIN = "Copy it again from the recorder or leave it out"
_CONVERT = "Convert it to PCM"
_EXPORT = "Export it again"
_MOST_CHANNELS = 1024
_LONGEST_FORMAT = 64  # bytes of a fmt chunk that are read
_LONGEST_GUANO = 1 << 16
_GUANO = re.compile(rb"^(Length|Samplerate):[ \t]*(\d{1,9}(?:\.\d{1,9})?)[ \t\r]*$", re.MULTILINE)
_SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")  # what follows a coding's number in an extensible fmt
_CODINGS = {
    **{2: "MS_ADPCM", 6: "ALAW", 7: "ULAW", 0x10: "OKI_ADPCM", 0x11: "IMA_ADPCM", 0x31: "GSM610", 0x50: "MPEG"},
    **{0x55: "MP3", 0x40: "G721_32", 0xFF: "AAC", 0x160: "WMA", 0x161: "WMA", 0x674F: "VORBIS", 0xF1AC: "FLAC"},
}
_PCM = {1: "PCM_U8", 2: "PCM_16", 3: "PCM_24", 4: "PCM_32"}
_FLOAT = {4: "FLOAT", 8: "DOUBLE"}
_UNKNOWN_SIZES = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7FFFF000)
"""What is written where the length is not known yet: by recorders that lose power, and into pipes."""


class HeaderError(Exception):
    """A header that cannot be believed: args are the finding and the remedy."""


@dataclass(frozen=True, slots=True)
class Format:
    """How samples are coded. ``block`` is the bytes of one sample of all channels, ``warning`` what is odd about it."""

    rate: int
    channels: int
    block: int
    subtype: str
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Wav:
    """What a WAV says of its samples, and its chunks.

    ``form`` is the content of the ``fmt `` chunk, ``start`` and ``length`` are where the samples lie, in bytes.
    ``chunks`` are all in their order, that of the samples as long as they are. ``warning`` says what of the header was
    not believed, ``unread`` what could not be read beside the samples.
    """

    form: bytes
    format: Format
    start: int
    length: int
    chunks: tuple[Chunk, ...]
    warning: str
    unread: str

    @property
    def tags(self) -> tuple[Chunk, ...]:
        """The chunks that say something of the recording."""
        return tuple(chunk for chunk in self.chunks if chunk.name in TAGS)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is known of where the samples end, in bytes.

    ``start`` is their first byte; ``claimed`` what the data chunk says; ``riff_end`` where the file ends by its first
    chunk, None where that says nothing; ``size`` the file's; ``tail`` where chunks begin that fill the file's end,
    None where there are none; ``ends_well`` whether chunks, or nothing, or 0 follow where the data chunk ends;
    ``guano`` how many bytes the GUANO before the samples makes them, and how many it may be off by rounding.
    """

    start: int
    claimed: int
    riff_end: int | None
    size: int
    tail: int | None = None
    ends_well: bool = False
    guano: tuple[float, float] | None = None


def read_wav(file: BinaryIO, size: int) -> Wav:
    """Read a WAV's header and the chunks before and behind its samples.

    Raises:
        HeaderError: it contradicts itself, or its samples are not there or not readable.
    """
    file.seek(0)
    magic, riff_size = struct.unpack("<4sI", file.read(8))
    before = walk(file, 12, size, None)
    if not before.chunks or before.chunks[-1].name != b"data":
        raise HeaderError("truncated or damaged: no samples (no data chunk)", COPY_AGAIN)
    data = before.chunks[-1]
    long_sizes = _read_ds64(file, before.chunks) if magic != b"RIFF" else None
    form = _read_form(file, before.chunks)
    read = read_format(form)
    claimed = long_sizes[1] if long_sizes and data.claimed == 0xFFFFFFFF else data.claimed
    riff_end = _riff_end(long_sizes[0] if long_sizes and riff_size == 0xFFFFFFFF else riff_size)
    behind = _look_behind(file, data.start, claimed, size, riff_end)
    if claimed and behind.is_sound:
        length, warning = claimed, _compare(riff_end, size, long_sizes, claimed, read.block)
    else:
        first = behind.chunks[0].start - 8 if behind.chunks else None
        ends_well = data.start + claimed <= size and behind.is_sound
        guano = _weigh_guano(file, before.chunks, read)
        length, warning = decide_end(Sizes(data.start, claimed, riff_end, size, first, ends_well, guano))
    if length < read.block:
        raise HeaderError(f"holds no samples ({length} bytes are less than one)", COPY_AGAIN)
    chunks = (*before.chunks[:-1], Chunk(data.name, data.start, length, length), *behind.chunks)
    warnings = "; ".join(filter(None, (read.warning, warning)))
    return Wav(form, read, data.start, length, chunks, warnings, behind.remark)


def _look_behind(file: BinaryIO, start: int, claimed: int, size: int, riff_end: int | None) -> Walk:
    """What stands behind samples that begin at ``start``, if they are as long as ``claimed``; sound if that fits.

    Where it does not, these are the chunks of known names at the file's end, if there are any.
    """
    end = start + claimed
    behind = Walk((), is_sound=False)
    if end <= size:
        behind = walk(file, end, size, riff_end, odd=bool(claimed & 1))
        _refuse_another(behind.chunks)
        swallows = not behind.chunks and hides_tags(file, start, size)  # the last chunks, as samples
        if behind.is_sound and not (claimed and swallows):
            return behind
    tail = find_tail(file, start, size)
    if not tail:
        return behind if behind.is_sound else Walk((), is_sound=False)
    filler = tail[0].start - 8 - end
    if claimed and filler >= 0 and is_zero(file, end, filler):
        return Walk(tail, f"{filler:,} bytes behind its samples, which are 0")
    return Walk(tail, is_sound=False)


def decide_end(known: Sizes) -> tuple[int, str]:
    """How many bytes of samples there are, where the data chunk's size cannot be right, and what to say of it. Pure.

    All bytes up to the file's end, or to the chunks there, are taken where something speaks for them: a size that means
    unknown, the size in the RIFF chunk, GUANO's ``Length``, chunks that fill the file's end, or a size that is off by a
    header's.

    Raises:
        HeaderError: nothing does, or there are none.
    """
    there = (known.size if known.tail is None else known.tail) - known.start
    off = known.claimed - there
    if known.claimed > 0 and not there:
        raise HeaderError(f"truncated: 0 of {known.claimed} bytes of audio are there", COPY_AGAIN)
    if not there or (not known.claimed and known.ends_well):
        raise HeaderError("holds no samples (its data chunk is empty)", COPY_AGAIN)
    headers = (0, 8, 36, 44, known.start - 8, known.start)
    unknown = any(known.claimed + header in _UNKNOWN_SIZES for header in headers)
    said = f"its data chunk says {known.claimed:,} bytes, {there:,} are there"
    is_whole = known.riff_end == known.size and off <= there  # more than twice as much is no slip
    if known.guano is not None and off < 0:
        is_whole |= abs(there - known.guano[0]) <= known.guano[1]
    if unknown or is_whole or known.tail is not None or abs(off) in headers:
        return there, f"{said} and taken"
    if off > 0:
        raise HeaderError(f"truncated: {there} of {known.claimed} bytes of audio are there", COPY_AGAIN)
    raise HeaderError(
        f"{said}, and no chunk begins behind it", "Correct its size, or cut off what is behind the samples"
    )


def read_format(form: bytes) -> Format:
    """Read the content of a ``fmt `` chunk. Pure.

    Raises:
        HeaderError: it is too short, contradicts itself, or says a coding other than PCM and float.
    """
    if len(form) < 16:
        raise HeaderError("not a WAV: no format chunk before the samples", COPY_AGAIN)
    tag, channels, rate, byte_rate, block, bits = struct.unpack("<HHIIHH", form[:16])
    says = f"its format says {rate:,} Hz, {channels} channels of {bits} bits"
    if not rate or not 0 < channels <= _MOST_CHANNELS:
        raise HeaderError(f"not a recording: {says}", COPY_AGAIN)
    warning = ""
    if tag == 0xFFFE:
        tag = _read_extension(form, bits)
    elif tag == 1 and bits == 24 and block == 4 * channels:  # 24 bits in 32, as some programs say it
        bits, warning = 32, "its samples of 24 bits stand in 4 bytes: taken as the upper 3"
    if tag not in (1, 3):
        coding = _CODINGS.get(tag, f"number {tag}")
        raise HeaderError(f"coded as {coding}, expected PCM or float samples", _CONVERT)
    width = (bits + 7) // 8
    subtype = (_PCM if tag == 1 else _FLOAT).get(width)
    if subtype is None or (tag == 3 and bits % 32):
        kind = "PCM" if tag == 1 else "float"
        raise HeaderError(f"coded as {kind} of {bits} bits, expected 8, 16, 24 or 32, or float of 32 or 64", _CONVERT)
    if block != channels * width:
        raise HeaderError(f"contradicts itself: {says}, but a block of {block} bytes", _EXPORT)
    if byte_rate not in (0, rate * block % 2**32):
        raise HeaderError(f"contradicts itself: {says}, but {byte_rate:,} bytes a second", _EXPORT)
    return Format(rate, channels, block, subtype, warning)


def _read_extension(form: bytes, bits: int) -> int:
    """The number of the coding in an extensible format."""
    if len(form) < 40:
        raise HeaderError("not a WAV: its extensible format is cut short", COPY_AGAIN)
    valid, _, tag = struct.unpack("<HIH", form[18:26])
    if form[26:40] != _SUBFORMAT:
        raise HeaderError("coded in an unknown way, expected PCM or float samples", _CONVERT)
    if valid > bits:
        raise HeaderError(f"contradicts itself: {valid} valid bits in samples of {bits}", _EXPORT)
    return int(tag)


def _read_form(file: BinaryIO, chunks: tuple[Chunk, ...]) -> bytes:
    forms = [chunk for chunk in chunks if chunk.name == b"fmt "]
    if len(forms) > 1:
        raise HeaderError("contradicts itself: two format chunks", _EXPORT)
    if not forms:
        return b""
    file.seek(forms[0].start)
    return file.read(min(forms[0].there, _LONGEST_FORMAT))


def _weigh_guano(file: BinaryIO, chunks: tuple[Chunk, ...], read: Format) -> tuple[float, float] | None:
    """How many bytes of samples ``Length`` and rate make, by the GUANO before them, and how many rounding may hide."""
    for chunk in chunks:
        if chunk.name == b"guan":
            file.seek(chunk.start)
            said = dict(_GUANO.findall(file.read(min(chunk.there, _LONGEST_GUANO))))
            if b"Length" in said:
                rate = float(said.get(b"Samplerate", read.rate)) * read.block
                decimals = len(said[b"Length"].partition(b".")[2])
                return float(said[b"Length"]) * rate, 0.6 * 10.0**-decimals * rate
    return None


def _read_ds64(file: BinaryIO, chunks: tuple[Chunk, ...]) -> tuple[int, int, int] | None:
    """An RF64's sizes: of RIFF and data chunk in bytes, and the number of samples; None where there are none."""
    for chunk in chunks:
        if chunk.name == b"ds64":
            file.seek(chunk.start)
            riff, data, samples = struct.unpack("<QQQ", file.read(min(chunk.there, 24)).ljust(24, b"\0"))
            return riff, data, samples
    return None


def _riff_end(riff_size: int) -> int | None:
    """Where a file ends by the size in its first chunk; None where that says nothing."""
    return None if riff_size in _UNKNOWN_SIZES else riff_size + 8


def _refuse_another(behind: tuple[Chunk, ...]) -> None:
    """Refuse a file that holds more samples behind the first, or another format for them."""
    for chunk in behind:
        name = chunk.name.decode()
        if chunk.name in RECORDINGS:
            finding = f"two recordings in one file: at byte {chunk.start - 8:,} another {name} begins"
            raise HeaderError(finding, "Cut them apart")
        if chunk.name in (b"data", b"fmt "):
            raise HeaderError(f"contradicts itself: a second {name.strip()} chunk behind its samples", _EXPORT)


def _compare(riff_end: int | None, size: int, long_sizes: tuple[int, int, int] | None, claimed: int, block: int) -> str:
    """What the other sizes of a header say against those of the data chunk and the file, which agree."""
    against = []
    if claimed % block and (claimed % block > 1 or claimed % 2):  # else the pad byte is counted
        against.append(f"its data chunk says {claimed:,} bytes, no whole number of samples of {block}")
    if riff_end is not None and abs(riff_end - size) > 8:  # some count their own name and size
        against.append(f"its RIFF chunk ends at byte {riff_end:,}, the file at {size:,}")
    if long_sizes is not None:
        if long_sizes[1] not in (0, claimed):
            against.append(f"its ds64 chunk says {long_sizes[1]:,} bytes, its data chunk {claimed:,}")
        if long_sizes[2] not in (0, claimed // block):
            against.append(f"its ds64 chunk says {long_sizes[2]:,} samples, there are {claimed // block:,}")
    return "; ".join(against)
