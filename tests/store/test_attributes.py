"""Settings of another batcache, or a damaged file of them, are refused by name."""

import json
from pathlib import Path

import pytest
import zarr

from batcache.config.features import FRONT_END_VERSION
from batcache.errors import StoreError
from batcache.store.format.attributes import read_attributes
from tests.store.project import SMALL


def edit(cache: Path, **attributes: object) -> None:
    place = cache / "zarr.json"
    document = json.loads(place.read_bytes())
    document["attributes"] |= attributes
    place.write_text(json.dumps(document))


def test_a_newer_store_says_both_versions(empty):
    edit(empty, format_version=2)
    with pytest.raises(StoreError, match=r"f\.zarr: format version 2, this batcache reads 1\. Upgrade batcache"):
        read_attributes(empty)


def test_a_store_of_a_later_front_end_says_both_fingerprints(empty):
    later = SMALL.features.fingerprint_by(FRONT_END_VERSION + 1)
    edit(empty, fingerprint=later)
    with pytest.raises(StoreError, match=f"fingerprint {later[:12]}, here {SMALL.fingerprint[:12]}.*Upgrade batcache"):
        read_attributes(empty)


def test_settings_that_do_not_fit_their_fingerprint_are_refused(empty):
    edit(empty, fingerprint="0" * 64)
    with pytest.raises(StoreError, match="fingerprint 000000000000, here"):
        read_attributes(empty)


@pytest.mark.parametrize("changed", [{"fmin": 1e6}, {"hop_length": 2048}, {"unheard_of": 1}, {"fmin": "low"}])
def test_settings_that_cannot_be_are_a_fault_of_the_store(empty, changed):
    features = json.loads((empty / "zarr.json").read_bytes())["attributes"]["features"]
    edit(empty, features=features | changed)
    with pytest.raises(StoreError, match=r"f\.zarr: settings that this batcache does not know"):
        read_attributes(empty)


@pytest.mark.parametrize("key", ["frames_per_instance", "n_mels", "instances_per_shard"])
@pytest.mark.parametrize("value", [0, -5, 10**13, 10**400, "640", 4.0, True, None, [], {"a": 1}])
def test_a_layout_that_cannot_be_is_a_fault_of_the_store(empty, key, value):
    layout = json.loads((empty / "zarr.json").read_bytes())["attributes"]["layout"]
    edit(empty, layout=layout | {key: value})
    with pytest.raises(StoreError, match=r"f\.zarr: settings that this batcache does not know") as caught:
        read_attributes(empty)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["features", "fingerprint", "layout", "versions"])
@pytest.mark.parametrize("value", [7, None, [], [1], {"a": {}}, "x\ny", {"fmin\n": 1}])
def test_attributes_of_another_type_are_a_fault_of_the_store(empty, name, value):
    edit(empty, **{name: value})
    with pytest.raises(StoreError, match=r"f\.zarr: settings that this batcache does not know") as caught:
        read_attributes(empty)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changed", [{"pcen_gain": []}, {"pcen_bias": 1e999}, {"n_fft": "1024"}, {"hop_length": 0}])
def test_settings_of_another_type_are_a_fault_of_the_store(empty, changed):
    features = json.loads((empty / "zarr.json").read_bytes())["attributes"]["features"]
    edit(empty, features=features | changed)
    with pytest.raises(StoreError, match=r"f\.zarr: settings that this batcache does not know"):
        read_attributes(empty)


def test_attributes_that_were_changed_are_refused_and_others_may_be_added(empty):
    written = json.loads((empty / "zarr.json").read_bytes())["attributes"]
    edit(empty, title="of a survey")
    assert read_attributes(empty)[2] == written | {"title": "of a survey"}
    edit(empty, versions=written["versions"] | {"torch": "1.0"})
    with pytest.raises(StoreError, match=r"zarr\.json: .* its digest does not match.* delete its attribute digest"):
        read_attributes(empty)
    content = (empty / "zarr.json").read_bytes()
    (empty / "zarr.json").write_bytes(content.replace(b'"digest"', b'"digesu"'))
    with pytest.raises(StoreError, match="its digest does not match"):
        read_attributes(empty)
    document = json.loads(content)
    del document["attributes"]["digest"]
    (empty / "zarr.json").write_text(json.dumps(document))
    assert read_attributes(empty)[2]["versions"]["torch"] == "1.0", "as in stores of earlier versions"


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "content",
    [
        DEEP,
        b'{"attributes": ' + DEEP + b"}",
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"attributes": 3}',
        b'{"attributes": {}}',
        b"\xff",
    ],
)
def test_garbage_is_no_store(empty, content):
    (empty / "zarr.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"f\.zarr: not a batcache store"):
        read_attributes(empty)


def test_somebody_elses_zarr_group_is_no_store(tmp_path):
    zarr.create_group(tmp_path / "theirs.zarr", attributes={"format": "theirs"})
    with pytest.raises(StoreError, match=r"theirs\.zarr: not a batcache store"):
        read_attributes(tmp_path / "theirs.zarr")


def test_no_store_is_not_a_damaged_store(tmp_path):
    with pytest.raises(StoreError, match=r"none\.zarr: no cache here"):
        read_attributes(tmp_path / "none.zarr")
