"""Files that carry the SHA-256 of all that is in them, so that no flipped bit and no cut is read as something else.

Where it stands depends on the kind of file, and is always where other programs pass it over:

zip     (.pt, .npz) the archive's comment, which ends the file: ``sha256:`` and the digest of all bytes before
JSON    (files, and single lines of .jsonl) the first key, ``{"digest":"..."``, of all bytes behind it and its comma, as
        in a commit record
text    (YAML) the first line, a comment, of all below
binary  (.onnx) the last field, of all bytes before its 64 hexadecimal digits

Files of earlier versions carry none. They are told from a damaged one by what stands in its place, and stay readable:
of a zip the CRC-32 of each member is verified then, as the format has it.
"""

import hashlib
import io
import json
import zipfile
import zlib
from io import SEEK_END
from typing import Any, BinaryIO

_HEX = 64  # digits
_JSON = b'{"digest":"'
_TEXT = b"# sha256 of all below: "
_ZIP = b"sha256:"
SEAL_BYTES = len(_ZIP) + _HEX
"""Of a zip's comment."""
_END_OF_ZIP, _END_BYTES = b"PK\x05\x06", 22
_UNSEALED = b"\0\0"
"""The length of the comment, in the last bytes of a zip that has none."""
_COMMENT = SEAL_BYTES.to_bytes(2, "little") + _ZIP
"""What stands in its place before the digest."""
DAMAGED = "damaged, or changed since batcache wrote it: its digest does not match"


def digest_of(content: "bytes | memoryview") -> bytes:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest().encode()


def seal_zip(archive: bytes) -> bytes:
    """The archive with its digest as comment; it must have none yet."""
    assert archive[-_END_BYTES:][:4] == _END_OF_ZIP and archive[-2:] == _UNSEALED
    before = archive[:-2] + _COMMENT
    return before + digest_of(before)


def seal_zip_file(file: BinaryIO) -> None:
    """Give the archive in a file, open to write and read, its digest as comment; it must have none yet."""
    file.seek(-_END_BYTES, SEEK_END)
    end = file.read()
    assert end[:4] == _END_OF_ZIP and end[-2:] == _UNSEALED
    file.seek(-2, SEEK_END)
    file.write(_COMMENT)
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.write(digest.encode())


def check_zip(content: bytes, most_times: float) -> bool:
    """Check an archive against its digest, else its members against their CRC-32. Returns whether it has a digest.

    Args:
        content: the whole file.
        most_times: how many times its own size it may unpack to, beyond 256 MB.

    Raises:
        ValueError: damaged, no zip, or one that unpacks to far more than it holds.
    """
    sealed = _ends_in(content, _ZIP)
    if not sealed and (content[-_END_BYTES:][:4] != _END_OF_ZIP or content[-2:] != _UNSEALED):
        raise ValueError("damaged, cut short, or of another kind")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > max(256 << 20, most_times * len(content)):
                raise ValueError(f"unpacks to {unpacked / 1e6:,.0f} MB from {len(content) / 1e6:,.1f}")
            if not sealed and archive.testzip() is not None:
                raise ValueError("damaged: a member does not match its checksum")
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, RuntimeError, zlib.error) as error:
        raise ValueError(f"damaged, or of another kind ({error})") from None
    return sealed


def ends_sealed(end: bytes) -> bool:
    """Whether an archive that was checked has a digest, by its last ``SEAL_BYTES``."""
    return end.startswith(_ZIP)


def seal_binary(content: bytes, mark: bytes) -> bytes:
    """The content, a mark, and the digest of both: what makes them a field of the format."""
    return content + mark + digest_of(content + mark)


def check_binary(content: bytes, mark: bytes) -> bool:
    """Check a file against the digest that it ends in. Returns whether it has one.

    Raises:
        ValueError: damaged or changed.
    """
    return _ends_in(content, mark)


def seal_json(document: bytes) -> bytes:
    """A JSON object, as bytes, with its digest as first key. It must have another key."""
    behind = document.removeprefix(b"{")
    assert len(behind) == len(document) - 1 and behind.strip() != b"}"
    return head_of_json(behind) + behind


def head_of_json(behind: "bytes | memoryview") -> bytes:
    """What stands before the rest of a sealed JSON object: its brace, the digest, and a comma."""
    return b'%s%s",' % (_JSON, digest_of(behind))


def check_json(content: bytes) -> None:
    """Check a JSON object against its digest, where it has one.

    Raises:
        ValueError: damaged or changed.
    """
    head = content[: len(_JSON) + _HEX + 2]
    if begins_with(head, _JSON) and head != head_of_json(memoryview(content)[len(head) :]):
        raise ValueError(DAMAGED)


def open_json(content: bytes) -> dict[str, Any]:
    """The object in JSON, without its digest, which is checked where there is one.

    Raises:
        ValueError, TypeError, RecursionError: damaged, or no JSON object.
    """
    check_json(content)
    document = json.loads(content)
    if not isinstance(document, dict):
        raise TypeError("no JSON object")
    document.pop("digest", None)
    return document


def seal_text(text: bytes) -> bytes:
    """A text with its digest as first line."""
    return b"%s%s\n%s" % (_TEXT, digest_of(text), text)


def check_text(content: bytes) -> None:
    """Check a text against its digest, where it has one.

    Raises:
        ValueError: damaged or changed.
    """
    head = content[: len(_TEXT) + _HEX + 1]
    if begins_with(head, _TEXT) and head != b"%s%s\n" % (_TEXT, digest_of(memoryview(content)[len(head) :])):
        raise ValueError(DAMAGED)


def _ends_in(content: bytes, mark: bytes) -> bool:
    """Whether a file ends in a mark and the digest of all before.

    Raises:
        ValueError: it ends in the mark, and another digest.
    """
    before = memoryview(content)[:-_HEX]
    if bytes(before[-len(mark) :]) != mark:
        return False
    if content[-_HEX:] != digest_of(before):
        raise ValueError(DAMAGED)
    return True


def begins_with(content: bytes, mark: bytes) -> bool:
    """Whether a file begins with a mark, even one that is cut or has a damaged byte."""
    there = content[: len(mark)]
    return sum(one != other for one, other in zip(there, mark, strict=False)) <= 1
