"""Requests to an S3-compatible object store: the client, its credentials, and what becomes of a request that fails.

Requests that fail are repeated, for a bounded time. boto3 finds the credentials in the environment or in AWS's own
files and hands them to the client: nothing here keeps or names them. The text of an answer is never passed on, since
S3 writes key ids and signatures into it; its HTTP status and S3's error code are.
"""

import errno
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from batcache.errors import UnreachableError

if TYPE_CHECKING:
    from obstore.store import S3Store

    from batcache.storage.s3 import S3Path

T = TypeVar("T")
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


@contextmanager
def asking(place: "S3Path") -> "Iterator[S3Store]":
    """A client for requests about ``place``, whose own errors become ours.

    Raises:
        FileNotFoundError: there is no such object; names it.
        UnreachableError: the object store cannot be reached, refuses, or fails for too long; or obstore, boto3 or
            credentials are missing.
    """
    from_client: tuple[type[Exception], ...] = ()
    try:
        from obstore.exceptions import BaseError

        from_client = (BaseError, FileNotFoundError, ValueError)
        client = connect(place.bucket, place.endpoint, place.region, PATIENCE)
    except ImportError:
        remedy = "pip install 'batcache[s3]'"
        raise UnreachableError(place, "obstore and boto3, which S3 takes, are not installed", remedy) from None
    except _NoCredentialsError:
        remedy = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise UnreachableError(place, "no AWS credentials are set", remedy) from None
    except Exception as error:  # boto3 has as many kinds as AWS has ways to give credentials
        finding = f"the AWS settings cannot be used ({type(error).__name__})"
        raise UnreachableError(place, finding, "Check AWS_PROFILE, --region and ~/.aws") from None
    try:
        yield client
    except from_client as error:
        if isinstance(error, FileNotFoundError) and _code(error) in ("", "NoSuchKey"):
            raise FileNotFoundError(errno.ENOENT, "no such object", str(place)) from None
        raise _unreachable(place, error) from None


def _unreachable(place: "S3Path", error: Exception) -> UnreachableError:
    status, code = status_of(error), _code(error)
    said = f"{status}, {code}" if code else status
    where = f"the object store{f' at {place.endpoint}' if place.endpoint else ''}"
    if code == "NoSuchBucket":
        return UnreachableError(place, f"there is no bucket {place.bucket}", "Create it, or correct the URL")
    if status.startswith(("400", "401", "403")):
        remedy = "Check the credentials, what they allow, and --region"
        return UnreachableError(place, f"{where} refuses ({said})", remedy)
    if status:
        return UnreachableError(place, f"{where} fails ({said})", _GIVE_UP)
    if "kind: Interrupted" in str(error):
        return UnreachableError(place, f"{where} breaks off its answers", _GIVE_UP)
    kind = "does not answer in time" if "kind: Timeout" in str(error) else "cannot be reached"
    return UnreachableError(place, f"{where} {kind}", _GIVE_UP)


class _NoCredentialsError(Exception):
    pass


def repeat(ask: Callable[[], T]) -> T:
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


def status_of(error: Exception) -> str:
    """The HTTP status in a client's error, in S3's words; empty where there was no answer."""
    found = re.search(r"status code: (\d{3}[A-Za-z ]*)", str(error))
    return found[1].strip() if found else ""


def _code(error: Exception) -> str:
    """S3's own word for what is wrong."""
    found = re.search(r"<Code>(\w+)</Code>", str(error))
    return found[1] if found else ""


@lru_cache(maxsize=8)
def connect(bucket: str, endpoint: str | None, region: str | None, patience: Patience) -> "S3Store":
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
