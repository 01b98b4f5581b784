"""A cache in a bucket: as much of pathlib's interface as a store needs, over an S3-compatible object store.

An upload is atomic: an object is whole and in place, or not there. So a shard that is uploaded before its commit record
keeps the promise which on a disk takes flushing and renaming.

Requests that fail are repeated, for a bounded time. Credentials are found by boto3 in the environment or AWS's own
files and go from there to the client: nothing here keeps or names them. The text of an answer is never passed on, since
S3 writes key ids and signatures into it; its status and code are.
"""

import errno
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, TypeVar
from urllib.parse import urlsplit

from batcache.errors import ConfigError, UnreachableError

if TYPE_CHECKING:
    from obstore.store import S3Store

T = TypeVar("T")
SCHEME = "s3://"
PART_BYTES = 8 << 20  # of an upload in parts
PARTS_AT_ONCE = 4
_CREDENTIALS_LAST = timedelta(minutes=5)  # then boto3 is asked again: those of a role change
_GIVE_UP = "Run the same command again; if this stays, check --endpoint, --region and the network"


@dataclass(frozen=True)
class Patience:
    """How long a request may take, and for how long and how often it is repeated where it fails."""

    connect_s: float = 10
    request_s: float = 60
    retries: int = 8
    retrying_s: float = 120
    first_wait_s: float = 0.2
    longest_wait_s: float = 10


PATIENCE = Patience()


@dataclass(frozen=True)
class S3Path:
    """An object, or a folder of objects, and how to reach it. ``endpoint`` and ``region`` are AWS's where not given.

    Raises, whatever is done with it:
        UnreachableError: the object store cannot be reached, refuses, or fails for too long.
    """

    bucket: str
    key: str
    endpoint: str | None = None
    region: str | None = None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take ``s3://bucket/path/features.zarr`` apart.

        Raises:
            ConfigError: no bucket, no path, or parts that are empty or dots.
        """
        bucket, _, key = url.removeprefix(SCHEME).partition("/")
        parts = key.removesuffix("/").split("/")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", bucket) or {"", ".", ".."} & set(parts):
            place = url if "@" not in url else f"{SCHEME}..."  # someone may have put credentials there
            raise ConfigError(place, "expected s3://bucket/path/features.zarr", "Correct the URL")
        return cls(bucket, "/".join(parts))

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"

    as_posix = __str__

    def __truediv__(self, name: str) -> Self:
        return replace(self, key=f"{self.key}/{name}" if self.key else name)

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return Path(self.name).stem

    @property
    def parent(self) -> Self:
        return replace(self, key=self.key.rpartition("/")[0])

    def with_name(self, name: str) -> Self:
        return self.parent / name

    def exists(self) -> bool:
        """Whether there is an object of this name."""
        with self._asking() as client:
            import obstore

            try:
                obstore.head(client, self.key)
            except FileNotFoundError:
                return False
        return True

    def read_bytes(self) -> bytes:
        """Raises FileNotFoundError besides."""
        with self._asking() as client:
            import obstore

            return _repeat(lambda: bytes(obstore.get(client, self.key).bytes()))

    def read_range(self, start: int, count: int) -> memoryview:
        """Read ``count`` bytes, or those of them that there are. Raises FileNotFoundError besides."""
        with self._asking() as client:
            import obstore
            from obstore.exceptions import GenericError

            try:
                return memoryview(obstore.get_range(client, self.key, start=start, length=count))
            except GenericError as error:
                if _status(error).startswith("416"):  # all of them lie behind its end
                    return memoryview(b"")
                raise

    def write_bytes(self, content: bytes) -> None:
        with self._asking() as client:
            import obstore

            obstore.put(client, self.key, content, use_multipart=False)

    def upload(self, file: BinaryIO) -> None:
        """Upload what a file holds, in parts where it is large."""
        with self._asking() as client:
            import obstore

            obstore.put(client, self.key, file, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)

    def create_exclusively(self, content: bytes) -> bool:
        """Write an object that is not there yet; whether that was so. Of several who try, one is told True.

        An answer may get lost and the request be repeated: who finds its own content there has written it. Contents
        must therefore differ.
        """
        with self._asking() as client:
            import obstore
            from obstore.exceptions import AlreadyExistsError

            try:
                _repeat(lambda: obstore.put(client, self.key, content, mode="create"))
            except AlreadyExistsError:
                return _repeat(lambda: bytes(obstore.get(client, self.key).bytes())) == content
        return True

    def glob(self, pattern: str) -> Iterator[Self]:
        """The objects and folders right under this folder, sorted, whose name matches."""
        with self._asking() as client:
            import obstore

            found = _repeat(lambda: obstore.list_with_delimiter(client, self.key))
        keys = [*found["common_prefixes"], *(there["path"] for there in found["objects"])]
        names = sorted(key.rpartition("/")[2] for key in keys)
        return (self / name for name in names if fnmatchcase(name, pattern))

    def sizes(self) -> dict[str, int]:
        """The size of every object under this folder, by its name from here on."""
        with self._asking() as client:
            import obstore

            pages = _repeat(lambda: list(obstore.list(client, f"{self.key}/", chunk_size=1000)))
        return {there["path"].removeprefix(f"{self.key}/"): there["size"] for page in pages for there in page}

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Delete an object. S3 does not say whether there was one."""
        if missing_ok and not self.exists():  # which takes no right to delete
            return
        with self._asking() as client:
            import obstore

            _repeat(lambda: obstore.delete(client, self.key))

    def remove_tree(self) -> None:
        """Delete every object under this folder."""
        for name in self.sizes():
            (self / name).unlink()

    @contextmanager
    def _asking(self) -> "Iterator[S3Store]":
        """The client; what goes wrong becomes our error, or FileNotFoundError with this name."""
        from_client: tuple[type[Exception], ...] = ()
        try:
            from obstore.exceptions import BaseError

            from_client = (BaseError, FileNotFoundError, ValueError)
            client = _connect(self.bucket, self.endpoint, self.region, PATIENCE)
        except ImportError:
            remedy = "pip install 'batcache[s3]'"
            raise UnreachableError(self, "obstore and boto3, which S3 takes, are not installed", remedy) from None
        except _NoCredentialsError:
            remedy = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            raise UnreachableError(self, "no AWS credentials are set", remedy) from None
        except Exception as error:  # boto3 has as many kinds as AWS has ways to give credentials
            finding = f"the AWS settings cannot be used ({type(error).__name__})"
            raise UnreachableError(self, finding, "Check AWS_PROFILE, --region and ~/.aws") from None
        try:
            yield client
        except from_client as error:
            if isinstance(error, FileNotFoundError) and _code(error) in ("", "NoSuchKey"):
                raise FileNotFoundError(errno.ENOENT, "no such object", str(self)) from None
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> UnreachableError:
        status, code = _status(error), _code(error)
        said = f"{status}, {code}" if code else status
        where = f"the object store{f' at {self.endpoint}' if self.endpoint else ''}"
        if code == "NoSuchBucket":
            return UnreachableError(self, f"there is no bucket {self.bucket}", "Create it, or correct the URL")
        if status.startswith(("400", "401", "403")):
            remedy = "Check the credentials, what they allow, and --region"
            return UnreachableError(self, f"{where} refuses ({said})", remedy)
        if status:
            return UnreachableError(self, f"{where} fails ({said})", _GIVE_UP)
        if "kind: Interrupted" in str(error):
            return UnreachableError(self, f"{where} breaks off its answers", _GIVE_UP)
        kind = "does not answer in time" if "kind: Timeout" in str(error) else "cannot be reached"
        return UnreachableError(self, f"{where} {kind}", _GIVE_UP)


