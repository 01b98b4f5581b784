"""A store in a bucket and the same one on a disk, to be compared."""

import uuid
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import BatcacheError, StoreError
from batcache.storage import s3_client
from batcache.storage.s3 import S3Path
from batcache.storage.s3_client import Patience
from batcache.storage.waiting import Waiting
from batcache.store.format.last_build import LAST_BUILD
from batcache.store.reader import Store
from tests.store.bucket import BUCKET, ENVIRONMENT, SECRETS, Proxy, proxy, serve
from tests.store.project import Project, assert_equal_trees, read_all, snapshot

NEEDED = ("moto", "obstore", "boto3")
pytestmark = pytest.mark.skipif(not all(map(find_spec, NEEDED)), reason=f"not all of {', '.join(NEEDED)} are installed")
LENGTHS = {"a.wav": 0.25, "b.wav": 0.08, "long.wav": 0.93, "c.wav": 0.2}
QUICK = Patience(connect_s=2, request_s=1, retries=4, retrying_s=10, first_wait_s=0.01, longest_wait_s=0.05)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, serve() as endpoint:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        yield endpoint


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are given up soon, and waited for: a test of Ctrl-C in this process may have ended all waiting."""
    monkeypatch.setattr(s3_client, "PATIENCE", QUICK)
    monkeypatch.setattr(s3_client, "WAITING", Waiting())


@pytest.fixture
def between(server: str) -> Iterator[Proxy]:
    with proxy(server) as made:
        yield made


def somewhere(endpoint: str) -> S3Path:
    return S3Path(BUCKET, f"{uuid.uuid4()}/features.zarr", endpoint)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Shards: 0 of two recordings, 1 to 3 of a long one, 4 of one. Not to be changed."""
    project = Project(tmp_path_factory.mktemp("local"))
    for name, seconds in LENGTHS.items():
        project.record(name, seconds)
    project.list(*LENGTHS)
    project.build()
    return project


@pytest.fixture(scope="module")
def truth(local: Project) -> dict[str, np.ndarray]:
    return read_all(local.store())


def at(cache: S3Path, local: Project) -> Project:
    """The same recordings, to be built into a bucket."""
    project = Project(local.root)
    project.cache = cache  # type: ignore[assignment]
    return project


@pytest.fixture
def project(server: str, local: Project) -> Project:
    """Its store is a copy of the local one, to be spoilt."""
    made = at(somewhere(server), local)
    upload(local.cache, made.cache)
    return made


def upload(folder: Path, there: S3Path) -> None:
    for place in folder.rglob("*"):
        if place.is_file():
            (there / place.relative_to(folder).as_posix()).write_bytes(place.read_bytes())


def contents(cache: S3Path) -> dict[str, bytes]:
    return {name: (cache / name).read_bytes() for name in cache.sizes()}


def files(cache: Path) -> dict[str, bytes]:
    return {name: content for name, content in snapshot(cache).items() if content != b"<folder>"}


def assert_equal_stores(there: S3Path, here: Path) -> None:
    """All but the note of where the CSVs lie, which is relative on a disk."""
    one, other = contents(there), files(here)
    assert one.pop(LAST_BUILD) and other.pop(LAST_BUILD)
    assert_equal_trees(one, other)


def assert_reads_as(truth: dict[str, np.ndarray], store: Store) -> None:
    found = read_all(store)
    assert found.keys() == truth.keys()
    for name, frames in truth.items():
        np.testing.assert_array_equal(found[name], frames)


def refusal(act: Callable[[], object], kind: type[BatcacheError] = StoreError) -> str:
    with pytest.raises(kind) as caught:
        act()
    said = str(caught.value)
    assert "\n" not in said and len(said) < 400
    assert not any(secret in said for secret in SECRETS.values())
    return said


def flip(place: S3Path, at: int) -> None:
    content = bytearray(place.read_bytes())
    content[at] ^= 1
    place.write_bytes(bytes(content))
