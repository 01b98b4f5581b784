"""A record of a commit comes back as it was written, or is refused by name."""

import hashlib
import json
from array import array
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from batcache.errors import StoreError
from batcache.store.format.commit import CachedRecording, Commit
from tests.store.records import signed

ROW = CachedRecording(
    path="nächte/a.wav",
    size=307_244,
    mtime_ns=1_600_000_000_123_456_789,
    content="ab" * 32,
    header_rate=38_400,
    channels=1,
    time_expansion=10.0,
    expansion_source="manifest",
    true_rate=384_000,
    nyquist_hz=192_000.0,
    duration_s=0.4,
    first_instance=5,
    instances=4,
    frames=400,
    dead_bands=0,
    energy_below=0.0312,
    energy_above=0.25,
)
FAILED = structs.replace(ROW, path="b.wav", failure="NaN.")
COMMIT = Commit(1, 2, "f" * 64, 13_000, False, array("I", [1, 2**32 - 1, 7]), (ROW, FAILED))


def test_a_record_of_before_files_were_asked_is_read():
    document = json.loads(COMMIT.to_json())
    del document["digest"]
    later = [
        "doubt",
        "recorded_at",
        "latitude",
        "longitude",
        "recorder",
        "species_auto",
        "species_manual",
        "unread",
    ]
    for name in later:
        del document["recordings"][name]
    assert Commit.from_json(Path("1.json"), signed(document)) == COMMIT


@pytest.mark.parametrize(
    "change",
    [
        {"recordings": {}},
        {"recordings": []},
        {"crc32c": ["x"]},
        {"crc32c": [-1]},
        {"recordings": {"path": 1}},
        {"recordings": json.loads(COMMIT.to_json())["recordings"] | {"frames": ["400", 400]}},
        {"recordings": json.loads(COMMIT.to_json())["recordings"] | {"frames": [400]}},
        {"recordings": json.loads(COMMIT.to_json())["recordings"] | {"frames": [400, 10**30]}},
        {"recordings": json.loads(COMMIT.to_json())["recordings"] | {"path": ["a.wav", 7]}},
        {"recordings": json.loads(COMMIT.to_json())["recordings"] | {"recorder": [None, {}]}},
        {"shard_bytes": "13000"},
        {"shard": 1.5},
        {"format_version": "1"},
        {"continues": 0},
    ],
)
def test_a_record_whose_digest_fits_but_not_its_content_is_refused(change):
    document = json.loads(COMMIT.to_json()) | change
    del document["digest"]
    with pytest.raises(StoreError, match="of other content"):
        Commit.from_json(Path("1.json"), signed(document))


def test_a_record_comes_back_as_it_was_written():
    assert Commit.from_json(Path("1.json"), COMMIT.to_json()) == COMMIT
    empty = replace(COMMIT, recordings=(), continues=True)
    assert Commit.from_json(Path("1.json"), empty.to_json()) == empty


def test_a_record_is_json_by_columns_whose_first_line_is_the_digest_of_the_second():
    text = COMMIT.to_json()
    document = json.loads(text)
    assert document["recordings"]["path"] == ["nächte/a.wav", "b.wav"]
    assert document["crc32c"] == [1, 2**32 - 1, 7]
    first, second = text.split(b"\n")
    assert first == f'{{"digest":"{hashlib.sha256(second).hexdigest()}",'.encode()


def test_a_record_with_any_byte_flipped_is_refused():
    text = COMMIT.to_json()
    for at in range(len(text)):
        for bits in (0x01, 0x20, 0x80):  # another digit or letter, the other case, not UTF-8
            torn = text[:at] + bytes([text[at] ^ bits]) + text[at + 1 :]
            with pytest.raises(StoreError) as caught:
                Commit.from_json(Path("1.json"), torn)
            assert caught.value.place == "1.json"


@given(st.integers(0, 2000), st.binary(max_size=3))
def test_a_record_that_was_cut_or_added_to_is_refused(at, added):
    text = COMMIT.to_json()
    torn = text[:at] + added
    if torn != text:
        with pytest.raises(StoreError, match="damaged commit record"):
            Commit.from_json(Path("1.json"), torn)


def test_equal_values_of_a_column_are_one_object_and_keep_their_type():
    rows = tuple(structs.replace(ROW, path=f"{k}.wav", duration_s=0.0, time_expansion=1.0) for k in range(3))
    read = Commit.from_json(Path("1.json"), replace(COMMIT, recordings=rows).to_json()).recordings
    assert read == rows
    assert len({id(row.true_rate) for row in read}) == 1
    assert {(type(row.channels), type(row.time_expansion), type(row.dead_bands)) for row in read} == {(int, float, int)}


@pytest.mark.parametrize("text", [b"", b"null", b"[]", b"{}", b"{", b"12", b'"digest"', b"\xff" * 40])
def test_what_is_no_record_is_refused_by_name(text):
    with pytest.raises(StoreError, match=r"^commits/1\.json: damaged commit record"):
        Commit.from_json(Path("commits/1.json"), text)


@pytest.mark.parametrize("more", [{}, {"recordings": 7}, {"new": {"in": 2}}])
def test_a_record_of_a_newer_format_says_both_versions(more):
    document = json.loads(COMMIT.to_json()) | {"format_version": 2} | more
    del document["digest"]
    with pytest.raises(StoreError, match=r"1\.json: format version 2, this batcache reads 1\. Upgrade"):
        Commit.from_json(Path("1.json"), signed(document))


def test_a_flipped_version_is_damage_and_no_newer_format():
    text = COMMIT.to_json().replace(b'"format_version":1', b'"format_version":3')
    with pytest.raises(StoreError, match=r"1\.json: damaged commit record"):
        Commit.from_json(Path("1.json"), text)


@pytest.mark.parametrize("name", ["a.wav", "meadow/0412.wav"])
def test_a_damaged_record_names_its_shard_and_the_recordings_that_can_be_read_in_it(name: str) -> None:
    row = CachedRecording(
        *(name, 9, 9, "ab" * 32, 384_000, 1, 1.0, "assumed", 384_000, 192_000.0, 0.01, 0, 1, 10, 0, 0.1, 0.1)
    )
    text = Commit(3, 0, "f", 99, False, array("I", [1]), (row,)).to_json()
    for damaged in (text[:-3], text.replace(b'"instances":[1]', b'"instances":[2]')):
        with pytest.raises(StoreError, match=f"of shard 3; recordings: {name}"):
            Commit.from_json(Path("commits/3.json"), damaged)
    with pytest.raises(StoreError, match="of shard 3; recordings: it names none"):
        Commit.from_json(Path("commits/3.json"), text[:90])
