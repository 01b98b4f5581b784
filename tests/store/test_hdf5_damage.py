"""A damaged, foreign or hostile HDF5 file is an error that names the place, and runs nothing."""

import json
import os
import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from batcache.errors import BatcacheError
from batcache.store.hdf5.reader import HEAD_BYTES, Hdf5Store, Head
from batcache.store.open import open_store
from tests.store import hdf5_file
from tests.store.hdf5_file import edit, refusal, restore_to
from tests.store.project import read_all

sound = hdf5_file.sound
exported = hdf5_file.exported
file = hdf5_file.file


def replace_dataset(opened: h5py.File, name: str, **settings: object) -> None:
    del opened[name]
    opened.create_dataset(name, **settings)


def test_damage_names_recording_and_instance(file: Path) -> None:
    head = Head.read(file)
    instance = next(row for row in Hdf5Store(file).index.recordings if row.path == "long.wav")
    content = bytearray(file.read_bytes())
    with h5py.File(file) as opened:
        first = int(
            opened["recordings/first_instance"][opened["recordings/path"].asstr()[()].tolist().index("long.wav")]
        )
    content[head.start + (first + 5) * head.stored + 17] ^= 0x10
    file.write_bytes(content)
    store = Hdf5Store(file)
    assert "instance 5 of long.wav is damaged" in refusal(lambda: store.read_frames(instance))
    store.read_frames(instance, 0, 500)


def read_everything(file: Path) -> tuple[object, list[bytes], dict[str, str]]:
    store = Hdf5Store(file)
    rows = list(store.index.recordings)
    frames = [store.read_instances(row.first_instance, row.instances).tobytes() for row in rows]
    return store.index, frames, store.last_build().rejected


def flip_some(exported: Path, file: Path, places: Iterator[int], count: int) -> tuple[int, int]:
    """Flip one byte after the other; returns how many were refused, and how many did not matter."""
    truth, content, refused, harmless = read_everything(exported), exported.read_bytes(), 0, 0
    with file.open("r+b", buffering=0) as raw:
        for _, place in zip(range(count), places, strict=False):
            raw.seek(place)
            raw.write(bytes([content[place] ^ random.Random(place).randrange(1, 256)]))
            try:
                assert read_everything(file) == truth, f"wrong numbers, byte {place} flipped"
                harmless += 1
            except BatcacheError:
                refused += 1
            raw.seek(place)
            raw.write(content[place : place + 1])
    return refused, harmless


def test_a_flipped_byte_gives_the_same_numbers_or_our_error(exported: Path, file: Path) -> None:
    size, draw = exported.stat().st_size, random.Random(0)
    refused, harmless = flip_some(exported, file, (draw.randrange(size) for _ in range(300)), 300)
    assert refused > 290 and harmless <= 10
    head = [*range(HEAD_BYTES)]
    refused, harmless = flip_some(exported, file, iter(head), HEAD_BYTES)
    assert harmless == 0


@pytest.mark.slow
def test_every_byte_outside_the_instances_and_thousands_within(exported: Path, file: Path) -> None:
    head, draw = Head.read(exported), random.Random(1)
    outside = [*range(head.start), *range(head.stop, head.size)]
    assert flip_some(exported, file, iter(outside), len(outside)) == (len(outside), 0)
    within = [draw.randrange(head.start, head.stop) for _ in range(2000)]
    refused, harmless = flip_some(exported, file, iter(within), len(within))
    fletcher = sum((place - head.start) % head.stored >= head.stored - 4 for place in within)
    assert (refused, harmless) == (2000 - fletcher, fletcher), "our reader needs no Fletcher-32, HDF5 does"


def test_a_file_cut_short_or_lengthened_is_an_error(exported: Path, file: Path) -> None:
    content = exported.read_bytes()
    for size in (0, 1, 14, 100, 511, 512, 513, 5000, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:size])
        refusal(lambda: Hdf5Store(file))
        refusal(lambda: restore_to(file, file.with_name("new.zarr")))
    file.write_bytes(content + b"\0")
    assert "exported with" in refusal(lambda: Hdf5Store(file))
    assert not file.with_name("new.zarr").exists()


@pytest.mark.parametrize("read_before", [False, True])
def test_a_file_that_shrinks_after_opening_is_named_at_reading(file: Path, read_before: bool) -> None:
    store = Hdf5Store(file)
    if read_before:
        read_all(store)
    os.truncate(file, store._head.start + 100)
    assert "features.h5: cannot be read" in refusal(lambda: store.read_frames(store.find("d.wav")))


