"""An object store that is away for a while is waited for, whatever is asked of it; what will not pass ends at once."""

import io
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from batcache.errors import UnreachableError
from batcache.storage import s3_client
from batcache.storage.s3 import PART_BYTES, S3Path
from batcache.storage.s3_client import Patience
from batcache.storage.waiting import Waiting
from batcache.store.format.last_build import LAST_BUILD
from tests.store import on_s3
from tests.store.bucket import SECRETS, Fault, Proxy, proxy
from tests.store.on_s3 import assert_equal_stores, assert_reads_as, at, refusal, somewhere, upload

pytestmark = on_s3.pytestmark
server = on_s3.server
between = on_s3.between
local = on_s3.local
truth = on_s3.truth

AWAY_S = 0.5
"""Longer than the client's own repetitions take: 4 of at most 10 ms."""
PATIENT = Patience(connect_s=2, request_s=1, retries=4, retrying_s=20, first_wait_s=0.01, longest_wait_s=0.1)
REQUESTS: dict[str, Callable[[S3Path], object]] = {
    "is it there": lambda place: place.exists(),
    "read": lambda place: place.read_bytes(),
    "read a range": lambda place: bytes(place.read_range(2, 3)),
    "write": lambda place: place.write_bytes(b"a recording"),
    "upload": lambda place: place.upload(io.BytesIO(b"a recording")),
    "upload in parts": lambda place: (place.parent / "large").upload(io.BytesIO(bytes(PART_BYTES + 1))),
    "create": lambda place: (place.parent / "lock").create_exclusively(b"mine"),
    "list": lambda place: [found.name for found in place.parent.glob("*")],
    "list all": lambda place: place.parent.sizes(),
    "delete": lambda place: place.unlink(),
}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "PATIENCE", PATIENT)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    heard: list[str] = []
    waiting = Waiting()
    waiting.tell(heard.append)
    monkeypatch.setattr(s3_client, "WAITING", waiting)
    return heard


def go_away(between: Proxy, fault: Fault, seconds: float, first: int = 1) -> None:
    """Fail from the request of this number on, for so long."""
    back: list[float] = []

    def away(number: int, _method: str, _path: str) -> Fault | None:
        if number >= first and not back:
            back.append(time.monotonic() + seconds)
        return fault if back and time.monotonic() < back[0] else None

    between.requests.clear()
    between.fault = away


@pytest.mark.parametrize("request_of", REQUESTS)
@pytest.mark.parametrize("fault", ["500", "503", "reset", "stall"])
def test_every_request_outlasts_an_outage(between, request_of, fault):
    place = somewhere(between.endpoint)
    act = REQUESTS[request_of]
    place.write_bytes(b"a recording")
    before = act(place) if request_of.startswith(("is", "read", "list")) else None
    go_away(between, fault, AWAY_S)
    got = act(place)
    assert before is None or got == before
    assert got is not False, "a lock that this process has made is its own"
    between.heal()
    if request_of in ("write", "upload"):
        assert place.read_bytes() == b"a recording"
    if request_of == "upload in parts":
        assert (place.parent / "large").read_bytes() == bytes(PART_BYTES + 1)


@pytest.mark.parametrize("request_of", REQUESTS)
@pytest.mark.parametrize("fault", ["403", "no bucket"])
def test_what_will_not_pass_is_asked_once(between, request_of, fault):
    place = somewhere(between.endpoint)
    if fault == "no bucket":
        place = S3Path("bast", "folder/x", between.endpoint)
    else:
        between.fault = lambda *_: "403"
    try:
        REQUESTS[request_of](place)
    except (UnreachableError, FileNotFoundError):
        pass
    else:
        assert fault == "no bucket", "a HEAD and a DELETE need not say so"
    assert len(between.requests) <= 2


@pytest.mark.parametrize("fault", ["500", "reset", "stall"])
def test_requests_are_given_up_after_the_promised_time_and_the_pauses_grow(between, monkeypatch, fault):
    monkeypatch.setattr(s3_client, "PATIENCE", Patience(2, 0.2, 0, 2.0, 0.05, 0.5))
    between.fault = lambda *_: fault
    began = time.monotonic()
    refusal(somewhere(between.endpoint).read_bytes, UnreachableError)
    assert 2 <= time.monotonic() - began < 4
    assert 5 <= len(between.requests) <= 20, "by pauses of 50 ms it were 40"


