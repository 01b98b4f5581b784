"""What files are that are neither WAV nor FLAC: named by how they begin, with what to do about it."""

from codecs import getincrementaldecoder

from batcache.errors import quote
from batcache.features.files.riff import RECORDINGS
from batcache.features.files.wav import COPY_AGAIN

_CONVERT = "Convert it to WAV or FLAC"
_LOSSY = "Use the recording it was made from: what a lossy format leaves out cannot be had back"
_UNPACK = "Unpack it"
_LEAVE = "Leave it out"

_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"OggS", "Ogg (mostly Vorbis or Opus, which are lossy)", _LOSSY),
    (b"riff\x2e\x91\xcf\x11", "W64 (Sony Wave64)", _CONVERT),
    (b"RIFX", "RIFX, a WAV with its bytes in the other order", _CONVERT),
    (b"caff", "CAF", _CONVERT),
    (b".snd", "AU", _CONVERT),
    (b"wvpk", "WavPack", _CONVERT),
    (b"MAC ", "Monkey's Audio", _CONVERT),
    (b"TTA1", "True Audio", _CONVERT),
    (b"WAAC", "WAC (Wildlife Acoustics)", _CONVERT),
    (b"NIST_1A", "NIST SPHERE", _CONVERT),
    (b"Creative Voice File", "VOC", _CONVERT),
    (b"#!AMR", "AMR, which is lossy", _LOSSY),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA, which is lossy", _LOSSY),
    (b"\x1a\x45\xdf\xa3", "Matroska or WebM", _LOSSY),
    (b"MThd", "MIDI", _LEAVE),
    (b"ID3", "MP3, which is lossy", _LOSSY),
    (b"PK\3\4", "zip", _UNPACK),
    (b"PK\5\6", "zip, and empty", _LEAVE),
    (b"\x1f\x8b", "gzip", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "7z", _UNPACK),
    (b"Rar!", "RAR", _UNPACK),
    (b"BZh", "bzip2", _UNPACK),
    (b"\xfd7zXZ", "xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "Zstandard", _UNPACK),
    (b"\x89PNG", "a PNG picture", _LEAVE),
    (b"\xff\xd8\xff", "a JPEG picture", _LEAVE),
    (b"GIF8", "a GIF picture", _LEAVE),
    (b"%PDF", "PDF", _LEAVE),
    (b"\x89HDF", "HDF5", _LEAVE),
    (b"SQLite format 3", "a database (SQLite)", _LEAVE),
    (b"\0\5\x16\7", "what macOS puts beside a file (AppleDouble)", _LEAVE),
)
_INSIDE: tuple[tuple[int, bytes, str, str], ...] = (
    (8, b"AIFF", "AIFF", _CONVERT),
    (8, b"AIFC", "AIFF-C", _CONVERT),
    (8, b"8SVX", "IFF (8SVX)", _CONVERT),
    (8, b"AVI ", "AVI", _LEAVE),
    (8, b"WEBP", "a WebP picture", _LEAVE),
    (8, b"RMID", "MIDI", _LEAVE),
    (4, b"ftyp", "MP4 or M4A (mostly AAC, which is lossy)", _LOSSY),
    (257, b"ustar", "tar", _UNPACK),
)
"""What stands at other bytes than the first."""

START = 512
"""How many bytes of a file it takes to name it."""


def name_format(start: bytes) -> tuple[str, str]:
    """What a file is that begins with these bytes, at most ``START`` of them, and what to do: finding and remedy."""
    known = [(name, remedy) for beginning, name, remedy in _BEGINNINGS if start.startswith(beginning)]
    known += [(name, remedy) for place, mark, name, remedy in _INSIDE if start[place:].startswith(mark)]
    if not known and start[:1] == b"\xff" and start[1:2] >= b"\xe0" and not _as_text(start):  # 11 bits of 1
        known = [("AAC, which is lossy" if start[1] & 0xF6 == 0xF0 else "MP3, which is lossy", _LOSSY)]
    if known:
        name, remedy = known[0]
        return f"{name}, not WAV or FLAC", remedy
    return f"not audio: {_describe(start)}", COPY_AGAIN


def _describe(start: bytes) -> str:
    """The first bytes of what has no name, and what kind of bytes they are where that can be seen."""
    if start[:4] in RECORDINGS:
        return f"begins as a WAV, but with {start[8:12]!r} where WAVE is expected"
    finding = f"begins with {start[:4]!r}, expected RIFF or fLaC"
    if not start.strip(b"\0"):
        return f"{finding}; its header is 0 throughout"
    text = _as_text(start)
    return f"{finding}; it is text: {quote(text)}" if text else finding


def _as_text(start: bytes) -> str:
    """The first line of a text, in part; empty where it is no text."""
    coding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = getincrementaldecoder(coding)().decode(start)  # which may end within a letter
    except UnicodeDecodeError:
        return ""
    if len(text) < 4 or not text.strip() or not all(letter.isprintable() or letter in "\r\n\t\f" for letter in text):
        return ""
    return text.strip().splitlines()[0][:40]
