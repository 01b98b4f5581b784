"""Places: where a store or one of its files lies, on a disk or in a bucket.

A place on a disk is a ``pathlib.Path``, one in a bucket an ``S3Path``, which has as much of pathlib's interface as a
store needs. Where the two must be treated differently, this room does it, or code outside asks ``is_remote``. Reading
is here, writing in ``disk``, files that only one of several processes may make in ``exclusive``.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batcache.errors import ConfigError
from batcache.storage.ahead import map_ahead
from batcache.storage.local_cache import LocalCache
from batcache.storage.s3 import SCHEME, S3Path

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Place = Path | S3Path
"""Where a store or one of its files lies."""
_REQUESTS_AT_ONCE = 32


def is_remote(place: Place) -> "TypeIs[S3Path]":
    """Whether a place lies in a bucket.

    There files are whole objects: they can be replaced and read by ranges of bytes, but neither renamed, appended to
    nor mapped into memory; there are no folders, and nobody can tell how much room is left.
    """
    return isinstance(place, S3Path)


def parse_place(place: "str | Place") -> Place:
    """The place that a local path or an S3 URL names. A place is returned as it is.

    Raises:
        ConfigError: a URL of another kind, or an incomplete one.
    """
    if not isinstance(place, str):
        return place
    if place.startswith(SCHEME):
        return S3Path.parse(place)
    if re.match(r"[a-z][a-z0-9+.-]+://", place):
        raise ConfigError(place.partition("://")[0] + "://", "a cache lies on a path or on s3://", "Pass one of them")
    return Path(place)


def reach(place: Place, endpoint: str | None, region: str | None, local: LocalCache | None = None) -> Place:
    """The same place, reached at this endpoint and in this region, with copies kept in ``local``; a local path is
    returned as it is.

    Raises:
        ConfigError: copies are to be kept of what lies on a disk.
    """
    if is_remote(place):
        return replace(place, endpoint=endpoint, region=region, local=local)
    if local is not None:
        raise ConfigError("data.local_cache", f"given, but {place} lies on a disk already", "Leave it out")
    return place


def suggest_path(missing: Path, else_do: str, others: Sequence[str] = ()) -> str:
    """A remedy for a path at which there is nothing: one with nearly the same name where it goes astray, if there is.

    ``others`` are words that could have been meant in its place.
    """
    astray = missing
    while astray != astray.parent and not astray.parent.exists():  # a drive of Windows that is not there ends it
        astray = astray.parent
    beside = list(others)
    with suppress(OSError):
        beside += [place.name for place in sorted(astray.parent.iterdir())]
    for name in difflib.get_close_matches(astray.name, beside, n=1):
        meant = name if name in others else (astray.parent / name).as_posix()
        return f"Did you mean {meant}? {else_do}"
    return else_do


def check_endpoint(endpoint: str) -> str:
    """Return ``endpoint``, without a slash at its end, where it is the URL of a server and nothing more.

    Raises:
        ConfigError: it is not, or holds credentials, which would be stored with the settings; they are not repeated.
    """
    try:
        parts = urlsplit(endpoint)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.query:
        raise ConfigError("data.endpoint", "expected http(s)://host:port, without credentials in it", "Correct it")
    return endpoint.rstrip("/")


def read_range(place: Place, start: int, count: int) -> "bytes | memoryview":
    """Read ``count`` bytes of a file from byte ``start`` on; fewer where the file ends before.

    Raises:
        OSError: the file is missing (FileNotFoundError) or the disk refuses.
        UnreachableError: the object store cannot be reached or refuses.
    """
    if is_remote(place):
        return place.read_range(start, count)
    with place.open("rb") as file:
        file.seek(start)
        return file.read(count)


def read_files(places: Sequence[Place]) -> "Iterator[bytes | OSError]":
    """The content of each file, in order, or the error that says why there is none.

    Of a bucket 32 are asked for at a time, since each answer takes long.

    Raises:
        UnreachableError: the object store cannot be reached or refuses.
    """
    if not any(is_remote(place) for place in places):
        yield from map(_read_file, places)
        return
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        yield from map_ahead(pool, _read_file, places, 2 * _REQUESTS_AT_ONCE)


def _read_file(place: Place) -> bytes | OSError:
    try:
        return place.read_bytes()
    except OSError as error:
        return error


def sizes_under(folder: Place) -> Callable[[str], int | None]:
    """A function that gives the size in bytes of the file of a name under ``folder``, such as ``"3/0/0"``; None where
    there is no such file. A bucket is asked once, here, for all of them."""
    if is_remote(folder):
        return folder.sizes().get

    def size_of(name: str) -> int | None:
        try:
            return (folder / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    return size_of