def test_other_files_are_refused_by_what_they_are(file: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["instances"] = np.zeros(3)
    assert "an HDF5 file, but not by `batcache export`" in refusal(lambda: open_store(tmp_path / "other.h5"))
    (tmp_path / "text").write_text("filename,Myotis\n")
    assert "no cache" in refusal(lambda: open_store(tmp_path / "text"))
    assert "cannot be read" in refusal(lambda: restore_to(tmp_path / "none.h5", tmp_path / "new.zarr"))
    content = file.read_bytes()
    file.write_bytes(content.replace(b"batcache-hdf5 1 ", b"batcache-hdf5 2 ", 1))
    assert "format version 2, this batcache reads 1" in refusal(lambda: open_store(file))
    for text in ('{"size": 1}', "[1]", "[" * 400, '{"size":1e9,"start":512,"stored":5,"count":1}', "NaN", ""):
        file.write_bytes(f"batcache-hdf5 1 {text}\n{'0' * 64}\n".encode().ljust(512) + content[512:])
        assert "damaged" in refusal(lambda: open_store(file))


def change_settings(**changes: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        settings = json.loads(file.attrs["settings"])
        file.attrs["settings"] = json.dumps(settings | changes)

    return change


def set_values(name: str, value: float) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][0] = value

    return change


def remake(name: str, **settings: object) -> Callable[[h5py.File], None]:
    return lambda file: replace_dataset(file, name, **settings)


class Pickled:
    def __reduce__(self):
        return os.mkdir, ("executed",)


HUGE = 10**15
HOSTILE = {
    "settings pickled": lambda file: file.attrs.__setitem__("settings", np.void(pickle.dumps(Pickled()))),
    "settings a number": lambda file: file.attrs.__setitem__("settings", 3),
    "settings no JSON": lambda file: file.attrs.__setitem__("settings", "{"),
    "settings a list": lambda file: file.attrs.__setitem__("settings", "[]"),
    "settings very deep": lambda file: file.attrs.__setitem__("settings", "[" * 60_000),
    "no settings": lambda file: file.attrs.pop("settings"),
    "other format": change_settings(format="other"),
    "newer store": change_settings(format_version=2),
    "other fingerprint": change_settings(fingerprint="0"),
    "layout of text": change_settings(layout={"frames_per_instance": "x", "n_mels": 16, "instances_per_shard": 4}),
    "layout of 0": change_settings(layout={"frames_per_instance": 100, "n_mels": 16, "instances_per_shard": 0}),
    "layout of other shape": change_settings(
        layout={"frames_per_instance": 50, "n_mels": 32, "instances_per_shard": 4}
    ),
    "unknown feature": change_settings(features={"n_mels": 16, "colour": 3}),
    "absurd instances": remake("instances", shape=(HUGE, 100, 16), dtype="<f2", chunks=(1, 100, 16)),
    "wider instances": remake("instances", shape=(17, 100, 16), dtype="<f4", chunks=(1, 100, 16)),
    "instances of objects": remake("instances", shape=(3,), dtype=h5py.vlen_dtype(np.float16)),
    "absurd column": remake("recordings/size", shape=(HUGE,), dtype="<i8", chunks=(1000,)),
    "absurd contiguous column": remake("recordings/size", shape=(HUGE,), dtype="<i8"),
    "column of references": remake("recordings/size", shape=(7,), dtype=h5py.ref_dtype),
    "column of lists": remake("recordings/path", shape=(7,), dtype=h5py.vlen_dtype(np.int8)),
    "column of another length": remake("recordings/size", data=np.arange(3)),
    "scalar first column": remake("recordings/channels", data=3),
    "paths not UTF-8": remake("recordings/path", data=[b"\xff\xfe"] * 7, dtype=h5py.string_dtype("utf-8")),
    "external column": remake("recordings/size", shape=(7,), dtype="<i8", external=[("/etc/passwd", 0, 56)]),
    "column elsewhere": lambda file: (
        file.move("recordings/size", "size")
        or file.__setitem__("recordings/size", h5py.ExternalLink("/etc/hosts", "x"))
    ),
    "soft column": lambda file: (
        file.move("recordings/size", "size") or file.__setitem__("recordings/size", h5py.SoftLink("/size"))
    ),
    "column a group": lambda file: file.__delitem__("recordings/size") or file.create_group("recordings/size"),
    "recordings a dataset": lambda file: file.__delitem__("recordings") or file.create_dataset("recordings", data=1),
    "no recordings": lambda file: file.__delitem__("recordings"),
    "empty recordings": lambda file: file.__delitem__("recordings") or file.create_group("recordings"),
    "a column less": lambda file: file.__delitem__("recordings/true_rate"),
    "a column more": lambda file: file.create_dataset("recordings/colour", data=[1] * 7),
    "no checksums": lambda file: file.__delitem__("crc32c"),
    "recording before the first": set_values("recordings/first_instance", -1),
    "recording behind the last": set_values("recordings/first_instance", 2**62),
    "too many instances": set_values("recordings/instances", 2**62),
    "no instances": set_values("recordings/instances", 0),
    "too many frames": set_values("recordings/frames", 10_000),
    "fewer in a shard": set_values("shards/instances", 1),
    "too many in a shard": set_values("shards/instances", 2**62),
    "a shard that goes on": set_values("shards/continues", 1),
    "rejects of objects": remake("rejected/reason", shape=(2,), dtype=h5py.vlen_dtype(np.int8)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_file_made_on_purpose_is_refused_and_nothing_executed(what, file, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    edit(file, HOSTILE[what])
    said = refusal(lambda: open_store(file))
    assert "features.h5" in said and len(said) < 500, said
    assert "made sense" not in said and "digest" not in said
    refusal(lambda: restore_to(file, tmp_path / "new.zarr"))
    assert {place.name for place in tmp_path.iterdir()} == {"features.h5"}


def test_wrong_checksums_are_found_on_reading(file: Path) -> None:
    edit(file, set_values("crc32c", 1))
    store = Hdf5Store(file)
    assert "instance 0 of a.wav is damaged" in refusal(lambda: store.read_frames(store.find("a.wav")))
