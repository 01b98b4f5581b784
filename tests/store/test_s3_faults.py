"""An object store that fails, stalls or breaks off: the right bytes, or an error."""

import io
import random
import time
from collections.abc import Callable

import numpy as np
import pytest

from batcache.errors import StoreError
from batcache.storage import s3, s3_client
from batcache.storage.s3_client import Patience
from batcache.store.format.last_build import LAST_BUILD
from batcache.store.reader import Store
from tests.store import on_s3
from tests.store.bucket import FAILURES, SECRETS, Fault
from tests.store.on_s3 import assert_equal_stores, assert_reads_as, at, somewhere, upload

pytestmark = on_s3.pytestmark
server = on_s3.server
quick = on_s3.quick
between = on_s3.between
local = on_s3.local
truth = on_s3.truth


def survive(act: Callable[[], object]) -> bool:
    """Whether it succeeded; if not, it said so in one line. Either way it ended."""
    began = time.monotonic()
    try:
        act()
        return True
    except StoreError as error:
        assert "\n" not in str(error) and not any(secret in str(error) for secret in SECRETS.values())
        return False
    finally:
        assert time.monotonic() - began < 60, "bounded by what QUICK allows, times some requests"


def one_in_three(fault: Fault) -> Callable[[int, str, str], Fault | None]:
    """Drawn, as each third would meet the same of three requests whenever they are made again."""
    return lambda number, _method, _path: fault if random.Random(number).randrange(3) == 0 else None


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAILURES)
def test_builds_and_reads_outlast_one_request_in_three_failing(between, local, truth, fault):
    between.fault = one_in_three(fault)
    project = at(somewhere(between.endpoint), local)
    assert survive(lambda: project.build(workers=4))
    assert_reads_as(truth, project.store())
    between.heal()
    assert_equal_stores(project.cache, local.cache)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["500", "lost answer"])
def test_a_build_that_failed_at_any_request_is_finished_by_the_next(between, local, monkeypatch, fault):
    """From each request on nothing succeeds; the next build, undisturbed, gives the undisturbed store."""
    monkeypatch.setattr(s3_client, "PATIENCE", Patience(2, 1, 1, 0.05, 0.001, 0.001))
    whole = at(somewhere(between.endpoint), local)
    whole.build()
    total = len(between.requests)
    assert total > 20
    for last in range(1, total + 1, 1 if fault == "500" else 3):
        project = at(somewhere(between.endpoint), local)
        between.requests.clear()
        between.fault = lambda number, _method, _path, last=last: fault if number >= last else None
        survived = survive(project.build)
        assert not survived or last > total - 4, "only the lock's removal, the last requests, may fail unsaid"
        between.heal()
        project.build()
        assert_equal_stores(project.cache, local.cache)
        assert project.build().computed == set()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["/commits/", "/instances/c/", "/zarr.json", f"/{LAST_BUILD}", ".log"])
@pytest.mark.parametrize("fault", FAILURES)
def test_a_build_that_can_never_write_some_kind_of_object_ends_and_is_finished_by_the_next(
    between, local, truth, monkeypatch, what, fault
):
    monkeypatch.setattr(s3_client, "PATIENCE", Patience(2, 0.5, 1, 0.05, 0.001, 0.001))
    between.fault = lambda _, method, path: fault if method == "PUT" and what in path else None
    project = at(somewhere(between.endpoint), local)
    survive(project.build)
    between.heal()
    if "commits" in what and fault == "500":
        assert_reads_as({}, project.store())  # shards there may be, but none counts
    project.build()
    assert_equal_stores(project.cache, local.cache)
    assert_reads_as(truth, project.store())


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*FAILURES, "flipped byte"])
def test_a_read_gives_right_numbers_or_an_error(between, local, truth, monkeypatch, fault):
    monkeypatch.setattr(s3_client, "PATIENCE", Patience(2, 0.5, 2, 0.2, 0.001, 0.001))
    cache = somewhere(between.endpoint)
    upload(local.cache, cache)
    store = Store(cache)
    for every in (1, 2, 3):
        between.requests.clear()
        between.fault = lambda number, _method, _path, every=every: fault if number % every == 0 else None
        for name, frames in truth.items():
            found = []
            if survive(lambda name=name, found=found: found.append(store.read_frames(store.find(name)))):
                np.testing.assert_array_equal(found[0], frames)
                assert every > 1
        survive(lambda: assert_reads_as(truth, Store(cache)))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAILURES)
@pytest.mark.parametrize("what", ["uploads", "partNumber=2", "uploadId"])
def test_an_upload_in_parts_is_whole_or_not_there(between, fault, what):
    content = np.random.default_rng(0).bytes(s3.PART_BYTES + 12_345)
    hit: list[str] = []

    def once(_number: int, _method: str, path: str) -> Fault | None:
        if what in path and not hit:
            hit.append(path)
            return fault
        return None

    between.fault = once
    place = somewhere(between.endpoint)
    done = survive(lambda: place.upload(io.BytesIO(content)))
    assert hit
    assert done or not place.exists() or place.read_bytes() == content
    place.upload(io.BytesIO(content))
    assert place.read_bytes() == content