def test_threads_that_wait_for_one_store_tell_it_in_one_line_without_credentials(between, told):
    place = somewhere(between.endpoint)
    place.write_bytes(b"a recording")
    go_away(between, "503", 2.5)
    threads = [threading.Thread(target=place.read_bytes) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (line,) = told
    assert str(place) in line and "asking again" in line and "\n" not in line
    assert not any(secret in line for secret in SECRETS.values())


def test_a_request_that_hangs_is_told_meanwhile(between, monkeypatch):
    heard: list[float] = []
    waiting = Waiting()
    waiting.tell(lambda line: heard.append(time.monotonic()) if "has not answered in full for 0.5 s" in line else None)
    monkeypatch.setattr(s3_client, "WAITING", waiting)
    monkeypatch.setattr(s3_client, "PATIENCE", replace(PATIENT, request_s=4, quiet_s=0.5))
    between.fault = lambda number, *_: "stall" if number == 1 else None
    began = time.monotonic()
    somewhere(between.endpoint).exists()
    (told,) = heard
    assert told - began < 2 and time.monotonic() - began > 4


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [("http://127.0.0.1:1", "connection refused"), (f"http://{'n' * 64}.invalid", "there is no such host")],
    ids=["no port", "no name"],  # of 64 letters, which is refused without asking a server of names
)
def test_an_address_at_which_nothing_is_is_given_up_within_seconds(server, endpoint, why, monkeypatch):
    monkeypatch.setattr(s3_client, "PATIENCE", replace(PATIENT, retrying_s=120))
    began = time.monotonic()
    said = refusal(somewhere(endpoint).read_bytes, UnreachableError)
    assert time.monotonic() - began < 30
    assert f"cannot be reached ({why})" in said and "check --endpoint" in said


def test_an_endpoint_that_has_answered_is_waited_for_when_nothing_is_there_any_more(server, monkeypatch):
    with proxy(server) as made:
        place = somewhere(made.endpoint)
        place.exists()
    monkeypatch.setattr(s3_client, "_ABSENT_S", 0)
    monkeypatch.setattr(s3_client, "PATIENCE", replace(PATIENT, retrying_s=3))
    began = time.monotonic()
    assert "connection refused" in refusal(place.read_bytes, UnreachableError)
    assert time.monotonic() - began >= 3


def test_silence_is_no_sign_that_something_is_at_an_address(server, monkeypatch):
    monkeypatch.setattr(s3_client, "PATIENCE", replace(PATIENT, retries=0, retrying_s=0))
    with proxy(server) as made:
        made.fault = lambda *_: "stall"
        place = somewhere(made.endpoint)
        assert "does not answer in time" in refusal(place.exists, UnreachableError)
    monkeypatch.setattr(s3_client, "PATIENCE", replace(PATIENT, retrying_s=120))
    began = time.monotonic()
    assert "connection refused" in refusal(place.read_bytes, UnreachableError)
    assert time.monotonic() - began < 30


def test_an_answer_that_fails_once_is_not_told(between, told):
    go_away(between, "500", 0.1)
    somewhere(between.endpoint).write_bytes(b"a recording")
    assert not told


def test_a_process_that_is_to_end_waits_for_nothing(between, monkeypatch):
    waiting = Waiting()
    monkeypatch.setattr(s3_client, "WAITING", waiting)
    between.fault = lambda *_: "500"
    threading.Timer(0.3, waiting.end).start()
    began = time.monotonic()
    refusal(somewhere(between.endpoint).read_bytes, UnreachableError)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("fault", ["reset", "stall"])
@pytest.mark.parametrize("first", [1, 5, 9, 14])
def test_a_build_outlasts_an_outage_that_begins_at_any_time(between, local, truth, fault, first):
    project = at(somewhere(between.endpoint), local)
    go_away(between, fault, AWAY_S, first)
    assert project.build(workers=2).computed == set(truth)
    assert len(between.requests) > first
    between.heal()
    assert_equal_stores(project.cache, local.cache)
    assert LAST_BUILD in project.cache.sizes()


def test_reading_outlasts_an_outage(between, local, truth):
    cache = somewhere(between.endpoint)
    upload(local.cache, cache)
    project = at(cache, local)
    for first in (1, 4):
        go_away(between, "reset", AWAY_S, first)
        store = project.store()
        assert_reads_as(truth, store)
    for name, frames in truth.items():
        go_away(between, "cut short", AWAY_S)
        np.testing.assert_array_equal(store.read_frames(store.find(name)), frames)
