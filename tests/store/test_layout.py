"""The laws of ``batcache.store``'s format: its bytes, and what other Zarr readers make of them."""

import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from batcache.config.settings import DataConfig
from batcache.errors import BatcacheError, StoreError
from batcache.store.build.target import create
from batcache.store.format.array import array_length, resize
from batcache.store.format.attributes import create_store, read_attributes
from batcache.store.format.last_build import LAST_BUILD
from batcache.store.format.layout import Layout
from batcache.store.format.shard import ShardWriter, parse_shard_index, read_chunk, shard_path
from batcache.store.reader import Store
from tests.store.project import PER_SHARD, SMALL, Project, assert_equal_trees, copy, read_all, snapshot


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Six shards: the first and the last of the long recording's three each leave a slot unused."""
    project = Project(tmp_path_factory.mktemp("layout"))
    lengths = {"a.wav": 0.25, "long.wav": 1.03, "b.wav": 0.31, "c.wav": 0.2, "broken.wav": 0.0}
    for name, seconds in lengths.items():
        if seconds:
            project.record(name, seconds)
    project.record("broken.wav", samples=[0.1] * 20_000 + [np.nan] * 10_000)
    project.list(*lengths)
    project.build()
    return project


def test_zarr_python_and_tensorstore_read_the_numbers_that_our_reader_reads(project):
    store = project.store()
    array = zarr.open_array(project.cache / "instances", mode="r")
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(project.cache / "instances")},
        "fill_missing_data_reads": False,
    }
    other = tensorstore.open(spec, read=True).result()
    assert array.shape == tuple(other.shape)
    assert array.shape[0] == 23, "as far as the last instance in use"
    held = sum(len(commit.crc32c) for commit in store.index.commits.values())
    assert held == 21, "two slots lie unused before a later shard"
    for shard, commit in store.index.commits.items():
        first, count = shard * PER_SHARD, len(commit.crc32c)
        ours = store.read_instances(first, count)
        np.testing.assert_array_equal(ours, array[first : first + count])
        np.testing.assert_array_equal(ours, other[first : first + count].read().result())


def test_a_slot_that_no_recording_uses_is_missing_for_tensorstore_and_nan_for_zarr_python(project):
    unused = 15
    with pytest.raises(StoreError, match="missing"):
        project.store().read_instances(unused, 1)
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(project.cache / "instances")}}
    strict = tensorstore.open(spec | {"fill_missing_data_reads": False}, read=True).result()
    with pytest.raises(ValueError, match="missing"):
        strict[unused].read().result()
    assert np.isnan(zarr.open_array(project.cache / "instances", mode="r")[unused]).all()


def test_the_long_recording_fills_shards_of_its_own(project):
    store = project.store()
    row = store.find("long.wav")
    assert (row.first_instance, row.instances, row.frames) == (4, 11, 1030)
    assert [store.index.commits[shard].continues for shard in range(6)] == [False, True, True, False, False, False]


def test_the_metadata_of_a_default_store_are_valid_zarr_v3(tmp_path):
    config = DataConfig()
    create_store(tmp_path / "f.zarr", config.features, Layout(config.frames_per_instance, config.n_mels))
    group = zarr.open_group(tmp_path / "f.zarr", mode="r", zarr_format=3)
    array = group["instances"]
    assert (array.shape, array.dtype) == ((0, 500, 128), np.float16)
    assert (array.chunks, array.shards) == ((1, 500, 128), (640, 500, 128))
    assert np.isnan(array.fill_value)
    assert array.metadata.dimension_names == ("instance", "frame", "mel")
    assert group.attrs["fingerprint"] == config.fingerprint
    features, layout, _ = read_attributes(tmp_path / "f.zarr")
    assert (features, layout) == (config.features, Layout(500, 128, 640))


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("begun", [[], ["instances", "commits"], ["instances/zarr.json"], [f"{'0a' * 16}.partial"]])
def test_an_empty_folder_becomes_a_store_and_stays_that_folder(project, tmp_path, linked, begun):
    """As a mount point must, or the end of a link: nothing can be renamed over it. It may have been begun before."""
    (tmp_path / "there").mkdir()
    made = Project(tmp_path, cache="there")
    if linked:
        (tmp_path / "link").symlink_to("there", target_is_directory=True)
        made = Project(tmp_path, cache="link")
    for name in begun:
        place = made.cache / name
        place.parent.mkdir(exist_ok=True)
        if place.suffix:
            place.write_text("half")
        else:
            place.mkdir()
    before = (tmp_path / "there").stat().st_ino
    for name in ("a.wav", "long.wav", "b.wav", "c.wav", "broken.wav"):
        shutil.copy2(project.root / name, tmp_path / name)
    made.list("a.wav", "long.wav", "b.wav", "c.wav", "broken.wav")
    made.build()
    assert (tmp_path / "there").stat().st_ino == before and made.cache.is_symlink() == linked
    expected, found = snapshot(project.cache), snapshot(made.cache)
    assert_equal_trees(*({n: c for n, c in there.items() if n != LAST_BUILD} for there in (expected, found)))


@pytest.mark.parametrize(
    "name", ["thesis.txt", "instances/thesis.txt", "commits/0.json", "thesis.partial", "lost/found"]
)
def test_a_folder_that_holds_anything_else_is_left_alone(tmp_path, name):
    cache = tmp_path / "mine"
    (cache / name).parent.mkdir(parents=True)
    (cache / name).write_text("years")
    made = Project(tmp_path, cache="mine")
    made.record("a.wav")
    made.list("a.wav")
    for act in (made.build, made.store):
        with pytest.raises(StoreError, match=r"mine: not empty, and no batcache store: .* Pass another --cache"):
            act()
    assert {n: c for n, c in snapshot(cache).items() if c != b"<folder>"} == {name: b"years"}