Place = Path | S3Path
"""Where a store or one of its files lies."""


def parse_place(place: "str | Place") -> Place:
    """A local path, or an S3 URL.

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


def reach(place: Place, endpoint: str | None, region: str | None) -> Place:
    """The same place, reached at this endpoint and region; a local path stays as it is."""
    return replace(place, endpoint=endpoint, region=region) if isinstance(place, S3Path) else place


def check_endpoint(endpoint: str) -> str:
    """Return it where it is the URL of a server and nothing more.

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


class _NoCredentialsError(Exception):
    pass


def _repeat(ask: Callable[[], T]) -> T:
    """Ask again where an answer breaks off and the client does not do so by itself: it does for most requests."""
    from obstore.exceptions import GenericError

    until = time.monotonic() + PATIENCE.retrying_s
    for _ in range(PATIENCE.retries):
        try:
            return ask()
        except GenericError as error:
            asked_before = re.search(r"\bretries: [1-9]", str(error))
            broke_off = re.search(r"kind: (Interrupted|Timeout)", str(error))
            if asked_before or not broke_off or time.monotonic() > until:
                raise
        time.sleep(PATIENCE.first_wait_s)
    return ask()


def _status(error: Exception) -> str:
    """The HTTP status in a client's error, in S3's words; empty where there was no answer."""
    found = re.search(r"status code: (\d{3}[A-Za-z ]*)", str(error))
    return found[1].strip() if found else ""


def _code(error: Exception) -> str:
    """S3's own word for what is wrong."""
    found = re.search(r"<Code>(\w+)</Code>", str(error))
    return found[1] if found else ""


@lru_cache(maxsize=8)
def _connect(bucket: str, endpoint: str | None, region: str | None, patience: Patience) -> "S3Store":
    """A client, which threads share. One outlives all that is done in a process."""
    import os

    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store

    session = boto3.Session(region_name=region or os.environ.get("AWS_REGION"))
    if session.get_credentials() is None:
        raise _NoCredentialsError
    more: dict[Literal["endpoint", "region"], Any] = {}
    if endpoint:
        more["endpoint"] = endpoint
    if session.region_name:
        more["region"] = session.region_name
    return S3Store(
        bucket,
        client_options={
            "allow_http": bool(endpoint and endpoint.startswith("http://")),
            "connect_timeout": timedelta(seconds=patience.connect_s),
            "timeout": timedelta(seconds=patience.request_s),
        },
        retry_config={
            "max_retries": patience.retries,
            "retry_timeout": timedelta(seconds=patience.retrying_s),
            "backoff": {
                "init_backoff": timedelta(seconds=patience.first_wait_s),
                "max_backoff": timedelta(seconds=patience.longest_wait_s),
                "base": 2,
            },
        },
        credential_provider=Boto3CredentialProvider(session, ttl=_CREDENTIALS_LAST),
        **more,
    )
