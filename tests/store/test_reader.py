"""The laws of ``batcache.store.reader``: right numbers or an error that says where, never anything else."""

import multiprocessing
import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from batcache.errors import StoreError
from batcache.features.audio import read_header
from batcache.features.frontend import FrontEnd
from batcache.store.format.commit import commit_path
from batcache.store.format.shard import shard_path
from batcache.store.reader import Store
from batcache.store.summary import summarise
from batcache.store.upkeep.repair import repair
from batcache.store.upkeep.verify import verify
from tests.store import readable
from tests.store.project import PER_SHARD, SMALL, Project, add_guano, copy, flip, read_all
from tests.store.readable import LENGTHS, SHARDS_OF, refusal

sound = readable.sound
truth = readable.truth
project = readable.project


# Right numbers.


def test_a_recording_reads_as_the_front_end_computes_it(sound, truth):
    front_end = FrontEnd(SMALL.features)
    for name, frames in truth.items():
        place = sound.root / name
        expected = np.concatenate(list(front_end.stream(place, read_header(place), 384_000)))
        np.testing.assert_array_equal(frames, expected)
        assert frames.dtype == np.float16 and np.isfinite(frames).all() and frames.any()


def test_a_recording_has_a_frame_for_each_whole_hop(sound):
    store = sound.store()
    for name in LENGTHS:
        row, header = store.find(name), read_header(sound.root / name)
        assert row.frames == -(-header.samples * 256_000 // 384_000) // 256
        assert row.instances == -(-row.frames // 100)
        assert row.duration_s == round(header.samples / 384_000, 6)


def test_only_the_last_instance_is_padded_and_with_zeros(sound, truth):
    store = sound.store()
    for name, frames in truth.items():
        row = store.find(name)
        instances = store.read_instances(row.first_instance, row.instances)
        assert instances.shape == (row.instances, 100, 16)
        flat = instances.reshape(-1, 16)
        np.testing.assert_array_equal(flat[: row.frames], frames)
        assert not flat[row.frames :].any()


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_a_span_reads_as_the_slice_of_the_whole(sound, truth, data):
    name = data.draw(st.sampled_from(sorted(LENGTHS)))
    whole = truth[name]
    start = data.draw(st.integers(0, len(whole) + 5))
    stop = data.draw(st.none() | st.integers(0, len(whole) + 5))
    store = sound.store()
    np.testing.assert_array_equal(store.read_frames(store.find(name), start, stop), whole[start:stop])


def test_a_store_behaves_the_same_whatever_number_of_shards_stays_mapped(sound, truth, monkeypatch):
    monkeypatch.setattr("batcache.store.reader._MAPPED_SHARDS", 1)
    store = sound.store()
    for name in [*truth, *truth]:
        np.testing.assert_array_equal(store.read_frames(store.find(name)), truth[name])


def test_a_recording_that_is_not_there_is_none(sound):
    assert sound.store().find("nowhere.wav") is None


@pytest.fixture(scope="module")
def worker() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_a_store_in_a_spawned_worker_reads_the_same(sound, truth, worker):
    store = sound.store()
    read_all(store)
    assert len(pickle.dumps(store)) < 50_000, "the index travels, not the maps"
    there = worker.submit(read_all, store).result()
    assert there.keys() == truth.keys()
    for name, frames in truth.items():
        np.testing.assert_array_equal(there[name], frames)


def test_a_store_error_survives_the_way_back_from_a_worker(project, worker):
    flip(shard_path(project.cache, 0), 10)
    assert "instance 0 of a.wav" in refusal(worker.submit(read_all, project.store()).result)


def test_the_summary_counts_what_is_there(project):
    facts = summarise(project.store())
    assert facts["recordings"].startswith("4 (")
    assert (facts["instances"], facts["true rates"]) == ("16 of 0.1 s", "384,000 Hz (4)")
    assert "instances no longer used" not in facts
    project.record("a.wav", 0.25, seed=3)
    project.build()
    facts = summarise(project.store())
    assert (facts["instances"], facts["instances no longer used"]) == (
        "16 of 0.1 s",
        "3 (`batcache prune` gives them back)",
    )


def test_the_summary_tells_grounds_doubts_recorders_and_bands_that_are_lacking(project):
    project.record("slow.wav", 1.0, rate=38_400)
    project.record("narrow.wav", 0.2, rate=144_000, seed=4)
    project.record("tagged.wav", 0.2, seed=5)
    add_guano(project.root / "tagged.wav", "GUANO|Version: 1.0\nMake: Titley\nModel: Swift\n")
    project.list("slow.wav", "narrow.wav", "tagged.wav", time_expansion={"narrow.wav": 1})
    project.build()
    facts = summarise(project.store())
    assert facts["time expansion known by"] == "full-spectrum rate (5), assumed (1), manifest (1)"
    assert facts["time expansion doubtful"].startswith("1: slow.wav (taken as 1: no bat calls in ")
    assert facts["lacking upper mel bands"] == "1 of 38,400 Hz lack 13, 1 of 144,000 Hz lack 3"
    assert facts["recorders"] == "Titley Swift (1)"


# Damage.


@pytest.mark.parametrize("shard", range(5))
def test_a_deleted_shard_is_named_at_opening_with_the_recordings_it_holds(project, shard):
    shard_path(project.cache, shard).unlink()
    said = refusal(project.store)
    assert str(shard_path(project.cache, shard)) in said
    assert "missing shard" in said
    for name, places in SHARDS_OF.items():
        assert (name in said) == (shard in places), said


@pytest.mark.parametrize("left", [0, 1, 1000, -1])
def test_a_truncated_shard_is_named_at_opening_with_both_sizes(project, left):
    place = shard_path(project.cache, 0)
    whole = place.read_bytes()
    place.write_bytes(whole[:left])
    said = refusal(project.store)
    assert f"shard of {len(whole[:left])} bytes, committed {len(whole)}, which holds a.wav, b.wav" in said
    assert str(place) in said


@pytest.mark.parametrize("left", [12_000, 5000, 1, 0])
@pytest.mark.parametrize("read_before", [False, True])
def test_a_shard_that_shrinks_after_opening_is_named_at_reading(project, left, read_before):
    """Also one that was mapped when it was whole: the system kills who reads such a map past the end of the file."""
    store = project.store()
    if read_before:
        read_all(store)
    place = shard_path(project.cache, 0)
    os.truncate(place, left)
    said = refusal(lambda: store.read_frames(store.find("b.wav")))
    assert str(place) in said and "which holds a.wav, b.wav" in said


def test_a_shard_that_goes_after_opening_is_named_at_reading(project):
    store = project.store()
    shard_path(project.cache, 4).unlink()
    assert "No such file" in refusal(lambda: store.read_frames(store.find("c.wav")))


def test_too_many_open_files_are_no_damage(project, truth):
    resource = pytest.importorskip("resource")
    store = project.store()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        said = refusal(lambda: store.read_frames(store.find("c.wav")))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "cannot be read (Too many open files), which holds c.wav" in said and "repair" not in said
    np.testing.assert_array_equal(store.read_frames(store.find("c.wav")), truth["c.wav"])


def test_swapped_shards_of_one_size_are_found_at_reading(project):
    one, other = shard_path(project.cache, 0), shard_path(project.cache, 2)
    assert one.stat().st_size == other.stat().st_size
    swap = one.with_name("x")
    one.rename(swap)
    other.rename(one)
    swap.rename(other)
    store = project.store()
    for name in ("a.wav", "b.wav"):
        said = refusal(lambda name=name: store.read_frames(store.find(name)))
        assert f"instance 0 of {name} is damaged" in said
    assert "instance 4 of long.wav is damaged" in refusal(lambda: store.read_frames(store.find("long.wav")))
    assert len(store.read_frames(store.find("long.wav"), 0, 400)) == 400, "the undamaged part reads"


@pytest.mark.parametrize("at", [0, 1, 1599, 1600, 3198, 3199])
@pytest.mark.parametrize(("name", "shard", "slot", "number"), [("b.wav", 0, 3, 0), ("long.wav", 2, 1, 5)])
def test_a_flipped_byte_in_a_chunk_names_the_recording_and_the_instance(project, truth, name, shard, slot, number, at):
    flip(shard_path(project.cache, shard), slot * 3204 + at)
    store = project.store()
    said = refusal(lambda: store.read_frames(store.find(name)))
    assert f"instance {number} of {name} is damaged (its checksum does not match)" in said
    for other in LENGTHS.keys() - {name}:
        np.testing.assert_array_equal(store.read_frames(store.find(other)), truth[other])


@pytest.mark.parametrize("at", [-1, -4, -5, -20, -68])
def test_a_flipped_byte_in_a_shards_index_names_the_shard_and_its_recordings(project, at):
    place = shard_path(project.cache, 0)
    flip(place, at)
    store = project.store()
    said = refusal(lambda: store.read_frames(store.find("a.wav")))
    assert str(place) in said and "which holds a.wav, b.wav" in said


@pytest.mark.parametrize("damaged", ["chunk", "index", "shard", "record"])
def test_mending_as_the_error_says_brings_the_numbers_back_and_keeps_those_of_files_that_are_gone(
    project, truth, damaged
):
    shard = shard_path(project.cache, 0)
    match damaged:
        case "chunk":
            flip(shard, 3 * 3204)
        case "index":
            flip(shard, -20)
        case "shard":
            shard.write_bytes(shard.read_bytes()[: 3 * 3204])
        case "record":
            flip(commit_path(project.cache, 4), 200)
    gone = ["long.wav"] if damaged == "record" else ["a.wav", "long.wav", "c.wav"]
    for name in gone:
        (project.root / name).unlink()
    said = refusal(lambda: read_all(project.store()))
    assert str(project.cache / "commits" if damaged == "record" else shard) in said
    assert said.endswith("Run `batcache verify --repair`.")
    found = verify(project.cache)
    report = repair(project.cache, found)
    assert report.left == () and not report.impossible
    for name, frames in truth.items():
        np.testing.assert_array_equal(project.frames(name), frames)


@pytest.fixture(scope="module")
def files(sound: Project) -> dict[str, bytes]:
    places = [sound.cache / "zarr.json", *(commit_path(sound.cache, shard) for shard in range(5))]
    places += [shard_path(sound.cache, shard) for shard in range(5)]
    return {place.relative_to(sound.cache).as_posix(): place.read_bytes() for place in places}


@given(which=st.integers(0, 10), share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@example(which=0, share=0.45, bit=0)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_flipped_bit_anywhere_changes_a_number_in_silence(sound, truth, files, tmp_path, which, share, bit):
    """Every recording reads as before, or there is an error of the store."""
    name = sorted(files)[which]
    cache = tmp_path / "features.zarr"
    if not cache.exists():
        copy(sound.cache, cache)
    flip(cache / name, int(share * len(files[name])), 1 << bit)
    try:
        store = Store(cache)
        for recording, frames in truth.items():
            row = store.find(recording)
            try:
                np.testing.assert_array_equal(store.read_frames(row), frames)
            except StoreError as error:
                assert recording in str(error)
    except StoreError as error:
        assert str(cache) in str(error)
    finally:
        (cache / name).write_bytes(files[name])


def test_an_unused_slot_is_missing_and_never_zeros(sound):
    store = sound.store()
    assert "is missing from its shard" in refusal(lambda: store.read_instances(3 * PER_SHARD + 2, 1))
