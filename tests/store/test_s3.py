"""The laws of a cache on S3: the bytes and numbers of a local one, or an error that names the damage."""

import errno
import io
import json
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import ChangedStoreError, StoreError
from batcache.storage import s3
from batcache.store.format.commit import commit_path
from batcache.store.format.lock import LOCK, hold
from batcache.store.format.shard import shard_path
from batcache.store.reader import Store
from batcache.store.upkeep.verify import verify
from tests.store import on_s3
from tests.store.bucket import BUCKET, SECRETS, Fault
from tests.store.on_s3 import (
    LENGTHS,
    assert_equal_stores,
    assert_reads_as,
    at,
    contents,
    flip,
    refusal,
    somewhere,
    upload,
)
from tests.store.project import Project, copy, read_all
from tests.store.test_faults import mounted

pytestmark = on_s3.pytestmark
server = on_s3.server
quick = on_s3.quick
between = on_s3.between
local = on_s3.local
truth = on_s3.truth
project = on_s3.project


# The same as on a disk.


@pytest.mark.parametrize("workers", [1, 4])
def test_a_store_on_s3_has_the_bytes_of_a_local_one(server, local, truth, workers):
    project = at(somewhere(server), local)
    assert project.build(workers=workers).computed == set(LENGTHS)
    assert_equal_stores(project.cache, local.cache)
    assert_reads_as(truth, project.store())


def test_a_second_build_computes_nothing_and_writes_nothing_but_its_lock_and_the_log(between, local):
    project = at(somewhere(between.endpoint), local)
    project.build()
    between.requests.clear()
    built = project.build()
    assert built.computed == set() and built.report.kept == len(LENGTHS)
    key = f"/{BUCKET}/{project.cache.key}"
    changes = [path for method, path in between.requests if method not in ("GET", "HEAD")]
    assert changes[0] == f"{key}/building.json"  # the lock, made and removed
    assert f"{key}.log" in changes and len(changes) == 3
    assert len((project.cache.parent / "features.zarr.log").read_bytes().splitlines()) == 2


def test_new_changed_and_renamed_recordings_change_a_store_as_on_a_disk(server, local, tmp_path):
    here = Project(copy(local.root, tmp_path / "project"))
    there = at(somewhere(server), here)
    there.build()
    here.record("new.wav", 0.3)
    here.record("a.wav", 0.15, seed=9)
    (here.root / "c.wav").rename(here.root / "renamed.wav")
    here.list("new.wav", "a.wav", "b.wav", "long.wav", "renamed.wav")
    assert there.build().computed == here.build().computed == {"new.wav", "a.wav"}
    assert_equal_stores(there.cache, here.cache)


def test_a_reject_is_listed_beside_the_cache_until_it_is_mended(server, tmp_path):
    project = Project(tmp_path)
    project.record("good.wav")
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    project.list("good.wav", "bad.wav")
    project.cache = somewhere(server)
    place = project.cache.parent / "features.zarr.rejected.csv"
    assert set(project.build().report.rejected) == {"bad.wav"}
    assert b"bad.wav" in place.read_bytes()
    project.record("bad.wav")
    assert not project.build().report.rejected
    assert not place.exists()


@pytest.mark.parametrize(("pages", "said"), [(1, "cannot be created"), (3, os.strerror(errno.ENOSPC))])
def test_a_full_disk_of_temporary_files_is_named_and_not_the_bucket(server, local, tmp_path, monkeypatch, pages, said):
    project = at(somewhere(server), local)
    with mounted(tmp_path / "tmp", f"size={pages * os.sysconf('SC_PAGE_SIZE')}"):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
        with pytest.raises(StoreError) as error:
            project.build()
        assert error.value.place == str(tmp_path / "tmp") and said in error.value.finding
    monkeypatch.setattr("tempfile.tempdir", None)
    project.build()
    assert_equal_stores(project.cache, local.cache)


def test_any_span_reads_as_on_a_disk(project, truth):
    store = project.store()
    for name, whole in truth.items():
        row = store.find(name)
        for start, stop in [(0, None), (0, 1), (7, 7), (99, 101), (100, 300), (150, 10_000), (len(whole) - 1, None)]:
            np.testing.assert_array_equal(store.read_frames(row, start, stop), whole[start:stop])


def test_consecutive_instances_are_one_request(between, local, truth):
    cache = somewhere(between.endpoint)
    upload(local.cache, cache)
    store = Store(cache)
    between.requests.clear()
    np.testing.assert_array_equal(store.read_frames(store.find("a.wav")), truth["a.wav"])
    assert len(between.requests) == 1


def test_a_store_that_travels_to_another_process_reads_the_same(project, truth):
    store = project.store()
    read_all(store)
    travelling = pickle.dumps(store)
    assert not any(secret.encode() in travelling for secret in SECRETS.values())
    assert_reads_as(truth, pickle.loads(travelling))