def test_of_several_who_make_a_store_in_an_empty_folder_nobody_spoils_it(tmp_path):
    (tmp_path / "f.zarr").mkdir()
    config = DataConfig()
    layout = Layout(config.frames_per_instance, config.n_mels)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: create(tmp_path / "f.zarr", config.features, layout), range(8)))
    create(tmp_path / "other.zarr", config.features, layout)
    assert_equal_trees(snapshot(tmp_path / "f.zarr"), snapshot(tmp_path / "other.zarr"))


def test_attributes_hold_no_clock_host_or_path(project):
    attributes = dict(zarr.open_group(project.cache, mode="r").attrs)
    assert sorted(attributes) == ["digest", "features", "fingerprint", "format", "format_version", "layout", "versions"]
    assert str(project.root) not in json.dumps(attributes)


def test_a_resized_array_stays_valid_and_one_of_that_length_is_not_written(project, tmp_path):
    create_store(tmp_path / "f.zarr", SMALL.features, Layout(100, 16, 4))
    place = tmp_path / "f.zarr" / "instances" / "zarr.json"
    resize(tmp_path / "f.zarr", 7)
    assert zarr.open_array(place.parent, mode="r").shape == (7, 100, 16)
    before = place.stat()
    resize(tmp_path / "f.zarr", 7)
    assert (place.stat().st_mtime_ns, place.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


@pytest.mark.parametrize("garbage", [None, b"", b"{", b"[]", b'{"shape": []}', b"\xff\xfe"])
def test_an_array_without_metadata_is_not_resized(tmp_path, garbage):
    create_store(tmp_path / "f.zarr", SMALL.features, Layout(100, 16, 4))
    place = tmp_path / "f.zarr" / "instances" / "zarr.json"
    place.unlink()
    if garbage is not None:
        place.write_bytes(garbage)
    with pytest.raises(StoreError, match=r"zarr\.json"):
        resize(tmp_path / "f.zarr", 3)


@given(
    used=st.integers(0, 6),
    frames=st.integers(1, 4),
    bands=st.integers(1, 3),
    spare=st.integers(0, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_a_shard_comes_back_chunk_by_chunk(used, frames, bands, spare, seed):
    layout = Layout(frames, bands, max(1, used + spare))
    instances = np.random.default_rng(seed).standard_normal((used, frames, bands)).astype(np.float16)
    file = io.BytesIO()
    writer = ShardWriter(file, layout)
    for instance in instances:
        writer.append(instance)
    assert writer.room == layout.instances_per_shard - used
    size, crcs = writer.finish()
    shard = file.getvalue()
    assert (size, len(crcs)) == (len(shard), used)
    entries = parse_shard_index(memoryview(shard), layout)
    for instance, (offset, stored) in zip(instances, entries.tolist(), strict=False):
        chunk = shard[offset : offset + stored - 4]
        np.testing.assert_array_equal(np.frombuffer(chunk, "<f2").reshape(frames, bands), instance)
    assert (entries[used:] == 2**64 - 1).all()


@pytest.mark.parametrize("content", [b"", b"abc", b"\0" * 68, b"\0" * 200])
def test_a_shard_whose_index_is_not_there_is_refused(content):
    with pytest.raises(ValueError, match="checksum"):
        parse_shard_index(memoryview(content), Layout(2, 2, 4))


def test_a_chunk_that_the_system_cannot_open_is_no_missing_chunk(project):
    """It would be repaired: computed again, or given up where its recording is gone."""
    resource = pytest.importorskip("resource")
    _, layout, _ = read_attributes(project.cache)
    assert len(read_chunk(project.cache, 0, layout)) == layout.chunk_bytes + 4
    assert not len(read_chunk(project.cache, 10**6, layout)), "there is none"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(StoreError, match="cannot be read") as caught:
            read_chunk(project.cache, 0, layout)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.place == str(shard_path(project.cache, 0))


def test_frames_take_as_many_instances_as_hold_them_and_at_least_one():
    layout = Layout(100, 16)
    assert [layout.instances(n) for n in (0, 1, 100, 101, 5000)] == [1, 1, 1, 2, 50]


def test_the_array_ends_with_the_last_instance_in_use():
    layout = Layout(100, 16, 4)
    assert array_length([], layout) == 0
    assert array_length([(0, 4), (2, 1), (1, 2)], layout) == 9


# Settings of another batcache, or a damaged file.


@pytest.mark.slow
def test_attributes_with_any_byte_flipped_are_refused_or_decide_the_same_numbers(project, tmp_path):
    """The very numbers: of every recording, as they read from the spoilt store."""
    cache = copy(project.cache, tmp_path / "f.zarr")
    truth = read_all(project.store())
    place = cache / "zarr.json"
    text = place.read_bytes()
    for at in range(0, len(text)):
        for bits in (0x01, 0x10):
            place.write_bytes(text[:at] + bytes([text[at] ^ bits]) + text[at + 1 :])
            try:
                store = Store(cache)
                found = read_all(store)
            except BatcacheError as error:
                assert isinstance(error, StoreError), error
            else:
                assert store.features.fingerprint == SMALL.fingerprint and found.keys() == truth.keys()
                for name, frames in truth.items():
                    np.testing.assert_array_equal(found[name], frames)
