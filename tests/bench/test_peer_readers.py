"""The laws of reading beside others: all return the same bytes; one that is missing, or cannot be cold, is a row."""

import sys

import numpy as np
import pytest

from batcache.bench import readers, reading
from batcache.bench.epochs import measure_epoch_data
from batcache.bench.readers import PEERS, Copies, forget, open_batcache, resident_share, write_copies
from batcache.bench.reading import measure_reading, shuffle_bags
from batcache.store.reader import Store

NOT_INSTALLED = "not installed: pip install 'batcache[bench]'"
WARM, COLD = "shuffled bags, files in memory", "shuffled bags, from the disk"


@pytest.fixture(scope="module")
def copies(built, tmp_path_factory) -> Copies:
    return write_copies(built, tmp_path_factory.mktemp("copies"))


def test_the_store_holds_what_the_front_end_computed(copies, sample, frames) -> None:
    store, read = Store(copies.store), open_batcache(copies)
    for file, expected in zip(sample.files, frames, strict=True):
        row = store.find(file.path)
        instances = read(row.first_instance, row.instances).reshape(-1, expected.shape[1])
        np.testing.assert_array_equal(instances[: row.frames], expected)


@pytest.mark.parametrize("name", PEERS)
def test_every_reader_returns_identical_bytes(copies, sample, name) -> None:
    ours, theirs = open_batcache(copies), PEERS[name][1](copies)
    for first, count in shuffle_bags(sample, copies.store):
        expected, made = ours(first, count), theirs(first, count)
        assert made.dtype == np.float16 and made.flags.owndata | (made.base is not None)
        assert made.tobytes() == expected.tobytes()


def test_every_bag_is_read_once(sample, built) -> None:
    spans = shuffle_bags(sample, built)
    assert len(spans) == len(sample) and len(set(spans)) == len(spans)


def test_a_row_for_each_peer_and_for_the_marks(sample, built, tmp_path) -> None:
    rows = list(measure_reading(sample, built, tmp_path, rounds=1, seconds=0))
    warm = {row.peer: row for row in rows if row.section == WARM}
    assert set(warm) == {*PEERS, ""} and all(warm[name].theirs for name in PEERS)
    assert warm["zarr-python, crc32c"].mark.limit == 5
    assert warm["memory map, nothing verified"].mark.limit == 0.4
    cold = [row for row in rows if row.section == COLD]
    assert cold and (len(cold) == len(PEERS) or "not measured" in cold[0].note)


@pytest.mark.parametrize("package", ["tensorstore", "h5py"])
def test_a_reader_that_is_not_installed_is_a_row(sample, built, tmp_path, monkeypatch, package) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    rows = list(measure_reading(sample, built, tmp_path, rounds=1, seconds=0))
    (name,) = [name for name, (needed, _) in PEERS.items() if needed == package]
    (row,) = [row for row in rows if row.section == WARM and row.peer == name]
    assert row.theirs is None and row.ratio is None and row.note == NOT_INSTALLED
    assert not [row for row in rows if row.section == COLD and row.peer == name]


def test_where_files_cannot_be_forgotten_a_row_says_so(sample, built, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(reading, "forget", lambda paths: "the system keeps the files in memory")
    (row,) = [r for r in measure_reading(sample, built, tmp_path, rounds=1, seconds=0) if r.section == COLD]
    assert row.ours is None and row.note == "not measured: the system keeps the files in memory"
    monkeypatch.delattr(readers.os, "posix_fadvise", raising=False)
    assert forget([]) == "this system cannot be asked to drop files from memory"


def test_a_round_in_which_files_stayed_in_memory_counts_for_nobody(sample, built, tmp_path, monkeypatch) -> None:
    asked = []

    def forget_but_once(paths) -> str:
        asked.append(paths)
        return "the system keeps the files in memory" if len(asked) == 2 else ""

    times = iter([9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    monkeypatch.setattr(reading, "forget", forget_but_once)
    monkeypatch.setattr(reading, "time_once", lambda task: next(times))
    monkeypatch.setattr(reading, "PEERS", dict(list(PEERS.items())[:1]))
    copies = write_copies(built, tmp_path)
    (row,) = reading._measure_cold(copies, shuffle_bags(sample, built), 1.0, rounds=3)
    assert row.ours == row.theirs == len(sample), "the nine seconds were those of a round left out"
    assert row.note.endswith("; 1 of 3 rounds left out: the system keeps the files in memory")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked to forget files")
def test_a_file_in_use_is_not_forgotten(tmp_path) -> None:
    path = tmp_path / "file"
    np.zeros(1 << 20, np.uint8).tofile(path)
    mapped = np.memmap(path, np.uint8, "r")
    assert mapped.sum() == 0  # every page is mapped now
    assert resident_share(path) == 1
    assert forget([path]) == "the system keeps the files in memory"


@pytest.mark.slow
def test_an_epochs_data_stands_beside_computing_it(sample, built, config) -> None:
    ours, librosa = measure_epoch_data(sample, built, config, rounds=1, seconds=0)
    assert ours.better == "less" and ours.ours and ours.theirs and ours.mark is None
    assert librosa.theirs and librosa.mark and librosa.mark.limit == 100


def test_without_librosa_an_epoch_stands_beside_our_front_end_alone(sample, built, config, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "librosa", None)
    ours, librosa = measure_epoch_data(sample, built, config, rounds=1, seconds=0)
    assert ours.theirs and librosa.theirs is None and librosa.note == NOT_INSTALLED