def test_threads_read_the_same(project, truth):
    store = project.store()
    names = [*truth] * 8
    with ThreadPoolExecutor(8) as pool:
        for name, frames in zip(names, pool.map(lambda name: store.read_frames(store.find(name)), names), strict=True):
            np.testing.assert_array_equal(frames, truth[name])


def test_zarr_reads_the_array(project, server):
    import zarr
    from obstore.store import S3Store
    from zarr.storage import ObjectStore

    client = S3Store(BUCKET, prefix=project.cache.key, endpoint=server, client_options={"allow_http": True})
    array = zarr.open_array(ObjectStore(client, read_only=True), path="instances", mode="r")
    store = project.store()
    row = store.find("long.wav")
    first, last = row.first_instance, row.first_instance + row.instances
    np.testing.assert_array_equal(np.asarray(array[first:last]), store.read_instances(first, row.instances))


def test_leftovers_of_a_killed_build_are_removed(project, local):
    shard_path(project.cache, 7).write_bytes(b"half a shard")
    commit_path(project.cache, 2).unlink()  # the records of the same recording count no more
    assert project.build().computed == {"long.wav"}
    assert_equal_stores(project.cache, local.cache)


def test_a_store_whose_making_was_cut_off_is_made(server, local):
    project = at(somewhere(server), local)
    (project.cache / "instances" / "zarr.json").write_bytes((local.cache / "instances" / "zarr.json").read_bytes())
    project.build()
    assert_equal_stores(project.cache, local.cache)


def test_what_is_no_store_stays(server, local):
    project = at(somewhere(server), local)
    (project.cache / "thesis.txt").write_bytes(b"years")
    for act in (project.build, project.store):
        assert "not empty, and no batcache store" in refusal(act)
    assert contents(project.cache) == {"thesis.txt": b"years"}


def test_a_store_copied_from_a_folder_names_no_csv_by_chance(project, tmp_path, monkeypatch):
    """Its note holds paths relative to that folder. They must not be found from where one happens to be."""
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    (tmp_path / "clips.csv").write_text("filename,Myotis\n")
    sources = project.store().last_build()
    assert not any(csv.exists() for csv in sources.csvs) and not sources.data_dir.exists()


def test_large_files_go_up_in_parts_and_come_back_whole(between):
    place = somewhere(between.endpoint) / "shard"
    content = np.random.default_rng(0).bytes(PARTS := 2 * s3.PART_BYTES + 12_345)
    place.upload(io.BytesIO(content))
    assert sum("partNumber" in path for _, path in between.requests) == 3
    assert place.read_bytes() == content and place.parent.sizes() == {"shard": PARTS}


# Damage.


@pytest.mark.parametrize("at", [0, 1600, 3199])
@pytest.mark.parametrize(("name", "shard", "slot", "number"), [("b.wav", 0, 3, 0), ("long.wav", 2, 1, 5)])
def test_a_flipped_byte_names_the_recording_and_the_instance(project, truth, name, shard, slot, number, at):
    flip(shard_path(project.cache, shard), slot * 3204 + at)
    store = project.store()
    said = refusal(lambda: store.read_frames(store.find(name)))
    assert f"instance {number} of {name} is damaged (its checksum does not match)" in said
    for other in LENGTHS.keys() - {name}:
        np.testing.assert_array_equal(store.read_frames(store.find(other)), truth[other])


def test_a_record_without_its_shard_is_refused_at_opening(project):
    shard_path(project.cache, 0).unlink()
    said = refusal(project.store)
    assert f"{shard_path(project.cache, 0)}: missing shard, which holds a.wav, b.wav" in said


def test_a_truncated_shard_is_refused_at_opening(project):
    place = shard_path(project.cache, 0)
    place.write_bytes(place.read_bytes()[:-1])
    assert "shard of 12883 bytes, committed 12884" in refusal(project.store)


def test_the_remedies_are_ones_that_a_bucket_has(project):
    """There is no repair in a bucket, and deleting a record gives up what of its shard is sound."""
    flip(shard_path(project.cache, 0), 3)
    store = project.store()
    said = [refusal(lambda: store.read_frames(store.find("a.wav")))]
    report = verify(project.cache)
    (damage,) = report.damages
    assert damage.remedy == "Copy the store to a disk, run `batcache verify --repair` there and copy it back"
    flip(commit_path(project.cache, 4), 200)
    said.append(refusal(project.store))
    for text, shard in zip(said, (0, 4), strict=True):
        assert "Copy the store to a disk, run `batcache verify --repair` there and copy it back" in text
        assert f"with all recordings of the shard at hand, delete commits/{shard}.json and build" in text


