"""Requests to an S3-compatible object store: the client, its credentials, and what becomes of a request that fails.

Every request that fails for a reason which may pass is repeated for two to three minutes, whatever it does: all that
are made here may be made twice. Only where nothing is at an address from the start, as where it is mistyped, is it
given up after seconds. boto3 finds the credentials in the environment or in AWS's own
files and hands them to the client: nothing here keeps or names them. The text of an answer is never passed on, since
S3 writes key ids and signatures into it; its HTTP status and S3's error code are.
"""

import errno
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from batcache.errors import UnreachableError
from batcache.storage.waiting import WAITING

if TYPE_CHECKING:
    from obstore.store import S3Store

    from batcache.storage.s3 import S3Path

T = TypeVar("T")
_CREDENTIALS_LAST = timedelta(minutes=5)  # then boto3 is asked again: those of a role change
_GIVE_UP = "Run the same command again; if this stays, check --endpoint, --region and the network"
_NOTHING_THERE = {"ConnectionRefused": "connection refused", "dns error": "there is no such host"}
"""What the client's errors hold where nothing is at an address, and what it means."""
_ABSENT_S = 3
"""For so long is asked again where nothing is at an address, nor was in the life of this process."""
_reached: set[str | None] = set()
"""Endpoints at which something was."""
_SLOWEST = 100_000  # bytes a second that a request may take before it is said to take long


@dataclass(frozen=True)
class Patience:
    """How long a request may take, and for how long it is repeated where it fails.

    The client repeats it a few times at once, ``retries``, which also spares the parts of an upload that were sent.
    Then it is made anew, with growing pauses, until ``retrying_s`` have passed since it was first made. One that takes
    longer than ``quiet_s`` is told.
    """

    connect_s: float = 10
    request_s: float = 60
    retries: int = 3
    retrying_s: float = 120
    first_wait_s: float = 0.2
    longest_wait_s: float = 10
    quiet_s: float = 5


PATIENCE = Patience()
_AT_ONCE_S = 5  # the client begins no retry of its own after so long
_PASSING_STATUS = ("408", "425", "429", "5")
_PASSING_CODES = frozenset({"RequestTimeout", "SlowDown", "OperationAborted", "ConditionalRequestConflict"})


def ask(place: "S3Path", request: "Callable[[S3Store], T]", size: int = 0) -> T:
    """What a request about ``place`` returns. Errors that may pass have it made again, the client's own become ours.

    Args:
        place: what the request is about.
        request: is given a client. Made twice it must do what it does once: an answer may get lost.
        size: how many bytes it moves, about: so much longer it may take before that is told.

    Raises:
        FileNotFoundError: there is no such object; names it.
        UnreachableError: the object store cannot be reached, refuses, or fails for too long; or obstore, boto3 or
            credentials are missing.
    """
    client = _connect(place)
    from obstore.exceptions import BaseError

    began, pause, quiet_s = time.monotonic(), PATIENCE.first_wait_s, PATIENCE.quiet_s + size / _SLOWEST
    late = f"{place}: {_name(place)} has not answered in full for {quiet_s:.3g} s; still waiting"
    while True:
        try:
            with WAITING.asking(late, quiet_s):
                answer = request(client)
        except (BaseError, FileNotFoundError, ValueError) as error:
            if not (nothing_there := _nothing_there(error)) and not _is_late(error):
                _reached.add(place.endpoint)
            if isinstance(error, FileNotFoundError) and _code(error) in ("", "NoSuchKey"):
                raise FileNotFoundError(errno.ENOENT, "no such object", str(place)) from None
            wrong = _unreachable(place, error)
            is_absent = nothing_there and place.endpoint not in _reached
            patience = min(PATIENCE.retrying_s, _ABSENT_S) if is_absent else PATIENCE.retrying_s
            left = began + patience - time.monotonic()
            if left <= 0 or not _may_pass(error):
                WAITING.is_over()
                raise wrong from None
        else:
            _reached.add(place.endpoint)
            WAITING.is_over()
            return answer
        told = f"{place}: {wrong.finding}; asking again for up to {round(left):,} s"
        if not WAITING.wait(began, min(left, random.uniform(pause / 2, pause)), told):
            raise wrong
        pause = min(2 * pause, PATIENCE.longest_wait_s)


def _connect(place: "S3Path") -> "S3Store":
    try:
        return connect(place.bucket, place.endpoint, place.region, PATIENCE)
    except ImportError:
        remedy = "pip install 'batcache[s3]'"
        raise UnreachableError(place, "obstore and boto3, which S3 takes, are not installed", remedy) from None
    except _NoCredentialsError:
        remedy = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise UnreachableError(place, "no AWS credentials are set", remedy) from None
    except Exception as error:  # boto3 has as many kinds as AWS has ways to give credentials
        finding = f"the AWS settings cannot be used ({type(error).__name__})"
        raise UnreachableError(place, finding, "Check AWS_PROFILE, --region and ~/.aws") from None


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later: the network, or a server that is busy or away."""
    from obstore.exceptions import GenericError

    status = status_of(error)
    if status or _code(error):
        return status.startswith(_PASSING_STATUS) or _code(error) in _PASSING_CODES
    return isinstance(error, GenericError)


def _unreachable(place: "S3Path", error: Exception) -> UnreachableError:
    status, code, where = status_of(error), _code(error), _name(place)
    said = f"{status}, {code}" if code else status
    if code == "NoSuchBucket":
        return UnreachableError(place, f"there is no bucket {place.bucket}", "Create it, or correct the URL")
    if status.startswith(("400", "401", "403")):
        remedy = "Check the credentials, what they allow, and --region"
        return UnreachableError(place, f"{where} refuses ({said})", remedy)
    if status:
        return UnreachableError(place, f"{where} fails ({said})", _GIVE_UP)
    if "kind: Interrupted" in str(error):
        return UnreachableError(place, f"{where} breaks off its answers", _GIVE_UP)
    if nothing_there := _nothing_there(error):
        return UnreachableError(place, f"{where} cannot be reached ({nothing_there})", _GIVE_UP)
    kind = "does not answer in time" if _is_late(error) else "cannot be reached"
    return UnreachableError(place, f"{where} {kind}", _GIVE_UP)


def _name(place: "S3Path") -> str:
    return f"the object store{f' at {place.endpoint}' if place.endpoint else ''}"


def _nothing_there(error: Exception) -> str:
    """That nothing is at the address, in words; empty where something may be."""
    if status_of(error):
        return ""
    return next((said for sign, said in _NOTHING_THERE.items() if sign in str(error)), "")


def _is_late(error: Exception) -> bool:
    """Whether no answer came in time, as from a server that is busy and from a look-up of a name that hangs."""
    return "kind: Timeout" in str(error)


class _NoCredentialsError(Exception):
    pass


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
            "retry_timeout": timedelta(seconds=min(patience.retrying_s, _AT_ONCE_S)),
            "backoff": {
                "init_backoff": timedelta(seconds=patience.first_wait_s),
                "max_backoff": timedelta(seconds=patience.longest_wait_s),
                "base": 2,
            },
        },
        credential_provider=Boto3CredentialProvider(session, ttl=_CREDENTIALS_LAST),
        **more,
    )
