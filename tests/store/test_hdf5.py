"""The laws of a store in one HDF5 file: the same numbers and bytes as the store's, there and back."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import h5py
import msgspec
import numpy as np
import pytest

from batcache.config.features import FRONT_END_VERSION
from batcache.config.settings import DataConfig
from batcache.progress import Progress
from batcache.store.format import commit as commits
from batcache.store.format.commit import CachedRecording, write_commit
from batcache.store.format.records import note_committed
from batcache.store.hdf5 import reader as hdf5
from batcache.store.hdf5.columns import Kind, read_column, write_column
from batcache.store.hdf5.reader import Hdf5Store, Head
from batcache.store.hdf5.restore import restore
from batcache.store.open import open_store, read_settings
from batcache.store.reader import Store
from batcache.store.summary import summarise
from tests.store import hdf5_file
from tests.store.faults import COUNTED, Fault, Outcome
from tests.store.hdf5_file import LENGTHS, export_to, refusal, restore_to
from tests.store.project import Project, assert_equal_trees, copy, let_an_hour_pass, read_all, snapshot

sound = hdf5_file.sound
exported = hdf5_file.exported
grown = hdf5_file.grown


def test_a_file_reads_as_its_store(sound: Project, exported: Path) -> None:
    store, file = sound.store(), open_store(exported)
    assert isinstance(file, Hdf5Store) and type(open_store(sound.cache)) is Store
    assert (file.features, file.layout, file.attributes) == (store.features, store.layout, store.attributes)
    assert read_settings(exported) == read_settings(sound.cache) == (store.features, store.layout)
    assert file.index == store.index
    theirs = read_all(store)
    for name, frames in read_all(file).items():
        np.testing.assert_array_equal(frames, theirs[name])
    assert file.find("nan.wav") is None and file.index.by_path["nan.wav"][0].failure
    assert file.find("copy of a.wav").first_instance == file.find("a.wav").first_instance
    assert file.last_build().rejected == store.last_build().rejected and "text.wav" in file.last_build().rejected
    assert summarise(file) | {"on disk": ""} == summarise(store) | {"on disk": ""}
    assert "one HDF5 file" in summarise(file)["on disk"]


def test_parts_of_a_recording_are_read_into_place(sound: Project, exported: Path) -> None:
    file, whole = Hdf5Store(exported), sound.frames("long.wav")
    row = file.find("long.wav")
    for start, stop in ((0, None), (50, 250), (399, 401), (930, 940)):
        np.testing.assert_array_equal(file.read_frames(row, start, stop), whole[start:stop])
    out = np.zeros((200, 16), np.float16)
    assert file.read_frames(row, 350, 550, out) is out
    np.testing.assert_array_equal(out, whole[350:550])


def test_others_read_what_the_file_holds(sound: Project, exported: Path) -> None:
    """h5py alone, as R and MATLAB would; rows count instances from 0 in the file, and slots nobody uses are gone."""
    store = sound.store()
    with h5py.File(exported) as file:
        names = [name.decode() for name in file["recordings/path"]]
        assert names == [row.path for row in store.index.recordings]
        firsts, frames = file["recordings/first_instance"][()], file["recordings/frames"][()]
        assert sorted(set(firsts))[0] == 0
        for name, first, count in zip(names, firsts, frames, strict=True):
            if store.find(name):
                stored = file["instances"][first : first - (-count // 100)].reshape(-1, 16)[:count]
                np.testing.assert_array_equal(stored, store.read_frames(store.find(name)))
        assert file["instances"].fletcher32 and file["instances"].chunks == (1, 100, 16)
        live = {(row.first_instance, row.instances) for row in store.index.recordings}
        assert len(file["instances"]) == len(file["crc32c"]) == sum(count for _, count in live)
        assert set(file["recordings"]) == {*CachedRecording.__struct_encode_fields__} - {"file_content"}, "all in use"
        assert file.attrs["n_mels"] == 16 and file.attrs["fingerprint"] == store.features.fingerprint
        assert json.loads(file.attrs["settings"]) == store.attributes


def test_two_exports_are_equal_byte_for_byte(sound: Project, exported: Path, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from batcache.store.hdf5.export import export\n"
    code += "export(Path(sys.argv[1]), Path(sys.argv[2]))"
    other = tmp_path / "another.h5"
    subprocess.run([sys.executable, "-c", code, sound.cache, other], check=True, timeout=100)
    assert other.read_bytes() == exported.read_bytes()


@pytest.mark.parametrize("which", ["sound", "grown"])
def test_there_and_back_is_the_same_store_byte_for_byte(which, request, tmp_path: Path) -> None:
    project = request.getfixturevalue(which)
    file = export_to(project.cache, tmp_path / "first.h5")
    outcome = restore_to(file, tmp_path / "again.zarr")
    assert outcome.recordings == sum(1 for _ in project.store().index.recordings)
    before, after = snapshot(project.cache), snapshot(tmp_path / "again.zarr")
    before.pop("last_build.json"), after.pop("last_build.json")
    assert_equal_trees(before, after)
    assert Store(tmp_path / "again.zarr").last_build().rejected == project.store().last_build().rejected
    assert Store(tmp_path / "again.zarr").last_build().csvs == ()
    again = export_to(tmp_path / "again.zarr", tmp_path / "second.h5")
    assert again.read_bytes() == file.read_bytes()


def test_the_grown_store_is_what_it_should_be(grown: Project) -> None:
    commits = grown.store().index.commits
    assert [commits[shard].generation for shard in sorted(commits)][:1] == [1]
    assert any(len(commit.crc32c) < 4 for shard, commit in commits.items() if shard != max(commits))


def test_slots_that_nobody_uses_are_left_out(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    for name in ("a.wav", "b.wav", "c.wav"):
        project.record(name)
    project.list("a.wav", "b.wav", "c.wav")
    project.build()
    project.record("a.wav", seed=77)
    project.record("c.wav", seed=78)
    project.build()
    file = export_to(project.cache, tmp_path / "features.h5")
    assert len(h5py.File(file)["instances"]) == 6
    restore_to(file, tmp_path / "again.zarr")
    store, again = project.store(), Store(tmp_path / "again.zarr")
    assert "instances no longer used" in summarise(store) and "instances no longer used" not in summarise(again)
    for name, frames in read_all(store).items():
        np.testing.assert_array_equal(again.read_frames(again.find(name)), frames)
    assert export_to(tmp_path / "again.zarr", tmp_path / "second.h5").read_bytes() == file.read_bytes()


def test_a_restored_store_takes_the_next_build(sound: Project, exported: Path, tmp_path: Path) -> None:
    project = Project(copy(sound.root, tmp_path / "project"))
    shutil.rmtree(project.cache)
    restore_to(exported, project.cache)
    project.record("new.wav")
    project.list(*LENGTHS, "copy of a.wav", "new.wav")
    assert project.build().computed == {"new.wav"}
    assert project.store().last_build().csvs == (project.csv.resolve(),)


@pytest.mark.parametrize("committed", [[0], [0, 1], [1, 2, 3, 4, 5], []])
def test_a_stopped_restore_goes_on_and_ends_as_if_undisturbed(exported: Path, tmp_path: Path, committed) -> None:
    whole, stopped = tmp_path / "whole.zarr", tmp_path / "stopped.zarr"
    restore_to(exported, whole)
    shutil.copytree(whole, stopped)
    (stopped / "last_build.json").unlink()
    for record in (stopped / "commits").glob("*.json"):
        if int(record.stem) not in committed:
            record.unlink()
    note_committed(stopped, has_records=bool(committed))
    (stopped / "commits" / f"6.json.{'0a' * 16}.partial").write_bytes(b"{")
    with (stopped / "instances" / "c" / "5" / "0" / "0").open("r+b") as shard:
        shard.truncate(100) if 5 not in committed else None
    assert restore_to(exported, stopped).already_there <= len(committed)
    assert_equal_trees(snapshot(whole), snapshot(stopped))
    assert restore_to(exported, stopped).already_there == len(Store(whole).index.commits)
    assert_equal_trees(snapshot(whole), snapshot(stopped))


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither SIGKILL nor fork")
@pytest.mark.slow
@pytest.mark.parametrize("others", [False, True])
def test_a_restore_that_dies_reads_true_or_not_at_all_and_ends_as_if_undisturbed(
    others, exported, commander, tmp_path
) -> None:
    """Before every third rename, half-done write and new folder; then before all other operations on the disk."""

    def restore_by_command(name: str, fault: Fault) -> tuple[Path, Outcome]:
        folder = tmp_path / name
        folder.mkdir()
        words = ["build", "--from", str(exported), "--cache", str(folder / "features.zarr")]
        return folder, commander.run(folder, words, fault)

    whole, outcome = restore_by_command("whole", COUNTED)
    assert outcome.status == 0, outcome.text
    expected, truth = snapshot(whole), read_all(Store(whole / "features.zarr"))
    operations = outcome.operations
    telling = [i for i, (kind, _) in enumerate(operations, 1) if kind in ("rename", "half of write", "mkdir")]
    assert len(telling) > 30
    with mock.patch("os.fsync", lambda handle: None):
        for at in sorted({*range(1, len(operations) + 1)} - {*telling[::3]}) if others else telling[::3]:
            said = f"dead before operation {at}, {operations[at - 1]}"
            folder, outcome = restore_by_command(f"{at}", Fault(at))
            assert outcome.died, said
            cache = folder / "features.zarr"
            if cache.exists():
                for name, frames in read_all(Store(cache)).items():
                    np.testing.assert_array_equal(frames, truth[name])
            let_an_hour_pass(folder)
            restore_to(exported, cache)
            assert_equal_trees(snapshot(folder), expected, said)
            shutil.rmtree(folder)


def test_a_cache_that_holds_something_else_is_left_alone(exported: Path, grown: Project, tmp_path: Path) -> None:
    cache = Path(shutil.copytree(grown.cache, tmp_path / "other.zarr"))
    before = snapshot(cache)
    assert "holds something else" in refusal(lambda: restore_to(exported, cache))
    assert_equal_trees(snapshot(cache), before)
    (tmp_path / "text").write_text("x")
    assert "not a batcache store" in refusal(lambda: restore_to(exported, tmp_path / "text"))


def test_a_file_is_replaced_only_when_asked(sound: Project, tmp_path: Path) -> None:
    target = tmp_path / "new" / "features.h5"
    export_to(sound.cache, target)
    content = target.read_bytes()
    target.write_bytes(b"mine")
    assert "is there already" in refusal(lambda: export_to(sound.cache, target))
    assert target.read_bytes() == b"mine"
    assert export_to(sound.cache, target, force=True).read_bytes() == content
    assert "Name a file" in refusal(lambda: export_to(sound.cache, tmp_path, force=True))
    assert [place.name for place in target.parent.iterdir()] == ["features.h5"]


def test_a_damaged_or_empty_store_leaves_no_file(sound: Project, tmp_path: Path) -> None:
    cache = Path(shutil.copytree(sound.cache, tmp_path / "features.zarr"))
    shard = cache / "instances" / "c" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[4000] ^= 1
    shard.write_bytes(content)
    assert "instance 1 of a.wav is damaged" in refusal(lambda: export_to(cache, tmp_path / "features.h5"))
    project = Project(tmp_path / "empty")
    (project.root / "x.wav").write_text("no recording")
    project.list("x.wav")
    project.build()
    assert "holds no recording" in refusal(lambda: export_to(project.cache, tmp_path / "features.h5"))
    assert "no cache here" in refusal(lambda: export_to(tmp_path / "none", tmp_path / "features.h5"))
    assert not list(tmp_path.glob("features.h5*"))


def test_what_an_earlier_front_end_computed_is_restored_as_such(
    exported: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = open_store(exported).fingerprint
    monkeypatch.setattr("batcache.config.features.FRONT_END_VERSION", 99)
    restore_to(exported, tmp_path / "new.zarr")
    for place in (exported, tmp_path / "new.zarr"):
        store = open_store(place)
        assert (store.fingerprint, store.front_end_version) == (expected, FRONT_END_VERSION)
        assert {commit.fingerprint for commit in store.index.commits.values()} == {expected}


def test_threads_and_other_processes_may_share_a_file(sound: Project, exported: Path) -> None:
    truth, store = read_all(sound.store()), Hdf5Store(exported)
    rows = [store.find(name) for name in LENGTHS] * 40
    with ThreadPoolExecutor(8) as pool:
        for row, frames in zip(rows, pool.map(store.read_frames, rows), strict=True):
            np.testing.assert_array_equal(frames, truth[row.path])
    moved = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(moved.read_frames(moved.find("a.wav")), truth["a.wav"])


def test_every_field_of_a_recording_has_a_column() -> None:
    assert list(hdf5.RECORDING_KINDS) == [*CachedRecording.__struct_encode_fields__]
    assert hdf5.RECORDING_KINDS["path"] == Kind(str) and hdf5.RECORDING_KINDS["mtime_ns"] == Kind(int)
    assert Kind.of(str | None) == Kind(str, True) and Kind.of(float | None) == Kind(float, True)


@pytest.mark.parametrize(
    ("annotation", "values"),
    [
        (str, ["", "a", "Größe, \u65e5\u672c 🦇", "a\nb", "'\"\\"]),
        (str | None, [None, "", "a", None, ""]),
        (str | None, [None, None]),
        (float, [0.0, -0.0, 1e-310, 1e300, 1 / 3]),
        (float | None, [None, 0.0, 1 / 3]),
        (int, [0, -1, 2**63 - 1, -(2**63), 1_600_000_000_123_456_789]),
        (str, []),
        (float | None, []),
    ],
)
def test_a_column_there_and_back_is_the_same(annotation, values, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_column(file.create_group("g"), "column", Kind.of(annotation), values)
    with h5py.File(tmp_path / "a.h5") as file:
        back = read_column(file["g"], "column", Kind.of(annotation), len(values), 1 << 20)
    assert [(type(value), repr(value)) for value in back] == [(type(value), repr(value)) for value in values]


def test_later_columns_come_along_and_their_lack_is_their_default(sound, exported, tmp_path, monkeypatch) -> None:
    """A batcache that knows more of a recording reads older files, and an older one refuses newer files."""
    later = msgspec.defstruct(
        "CachedRecording",
        [("site", str | None, None), ("height", float | None, None), ("serial", str, ""), ("gain", int, 7)],
        bases=(CachedRecording,),
        frozen=True,
    )
    kinds = {field.encode_name: Kind.of(field.type) for field in msgspec.structs.fields(later)}
    cache = Path(shutil.copytree(sound.cache, tmp_path / "features.zarr"))
    for module in ("format.commit", "hdf5.reader", "hdf5.export"):
        monkeypatch.setattr(f"batcache.store.{module}.CachedRecording", later)
    for module in ("hdf5.reader", "hdf5.export"):
        monkeypatch.setattr(f"batcache.store.{module}.RECORDING_KINDS", kinds)
    old = Hdf5Store(exported)
    assert {(row.site, row.gain) for row in old.index.recordings} == {(None, 7)}

    columns = commits._columns_of(later)
    monkeypatch.setattr(commits, "_Columns", columns)
    monkeypatch.setattr(commits, "_DEFAULTS", [(f.encode_name, f.default) for f in msgspec.structs.fields(later)])
    monkeypatch.setattr(commits, "_DECODER", msgspec.json.Decoder(commits._Document[columns]))
    told = iter([(None, None), ("", 51.5), ("Wald", -0.25), *[("Größe", None)] * 9])
    for commit in old.index.commits.values():
        rows = [
            msgspec.structs.replace(row, site=site, height=height)
            for row, (site, height) in zip(commit.recordings, told, strict=False)
        ]
        write_commit(cache, type(commit)(**vars(commit) | {"recordings": tuple(rows)}))
    new = export_to(cache, tmp_path / "new.h5")
    assert Hdf5Store(new).index == Store(cache).index
    restore_to(new, tmp_path / "again.zarr")
    assert_equal_trees(snapshot(cache / "commits"), snapshot(tmp_path / "again.zarr" / "commits"))
    monkeypatch.undo()
    assert "unknown columns: gain, height, serial and 1 more" in refusal(lambda: Hdf5Store(new))


def test_text_that_hdf5_cannot_hold_is_an_error_and_leaves_no_file(sound: Project, tmp_path: Path) -> None:
    cache = Path(shutil.copytree(sound.cache, tmp_path / "features.zarr"))
    commit = Store(cache).index.commits[0]
    rows = (msgspec.structs.replace(commit.recordings[0], expansion_source="a\0b"), *commit.recordings[1:])
    write_commit(cache, type(commit)(**vars(commit) | {"recordings": rows}))
    assert "ground of a recording holds a NUL character" in refusal(lambda: export_to(cache, tmp_path / "a.h5"))
    assert not list(tmp_path.glob("a.h5*"))


def test_progress_counts_instances(exported: Path, tmp_path: Path) -> None:
    steps: list[Progress] = []
    outcome = restore(exported, tmp_path / "new.zarr", on_progress=steps.append)
    assert steps[-1] == Progress("restore", outcome.instances, outcome.instances)
    assert [step.done for step in steps] == sorted({step.done for step in steps})


@pytest.mark.parametrize("count", [1, 1024, 1025, 2100])
def test_any_number_of_instances_lies_in_one_row(count: int, tmp_path: Path) -> None:
    """HDF5 indexes chunks in other ways from 1,025 on."""
    project = Project(tmp_path / "project", config=DataConfig(n_mels=16, instance_s=0.005))
    project.record("a.wav", count * 0.005)
    project.list("a.wav")
    project.build(per_shard=640)
    file = export_to(project.cache, tmp_path / "features.h5")
    assert Head.read(file).count == count
    np.testing.assert_array_equal(read_all(Hdf5Store(file))["a.wav"], project.frames("a.wav"))
    with h5py.File(file) as opened:
        np.testing.assert_array_equal(opened["instances"][()].reshape(-1, 16), project.frames("a.wav"))