def test_a_shard_that_shrinks_or_goes_after_opening_is_named_at_reading(project):
    store, place = project.store(), shard_path(project.cache, 4)
    for content in (place.read_bytes()[:5000], place.read_bytes()[:100], b""):
        place.write_bytes(content)
        said = refusal(lambda: store.read_frames(store.find("c.wav")))
        assert str(place) in said and "c.wav" in said
    place.unlink()
    assert "which holds c.wav" in refusal(lambda: store.read_frames(store.find("c.wav")))


def test_who_had_the_store_open_is_told_that_it_was_changed_and_not_that_it_is_damaged(project, truth):
    store = project.store()
    shard_path(project.cache, 4).write_bytes(shard_path(project.cache, 0).read_bytes())
    commit_path(project.cache, 4).unlink()
    said = refusal(lambda: store.read_frames(store.find("c.wav")), ChangedStoreError)
    assert "since it was opened" in said and "repair`" not in said
    np.testing.assert_array_equal(store.read_frames(store.find("a.wav")), truth["a.wav"])


def test_a_damaged_record_is_refused(project):
    place = commit_path(project.cache, 0)
    flip(place, place.read_bytes().index(b'"frames":[') + 10)
    for act in (project.store, project.build):
        assert f"{place}: damaged commit record" in refusal(act)


@pytest.mark.parametrize("key", ["frames_per_instance", "instances_per_shard"])
@pytest.mark.parametrize("change", [lambda n: n + 1, lambda n: n ^ 1, lambda n: n // 2])
def test_a_changed_layout_opens_no_store_and_builds_none(project, key, change):
    place = project.cache / "zarr.json"
    document = json.loads(place.read_bytes())
    document["attributes"]["layout"][key] = change(document["attributes"]["layout"][key])
    place.write_bytes(json.dumps(document).encode())
    assert f"{place}: damaged, or changed since batcache wrote it" in refusal(project.store)
    del document["attributes"]["digest"]  # as in stores of before
    place.write_bytes(json.dumps(document).encode())
    assert f"{place}: its layout is damaged" in refusal(project.store)
    refusal(project.build)


# Who may write.


def test_of_many_who_create_an_object_one_does(server):
    place = somewhere(server)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: place.create_exclusively(b"%d" % i), range(8)))
    assert sum(won) == 1
    assert place.read_bytes() == b"%d" % won.index(True)


def test_who_created_an_object_knows_even_if_the_answer_was_lost(between):
    place = somewhere(between.endpoint)
    between.fault = lambda number, *_: "lost answer" if number == 1 else None
    assert place.create_exclusively(b"mine")
    assert not place.create_exclusively(b"yours")


def test_on_a_server_that_knows_no_conditions_the_second_builder_is_told_too(between):
    cache = somewhere(between.endpoint)
    between.fault = lambda *_: "no conditions"
    with hold(cache):
        mine = (cache / LOCK).read_bytes()
        assert "is being built by process" in refusal(lambda: hold(cache).__enter__())
        assert (cache / LOCK).read_bytes() == mine


def test_a_builder_whose_lock_was_written_over_at_once_does_not_begin(server, between):
    cache = somewhere(between.endpoint)
    with hold(cache):
        other = (cache / LOCK).read_bytes().replace(b'"host": "', b'"host": "night-2 ')

    def write_over(_number: int, method: str, _path: str) -> Fault | None:
        if method == "PUT" or between.requests[-2][0] != "PUT":
            return "no conditions"
        replace(cache / LOCK, endpoint=server).write_bytes(other)
        return None

    between.fault = write_over
    assert "on night-2 " in refusal(lambda: hold(cache).__enter__())
    assert (cache / LOCK).read_bytes() == other


# Training and evaluation.


def test_training_and_evaluation_give_the_same_numbers_as_on_a_disk(server, small, trained, tmp_path):
    from batcache.evaluation.evaluate import choose_clips, evaluate
    from batcache.evaluation.judged import read_judged
    from batcache.training.runs import BEST, read_run
    from tests.small_world import CPU, train_fully

    cache = somewhere(server)
    upload(small.store.path, cache)
    run, _ = train_fully(small.config, Store(cache), small.manifest, tmp_path / "runs")
    here = Path(shutil.copytree(trained, tmp_path / "here"))
    for place, store in ((run, Store(cache)), (here, small.store)):
        evaluate(choose_clips(place / BEST, store, small.manifest, "test", as_trained=True), CPU)
    assert read_run(run)["cache"] == str(cache)
    assert read_run(run)["inputs"] == read_run(here)["inputs"]
    (about, predictions), (_, expected) = read_judged(run, "test"), read_judged(here, "test")
    assert about["cache"] == str(cache)
    for name, values in vars(expected).items():
        np.testing.assert_array_equal(getattr(predictions, name), values)
