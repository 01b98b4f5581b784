"""Values of metadata fields, as text or bytes, to what they mean; what makes no sense is named and left out."""

import math
import struct
from collections.abc import Callable
from datetime import datetime
from typing import Any

LONGEST_TEXT = 200
"""Characters that go into the index."""


def take_field(said: dict[str, Any], key: str, read: Callable[[Any], Any], name: str, unread: list[str]) -> Any:
    """A value as ``read`` understands it; None where it is missing or, noted in ``unread``, not understood."""
    if key not in said:
        return None
    try:
        return read(said[key])
    except (ValueError, TypeError, OverflowError, IndexError, struct.error):
        unread.append(name)
        return None


def decode_text(raw: bytes) -> str:
    """Text in UTF-8; or in UTF-16, where the first letter has a byte of 0; else in Latin-1."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", "replace")
    if len(raw) > 2 and b"\0" in raw[:2] and raw[:2].strip(b"\0"):
        return raw.decode("utf-16-le" if raw[1] == 0 else "utf-16-be", "replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # as older programs write; every byte is a character


def read_text(value: object) -> str | None:
    """Text in one line, of bounded length."""
    if isinstance(value, bytes):
        value = decode_text(value)
    shown = "".join(c if c.isprintable() else " " for c in str(value)[: 4 * LONGEST_TEXT])
    return " ".join(shown.split())[:LONGEST_TEXT] or None


def read_time(value: object) -> str | None:
    """A time in ISO 8601."""
    if isinstance(value, datetime):
        return value.isoformat()
    text = read_text(value)
    return datetime.fromisoformat(text).isoformat() if text else None


def read_positive(value: object) -> float:
    """A finite number above 0."""
    number = float(str(value))
    if not (math.isfinite(number) and number > 0):
        raise ValueError(number)
    return number


def read_place(value: object) -> tuple[float, float]:
    """Latitude and longitude in degrees (WGS 84)."""
    if not isinstance(value, tuple):
        raise TypeError(value)
    latitude, longitude = value
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise ValueError(value)
    return latitude, longitude
