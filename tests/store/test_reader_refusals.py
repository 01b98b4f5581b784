"""A store whose records or settings are damaged, foreign or newer is refused by name."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from batcache.config.features import FRONT_END_VERSION, FeatureConfig
from batcache.store.format.commit import Commit, commit_path, write_commit
from batcache.store.format.index import read_records
from batcache.store.reader import Store
from tests.store import readable
from tests.store.project import SMALL, assert_equal_trees, flip, snapshot
from tests.store.readable import refusal
from tests.store.records import signed

sound = readable.sound
project = readable.project


def test_a_flipped_byte_in_a_commit_record_names_it_at_opening_and_at_building(project):
    place = commit_path(project.cache, 0)
    flip(place, place.read_bytes().index(b'"frames":[') + 10)
    for act in (project.store, project.build):
        assert f"{place}: damaged commit record (its digest does not match)" in refusal(act)


def test_a_record_that_cannot_be_read_is_named_like_a_damaged_one(project):
    place = commit_path(project.cache, 4)
    place.unlink()
    place.mkdir()
    for act in (project.store, project.build):
        assert f"{place}: a commit record that cannot be read" in refusal(act)
    records, refused = read_records(project.cache, SMALL.fingerprint)
    assert set(records) == {0, 1, 2, 3} and set(refused) == {4}


@pytest.mark.skipif(sys.platform != "linux", reason="reads memory that is not there, as Linux refuses it")
def test_a_record_on_a_failing_disk_is_named_like_a_damaged_one(project):
    place = commit_path(project.cache, 4)
    place.unlink()
    place.symlink_to("/proc/self/mem")  # opens, and gives EIO
    assert f"{place}: a commit record that cannot be read (Input/output error)" in refusal(project.store)


def test_a_commit_record_under_another_name_is_refused(project):
    place = commit_path(project.cache, 0).rename(commit_path(project.cache, 7))
    for act in (project.store, project.build):
        assert f"{place}: a commit record of another store or shard" in refusal(act)


def test_swapped_commit_records_are_refused(project):
    one, other = commit_path(project.cache, 0), commit_path(project.cache, 4)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    assert "a commit record of another store or shard" in refusal(project.store)


def test_a_commit_record_of_other_settings_is_refused(project):
    place = commit_path(project.cache, 4)
    commit = Commit.from_json(place, place.read_bytes())
    write_commit(project.cache, replace(commit, fingerprint=FeatureConfig(n_mels=20).fingerprint))
    for act in (project.store, project.build):
        assert f"{place}: a commit record of another store or shard" in refusal(act)


@pytest.mark.parametrize("kind", ["record", "store"])
def test_a_newer_format_is_refused_saying_both_versions(project, kind):
    place = commit_path(project.cache, 0) if kind == "record" else project.cache / "zarr.json"
    document = json.loads(place.read_bytes())
    (document if kind == "record" else document["attributes"])["format_version"] = 2
    document.pop("digest", None)
    place.write_bytes(signed(document) if kind == "record" else json.dumps(document).encode())
    for act in (project.store, project.build):
        said = refusal(act)
        assert "format version 2, this batcache reads 1" in said
        assert str(place if kind == "record" else project.cache) in said


def test_a_store_of_an_earlier_front_end_is_read_and_not_built_into(project, monkeypatch):
    before = project.store().read_instances(0, 1)
    monkeypatch.setattr("batcache.config.features.FRONT_END_VERSION", 99)
    store = project.store()
    np.testing.assert_array_equal(store.read_instances(0, 1), before)
    assert store.front_end_version == FRONT_END_VERSION
    said = (
        f"computed by front end {FRONT_END_VERSION}, this batcache computes by front end 99. Build into a new --cache"
    )
    assert said in refusal(project.build)


@pytest.mark.parametrize("place", ["recordings", ""])
def test_a_record_with_columns_of_a_newer_batcache_is_refused_and_not_cut(project, place):
    record = commit_path(project.cache, 0)
    document = json.loads(record.read_bytes())
    del document["digest"]
    (document[place] if place else document)["loudness"] = [3.0] * len(document["recordings"]["path"])
    record.write_bytes(signed(document))
    for act in (project.store, project.build):
        said = refusal(act)
        assert f"{record}: a commit record with columns that this batcache does not know: loudness" in said
        assert "Upgrade batcache" in said


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"{}", b"\xff\xfe\x00"])
def test_a_store_without_its_metadata_is_refused_by_name(project, content):
    place = project.cache / "zarr.json"
    place.unlink()
    if content is not None:
        place.write_bytes(content)
    for act in (project.store, project.build):
        assert refusal(act).startswith(f"{project.cache}: ")


def test_a_file_or_another_folder_is_no_store(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder", "nothing"):
        assert refusal(lambda name=name: Store(tmp_path / name)).startswith(str(tmp_path / name))


@pytest.mark.parametrize("key", ["frames_per_instance", "n_mels", "instances_per_shard"])
@pytest.mark.parametrize("change", [lambda n: n * 2, lambda n: n + 1, lambda n: n ^ 1, lambda n: n // 2])
def test_a_changed_layout_opens_no_store_and_builds_none(project, key, change):
    place = project.cache / "zarr.json"
    document = json.loads(place.read_bytes())
    document["attributes"]["layout"][key] = change(document["attributes"]["layout"][key])
    place.write_text(json.dumps(document))
    before = snapshot(project.cache)
    for act in (project.store, project.build):
        assert refusal(act).startswith(str(project.cache))
    assert_equal_trees(snapshot(project.cache), before)


@pytest.mark.parametrize(
    "change",
    [
        {"first_instance": -4},
        {"first_instance": 10**12},
        {"instances": 0},
        {"instances": 4},
        {"frames": 10**12},
        {"frames": -1},
    ],
)
def test_a_row_whose_instances_are_not_in_its_shard_opens_no_store(project, change):
    place = commit_path(project.cache, 4)
    commit = Commit.from_json(place, place.read_bytes())
    write_commit(project.cache, replace(commit, recordings=(structs.replace(commit.recordings[0], **change),)))
    assert f"{place}: a commit record that does not fit" in refusal(project.store)


def test_a_row_that_two_records_claim_says_to_build_again(project):
    """As it is between the shard of changed audio and the revised record of the old."""
    old = commit_path(project.cache, 0).read_bytes()
    project.record("a.wav", 0.25, seed=8)
    project.build()
    frames = project.frames("a.wav")
    commit_path(project.cache, 0).write_bytes(old)
    store = project.store()
    said = refusal(lambda: store.find("a.wav"))
    assert "a build was stopped while it replaced a.wav. Run `batcache build` again" in said
    assert store.find("b.wav") is not None
    assert project.build().computed == set()
    np.testing.assert_array_equal(project.frames("a.wav"), frames)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}", b'{"csvs": 1, "split_of": {}, "data_dir": "."}'])
def test_a_damaged_note_of_the_last_build_is_named(project, content):
    place = project.cache / "last_build.json"
    place.unlink()
    if content is not None:
        place.write_bytes(content)
    assert refusal(project.store().last_build).startswith(f"{place}: ")
    project.build()
    assert project.store().last_build().csvs == (project.csv.resolve(),)
