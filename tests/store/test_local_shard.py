"""The laws of a store in a bucket with copies kept on this disk: its numbers are the bucket's, its room is bounded."""

import contextlib
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import batcache
from batcache.errors import ChangedStoreError, ConfigError, StoreError
from batcache.storage.local_cache import LocalCache
from batcache.storage.s3 import S3Path
from batcache.store.format.shard import shard_path
from batcache.store.reader import Store
from tests.store import on_s3
from tests.store.bucket import Proxy
from tests.store.on_s3 import assert_reads_as, flip, refusal, somewhere, upload
from tests.store.project import Project, read_all

pytestmark = on_s3.pytestmark
server = on_s3.server
quick = on_s3.quick
between = on_s3.between

CHUNK = 3204
PER_SHARD = 32
LENGTHS = {"a.wav": 0.5, "b.wav": 1.7, "long.wav": 6.3, "c.wav": 1.0, "d.wav": 0.25}
LARGE = 1 << 30


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """102 instances, 32 a shard. Not to be changed."""
    project = Project(tmp_path_factory.mktemp("local"))
    for name, seconds in LENGTHS.items():
        project.record(name, seconds)
    project.list(*LENGTHS)
    project.build(per_shard=PER_SHARD)
    return project


@pytest.fixture(scope="module")
def truth(local: Project) -> dict[str, np.ndarray]:
    return read_all(local.store())


@pytest.fixture
def cache(between: Proxy, local: Project) -> S3Path:
    place = somewhere(between.endpoint)
    upload(local.cache, place)
    return place


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    return tmp_path / "copies"


def kept(cache: S3Path, copies: Path, most_bytes: int = LARGE) -> S3Path:
    return replace(cache, local=LocalCache(copies, most_bytes))


def size_of(copies: Path) -> int:
    return sum(place.stat().st_size for place in copies.iterdir())


def shards_asked_for(between: Proxy, act: Callable[[], object]) -> int:
    between.requests.clear()
    act()
    return between.count_shards()


# What it spares.


def test_the_second_epoch_asks_the_bucket_for_nothing(between, cache, copies, truth):
    store = Store(kept(cache, copies))
    shards = len(store.index.commits)
    assert shards == 4
    assert shards_asked_for(between, lambda: assert_reads_as(truth, store)) == shards, "each whole, in one request"
    assert shards_asked_for(between, lambda: assert_reads_as(truth, store)) == 0 and between.requests == []
    assert shards_asked_for(between, lambda: assert_reads_as(truth, Store(kept(cache, copies)))) == 0
    assert shards_asked_for(between, lambda: assert_reads_as(truth, pickle.loads(pickle.dumps(store)))) == 0


def test_without_a_local_cache_nothing_is_kept(between, cache, truth, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store(cache)
    assert shards_asked_for(between, lambda: assert_reads_as(truth, store)) > len(store.index.commits)
    assert shards_asked_for(between, lambda: assert_reads_as(truth, store)) > len(store.index.commits)
    assert list(tmp_path.iterdir()) == []


def test_threads_that_want_the_same_shard_ask_for_it_once(between, cache, copies, truth):
    between.latency_s = 0.05
    store = Store(kept(cache, copies))
    between.requests.clear()
    names = [*truth] * 4
    with ThreadPoolExecutor(8) as pool:
        for name, frames in zip(names, pool.map(lambda name: store.read_frames(store.find(name)), names), strict=True):
            np.testing.assert_array_equal(frames, truth[name])
    assert between.count_shards() == len(store.index.commits)


# Its room.


@pytest.mark.parametrize("chunks", [0, 3, 11, 40, 90])
def test_the_room_is_never_exceeded_and_the_numbers_are_right(cache, copies, truth, chunks):
    store = Store(kept(cache, copies, chunks * CHUNK))
    copies.mkdir()
    draw = random.Random(chunks)
    for _ in range(60):
        name = draw.choice([*truth])
        row = store.find(name)
        start = draw.randrange(row.frames)
        stop = draw.randint(start + 1, row.frames)
        np.testing.assert_array_equal(store.read_frames(row, start, stop), truth[name][start:stop])
        assert size_of(copies) <= chunks * CHUNK
    assert chunks < 11 or size_of(copies) > 0


def test_a_store_that_does_not_fit_is_read_by_no_more_than_five_seconds_around_what_is_asked_for(
    between, cache, copies, truth
):
    store = Store(kept(cache, copies, 40 * CHUNK))
    row = store.find("long.wav")
    first = row.first_instance % PER_SHARD
    assert first == 0
    assert shards_asked_for(between, lambda: store.read_frames(row, 1200, 1300)) == 1
    assert size_of(copies) == 10 * CHUNK
    assert shards_asked_for(between, lambda: store.read_frames(row, 1000, 2000)) == 0
    assert shards_asked_for(between, lambda: store.read_frames(row, 500, 2500)) == 1, "the rest in one request"


def test_what_was_not_read_for_longest_goes_first(copies):
    local = LocalCache(copies, 3000)
    for name in ("one", "two", "three"):
        local.keep(name, memoryview(bytes(900)))
    assert local.read("one", 0, memoryview(bytearray(900)))
    local.keep("four", memoryview(bytes(900)))
    assert {place.name for place in copies.iterdir()} == {"one.copy", "three.copy", "four.copy"}


def test_files_that_are_not_its_own_stay(copies):
    copies.mkdir()
    (copies / "thesis.txt").write_bytes(bytes(9000))
    local = LocalCache(copies, 1000)
    for name in "abcdefgh":
        local.keep(name, memoryview(bytes(900)))
    assert {place.name for place in copies.iterdir()} == {"thesis.txt", "h.copy"}


def test_what_another_process_wrote_counts(copies):
    here = LocalCache(copies, 10_000)
    here.keep("a", memoryview(bytes(1000)))
    other = "from batcache.storage.local_cache import LocalCache; from pathlib import Path\n"
    other += f"for i in range(8): LocalCache(Path({str(copies)!r}), 10_000).keep(f'b{{i}}', memoryview(bytes(1000)))"
    subprocess.run([sys.executable, "-c", other], check=True)
    for i in range(8):
        here.keep(f"c{i}", memoryview(bytes(1000)))
        assert size_of(copies) <= 12_000, "each process looks again before it has written a quarter of what is free"
    assert size_of(copies) <= 10_000


# Killed, side by side, damaged.


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_what_a_process_killed_while_it_wrote_left_is_never_read_and_goes(copies):
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom batcache.storage.local_cache import LocalCache\n"
        "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"LocalCache(Path({str(copies)!r}), 2500).keep('a', memoryview(b'x' * 1000))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert [place.suffix for place in copies.iterdir()] == [".partial"]
    local = LocalCache(copies, 2500)
    assert not local.read("a", 0, memoryview(bytearray(1)))
    for name in "abcd":
        local.keep(name, memoryview(bytes(1000)))
    assert {place.name for place in copies.iterdir()} == {"c.copy", "d.copy"}


READ = """
import sys, random
from pathlib import Path
import numpy as np
from batcache.storage.local_cache import LocalCache
from batcache.storage.s3 import S3Path
from batcache.store.reader import Store
bucket, key, endpoint, folder, most, seed, truth = sys.argv[1:]
truth = np.load(truth)
store = Store(S3Path(bucket, key, endpoint, local=LocalCache(Path(folder), int(most))))
print("open", flush=True)
sys.stdin.readline()
names = [*truth] * 12
random.Random(seed).shuffle(names)
for name in names:
    np.testing.assert_array_equal(store.read_frames(store.find(name)), truth[name])
print("right", flush=True)
"""


def begin_reading(cache: S3Path, copies: Path, most: int, seed: int, truth: Path) -> "subprocess.Popen[str]":
    arguments = [cache.bucket, cache.key, str(cache.endpoint), str(copies), str(most), str(seed), str(truth)]
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", READ, *arguments], stdin=pipe, stdout=pipe, text=True)
    assert process.stdout and process.stdout.readline() == "open\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [25, 70, 1000])
def test_two_processes_at_once_read_right_numbers_within_the_room(cache, copies, truth, tmp_path, chunks):
    np.savez(tmp_path / "truth.npz", **truth)
    most = chunks * CHUNK
    both = [begin_reading(cache, copies, most, seed, tmp_path / "truth.npz") for seed in (1, 2)]
    largest = 0
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    while any(process.poll() is None for process in both):
        taken = 0
        for place in copies.glob("*"):
            with contextlib.suppress(FileNotFoundError):
                taken += place.stat().st_size
        largest = max(largest, taken)
        time.sleep(0.002)
    assert [process.communicate()[0] for process in both] == ["right\n"] * 2
    assert size_of(copies) <= most + 2 * PER_SHARD * CHUNK
    assert 0 < largest <= most + 2 * PER_SHARD * CHUNK
    assert_reads_as(truth, Store(kept(cache, copies, most)))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_readers_killed_at_any_moment_leave_nothing_that_is_believed(cache, copies, truth, tmp_path):
    np.savez(tmp_path / "truth.npz", **truth)
    draw = random.Random(0)
    for seed in range(6):
        process = begin_reading(cache, copies, 45 * CHUNK, seed, tmp_path / "truth.npz")
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(draw.random() * 0.2)
        process.kill()
        assert process.communicate()[0] in ("", "right\n")
    assert_reads_as(truth, Store(kept(cache, copies, 45 * CHUNK)))
    assert size_of(copies) <= 45 * CHUNK


def spoil_each(copies: Path, spoil: Callable[[bytes], bytes]) -> None:
    for place in copies.iterdir():
        place.write_bytes(spoil(place.read_bytes()))


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": lambda content: content[:1601] + bytes([content[1601] ^ 1]) + content[1602:],
    "cut short": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "zeros": lambda content: bytes(len(content)),
    "another shard's": lambda content: content[CHUNK:] + content[:CHUNK],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("chunks", [40, 1000])
def test_a_damaged_copy_is_dropped_and_read_again_from_the_bucket(between, cache, copies, truth, damage, chunks):
    store = Store(kept(cache, copies, chunks * CHUNK))
    assert_reads_as(truth, store)
    spoil_each(copies, DAMAGES[damage])
    assert shards_asked_for(between, lambda: assert_reads_as(truth, store)) > 0
    assert_reads_as(truth, store)
    if chunks == 1000:
        assert shards_asked_for(between, lambda: assert_reads_as(truth, store)) == 0, "all copies are sound again"


def test_an_answer_that_was_spoilt_on_its_way_is_asked_for_again_and_not_kept(between, cache, copies, truth):
    store = Store(kept(cache, copies))
    spoilt: list[str] = []

    def spoil_once(_number: int, _method: str, path: str) -> str | None:
        if "/instances/c/" in path and path not in spoilt:
            spoilt.append(path)
            return "flipped byte"
        return None

    between.fault = spoil_once
    assert_reads_as(truth, store)
    assert len(spoilt) == len(store.index.commits)
    assert_reads_as(truth, store)


def test_damage_in_the_bucket_is_told_as_without_copies(cache, copies, truth):
    for _ in range(2):
        flip(shard_path(cache, 0), 100)
        broken, names = Store(kept(cache, copies)), []
        for name in truth:
            try:
                np.testing.assert_array_equal(broken.read_frames(broken.find(name)), truth[name])
            except StoreError as error:
                assert "is damaged (its checksum does not match)" in str(error)
                names.append(name)
        assert len(names) <= 1
    assert names == [], "mended in the bucket, all is read"


def test_a_folder_that_cannot_be_written_to_is_named(cache, copies):
    copies.write_text("a file")
    store = Store(kept(cache, copies))
    said = refusal(lambda: store.frames("a.wav"))
    assert said.startswith(f"{copies}: the local cache cannot be written to") and "--local-cache" in said


# Another store at the same place.


def test_a_shard_that_was_built_anew_is_never_read_from_an_old_copy(between, cache, copies, truth, tmp_path):
    before = Store(kept(cache, copies))
    assert_reads_as(truth, before)
    other = Project(tmp_path / "other")
    for name, seconds in LENGTHS.items():
        other.record(name, seconds, seed=99)
    other.list(*LENGTHS)
    other.build(per_shard=PER_SHARD)
    upload(other.cache, cache)
    new = read_all(other.store())
    assert not np.array_equal(new["a.wav"], truth["a.wav"])
    after = Store(kept(cache, copies))
    assert shards_asked_for(between, lambda: assert_reads_as(new, after)) == len(after.index.commits)
    assert shards_asked_for(between, lambda: assert_reads_as(new, after)) == 0
    assert_reads_as(truth, before)  # opened before, whole in its copies
    for place in copies.iterdir():
        place.unlink()
    refusal(lambda: before.frames("a.wav"), ChangedStoreError)


def test_stores_of_two_places_share_a_folder(between, cache, copies, local, truth):
    other = somewhere(between.endpoint)
    upload(local.cache, other)
    for place in (cache, other):
        store = Store(kept(place, copies))
        assert shards_asked_for(between, lambda store=store: assert_reads_as(truth, store)) > 0
    assert len(list(copies.iterdir())) == 2 * len(store.index.commits)


# What a user may ask for.


def test_python_opens_a_store_with_copies(between, cache, copies, truth):
    given = {"endpoint": between.endpoint, "local_cache": str(copies), "local_cache_gb": 0.5}
    assert_reads_as(truth, batcache.open_store(str(cache), **given))
    store = batcache.open_store(str(cache), **given)
    assert store.path.local == LocalCache(copies, 500_000_000)
    assert shards_asked_for(between, lambda: assert_reads_as(truth, store)) == 0


def test_copies_of_what_lies_on_a_disk_are_refused(local, copies):
    with pytest.raises(ConfigError, match=r"data\.local_cache: given, but .* lies on a disk already"):
        batcache.open_store(local.cache, local_cache=copies)
    with pytest.raises(ConfigError, match=r"data\.local_cache_gb: given without data\.local_cache"):
        batcache.open_store("s3://bats/x.zarr", local_cache_gb=3)
    with pytest.raises(ConfigError, match=r"data\.local_cache_gb"):
        batcache.open_store("s3://bats/x.zarr", local_cache=copies, local_cache_gb=0)
