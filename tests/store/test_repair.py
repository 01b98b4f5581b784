"""Repair brings back the same bytes, computes only what is damaged, and leaves alone what it cannot mend."""

import hashlib
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import StoreError
from batcache.features.frontend import FrontEnd
from batcache.manifest.manifest import read_manifest
from batcache.store.build.build import build
from batcache.store.format.commit import Commit, commit_path
from batcache.store.format.shard import shard_path
from batcache.store.upkeep.prune import prune
from batcache.store.upkeep.repair import repair
from tests.store import damages
from tests.store.damages import DAMAGES, LENGTHS, check, edit_commit, edit_json, edit_row, mend, promised, rewrite_chunk
from tests.store.project import SMALL, Project, assert_equal_trees, flip, snapshot

sound = damages.sound
expected = damages.expected
project = damages.project
computed = damages.computed


@pytest.mark.parametrize("name", DAMAGES)
def test_repair_brings_the_same_bytes_back(project, expected, name):
    DAMAGES[name][0](project.cache)
    report = mend(project.cache)
    assert not report.left and not report.impossible
    assert_equal_trees(snapshot(project.cache), expected, name)


def test_all_damages_are_listed_and_repaired_together(project, expected):
    names = ["flipped byte amid a long recording", "truncated shard", "flipped byte of a recording that failed"]
    names += ["flipped byte of a record's digest", "missing metadata of the array"]
    for name in names:
        DAMAGES[name][0](project.cache)
    report = check(project.cache)
    for name in names:
        _, place, finding, _ = DAMAGES[name]
        assert any(one.place == place and finding in one.finding for one in report.damages), name
    assert not mend(project.cache, report).left
    assert_equal_trees(snapshot(project.cache), expected)


@pytest.mark.parametrize(
    ("name", "anew"),
    [
        ("flipped first byte of a shard", ["a.wav"]),
        ("flipped byte of a stored checksum", ["a.wav"]),
        ("flipped byte of a shard's index", []),
        ("truncated shard", ["d.wav"]),
        ("wrong length of the array", []),
    ],
)
def test_repair_computes_only_what_is_damaged(project, computed, name, anew):
    DAMAGES[name][0](project.cache)
    mend(project.cache)
    assert computed == anew


def test_sound_chunks_are_copied_though_their_files_are_gone(project, expected):
    DAMAGES["truncated shard"][0](project.cache)
    for name in LENGTHS.keys() - {"d.wav"}:
        (project.root / name).unlink()
    assert not mend(project.cache).left
    assert_equal_trees(snapshot(project.cache), expected)


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_a_recording_whose_file_is_gone_or_changed_stays_damaged_and_the_others_are_repaired(project, how):
    shard_path(project.cache, 4).unlink()
    kept = project.root / "kept"
    (project.root / "c.wav").rename(kept)
    if how == "changed":
        project.record("c.wav", 0.2, seed=99)
    report = mend(project.cache)
    assert set(report.impossible) == {"c.wav"}
    assert ("no such file" if how == "gone" else "its audio changed") in report.impossible["c.wav"]
    assert {path for one in report.left for path in one.recordings} == {"c.wav"}
    store = project.store()
    with pytest.raises(StoreError, match=r"instance 0 of c\.wav is damaged"):
        store.read_frames(store.find("c.wav"))
    assert len(store.read_frames(store.find("d.wav")))
    kept.replace(project.root / "c.wav")
    assert not mend(project.cache).left


def test_a_record_is_not_removed_while_files_of_its_recordings_are_gone(project):
    flip(commit_path(project.cache, 4), commit_path(project.cache, 4).read_bytes().index(b'"frames":[') + 10)
    (project.root / "c.wav").unlink()
    before = snapshot(project.cache)
    report = mend(project.cache)
    said = report.impossible["commits/4.json"]
    assert "c.wav: no such file" in said and "delete the record" in said
    assert report.left
    assert_equal_trees(snapshot(project.cache), before)


def damage_after_a_build_of_another_csv(project: Project) -> None:
    """Of shard 5, e.wav was built from one CSV and nan.wav is listed in the CSV that was built last."""
    project.list("nan.wav", "a.wav", "b.wav")
    project.build()
    flip(commit_path(project.cache, 5), commit_path(project.cache, 5).read_bytes().index(b'"frames":[') + 10)


def test_a_record_is_not_removed_while_the_last_csv_lacks_one_of_its_recordings(project):
    damage_after_a_build_of_another_csv(project)
    (project.root / "not built yet.wav").write_bytes((project.root / "b.wav").read_bytes())
    project.list("nan.wav", "a.wav", "b.wav", "not built yet.wav")
    before = snapshot(project.cache)
    report = mend(project.cache)
    assert "e.wav: not in the CSVs of the last build" in report.impossible["commits/5.json"]
    assert report.left
    assert_equal_trees(snapshot(project.cache), before)
    project.list(*LENGTHS, "nan.wav")
    assert not mend(project.cache).left
    assert "e.wav" in project.store().index.by_path


def test_a_record_is_not_removed_while_the_last_csv_lacks_a_copy_that_is_there(project):
    project.list(*LENGTHS, "nan.wav")
    project.build()
    flip(commit_path(project.cache, 0), 200)
    assert "copy of a.wav: not in the CSVs" in mend(project.cache).impossible["commits/0.json"]
    (project.root / "copy of a.wav").unlink()
    assert not mend(project.cache).left


def test_a_record_that_is_empty_or_deleted_holds_nothing_up(project):
    damage_after_a_build_of_another_csv(project)
    commit_path(project.cache, 5).unlink()
    assert not mend(project.cache).left
    assert not check(project.cache).damages


def take_the_room(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even what the shards that are to be replaced give back is not enough."""
    monkeypatch.setattr("batcache.storage.disk.free_bytes", lambda cache: -(10**9))


def build_from_another_folder(project: Project, _: pytest.MonkeyPatch) -> None:
    shutil.copytree(project.root, project.root.parent / "elsewhere")
    edit_json(project.cache / "last_build.json", lambda note: note.update(data_dir="../../elsewhere"))


def cut_one_content_in_two_splits(project: Project, _: pytest.MonkeyPatch) -> None:
    splits = dict.fromkeys([*LENGTHS, "nan.wav"], "train") | {"copy of a.wav": "test"}
    project.list(*splits, split=splits)


@pytest.mark.parametrize("hinder", [take_the_room, build_from_another_folder, cut_one_content_in_two_splits])
def test_a_record_is_not_removed_where_the_build_after_it_would_be_refused(project, monkeypatch, hinder):
    flip(commit_path(project.cache, 4), 200)
    hinder(project, monkeypatch)
    before = snapshot(project.cache)
    report = repair(project.cache, check(project.cache), project.root, workers=2)
    assert "cannot be built again" in report.impossible["commits/4.json"]
    assert [one.place for one in report.left] == ["commits/4.json"]
    assert_equal_trees(snapshot(project.cache), before)


# Files outside the data dir.


def move_out(project: Project, name: str) -> str:
    """Let a recording of a store lie beside the data dir. Returns the name that its row now has."""
    outside = project.root.parent / f"outside {name}"
    (project.root / name).rename(outside)
    return f"../{outside.name}"


@pytest.mark.parametrize("path", ["../outside c.wav", "x/../../outside c.wav", "absolute"])
def test_a_row_of_a_store_from_elsewhere_has_no_file_outside_the_data_dir_opened(project, computed, path):
    place = (project.root / move_out(project, "c.wav")).resolve()
    edit_row(project.cache, 4, 0, path=place.as_posix() if path == "absolute" else path)
    report = check(project.cache, sample=100)
    assert list(report.not_comparable.values()) == ["leads out of the data dir"]
    flip(shard_path(project.cache, 4), 0)
    assert list(mend(project.cache).impossible.values()) == ["leads out of the data dir"]
    assert "outside c.wav" not in computed


@pytest.mark.parametrize("allowed", [True, False])
def test_recordings_outside_the_data_dir_are_computed_again_where_the_last_build_was_let_out(project, allowed):
    project.list(*(names := [*LENGTHS.keys() - {"c.wav"}, "nan.wav", "copy of a.wav", move_out(project, "c.wav")]))
    build(read_manifest([project.csv], allow_outside=True), project.cache, SMALL, "cpu", 1)
    if not allowed:
        project.list(*names[:-1])
        project.build()
        project.list(*names)
    assert not check(project.cache, sample=100).damages
    flip(commit_path(project.cache, 4), 200)
    report = mend(project.cache)
    if allowed:
        assert not report.left and not report.impossible
        assert "../outside c.wav" in check(project.cache, sample=100).exact
    else:
        assert "leads out of the data dir" in report.impossible["commits/4.json"] and report.left


# While others change the store.


def test_repair_leaves_alone_what_was_finished_after_it_was_found(project, expected):
    record = commit_path(project.cache, 4).read_bytes()
    commit_path(project.cache, 4).unlink()
    found = check(project.cache)
    commit_path(project.cache, 4).write_bytes(record)
    (project.root / "c.wav").unlink()
    report = mend(project.cache, found)
    assert (report.withdrawn, report.shards, report.impossible, report.left) == (0, 0, {}, ())
    assert_equal_trees(snapshot(project.cache), expected)


def test_repair_after_a_prune_mends_what_is_left(project):
    flip(shard_path(project.cache, 5), 10)
    found = check(project.cache)
    project.list(*LENGTHS.keys() - {"e.wav"})
    prune(project.cache, read_manifest([project.csv]))
    assert not commit_path(project.cache, 5).exists()
    report = mend(project.cache, found)
    assert not report.left and not report.impossible


def test_ctrl_c_in_a_repair_waits_for_no_recording_that_was_not_begun(tmp_path, monkeypatch):
    project = Project(tmp_path)
    for name in "abcd":
        project.record(f"{name}.wav", 0.08)
    project.list(*(f"{name}.wav" for name in "abcd"))
    project.build()
    shard_path(project.cache, 0).unlink()
    begun, stream = [], FrontEnd.stream

    def interrupted(self: FrontEnd, path: Path, *rest: object) -> Iterator[np.ndarray]:
        begun.append(path.name)
        if path.name == "a.wav":  # whose turn is first
            raise KeyboardInterrupt
        time.sleep(2)
        return stream(self, path, *rest)

    monkeypatch.setattr(FrontEnd, "stream", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mend(project.cache)
    assert len(begun) < 4, begun
    monkeypatch.undo()
    assert not mend(project.cache).left


def test_what_was_appended_to_a_shard_is_not_read(project):
    place = shard_path(project.cache, 0)
    os.truncate(place, 1 << 40)  # a hole: no disk and no memory would hold it
    (said,) = check(project.cache).damages
    assert said.place == "instances/c/0/0/0" and "more than" in said.finding
    assert not mend(project.cache).left


def test_a_record_of_a_newer_format_is_named_and_left_alone(project):
    place = commit_path(project.cache, 4)
    body = place.read_bytes().split(b"\n", 1)[1].replace(b'"format_version":1', b'"format_version":2')
    place.write_bytes(b'{"digest":"%s",\n' % hashlib.sha256(body).hexdigest().encode() + body)
    report = check(project.cache)
    (said,) = [one for one in report.damages if one.place == "commits/4.json"]
    assert "format version 2, this batcache reads 1" in said.finding
    before = snapshot(project.cache)
    assert "upgrade" in mend(project.cache).impossible["commits/4.json"]
    assert_equal_trees(snapshot(project.cache), before)


def test_a_record_that_cannot_be_read_may_be_sound_and_stays(project):
    place, aside = commit_path(project.cache, 4), project.root / "aside"
    place.rename(aside)
    place.mkdir()
    before = snapshot(project.cache)
    assert "cannot be read (Is a directory)" in mend(project.cache).impossible["commits/4.json"]
    assert_equal_trees(snapshot(project.cache), before)
    place.rmdir()
    aside.rename(place)
    assert not check(project.cache).damages


def test_a_damaged_slot_that_no_recording_uses_is_mended_with_nan(project):
    project.record("a.wav", 0.25, seed=3)
    (project.root / "copy of a.wav").unlink()
    project.list(*LENGTHS, "nan.wav")
    edit_row(project.cache, 0, 1, path="a.wav")  # as if the copy had never been
    rows = Commit.from_json(place := commit_path(project.cache, 0), place.read_bytes()).recordings
    edit_commit(project.cache, 0, recordings=rows[1:])
    project.build()
    flip(shard_path(project.cache, 0), 10)
    (said,) = check(project.cache).damages
    assert said.recordings == () and "no recording uses it" in said.finding and said.instances == (0,)
    assert not mend(project.cache).left
    assert np.isnan(project.store().read_instances(0, 1)).all()
    assert not check(project.cache, sample=9).damages


# With the recordings.


def test_features_that_were_never_right_are_found_and_repaired(project, expected):
    rewrite_chunk(project.cache, 4, 2)
    assert not check(project.cache).damages, "every checksum fits"
    report = check(project.cache, sample=100)
    (said,) = report.damages
    assert said.recordings == ("d.wav",) and "are not those of its file: off by up to 0.1" in said.finding
    mend(project.cache, report)
    after = check(project.cache, sample=100)
    assert not after.damages and set(after.exact) == set(LENGTHS)
    assert snapshot(project.cache)["instances/c/4/0/0"] == expected["instances/c/4/0/0"]


# Flips anywhere.


@pytest.mark.slow
def test_after_any_flip_in_shards_records_or_array_metadata_repair_brings_the_same_bytes_back(project, expected):
    draw = random.Random(2)
    names = [name for name, content in expected.items() if content != b"<folder>"]
    later = ("committed.json", "last_build.json", "zarr.json")  # the first two are written again by the next build
    names = [name for name in names if name not in later]
    for _ in range(150):
        name = draw.choice(names)
        flip(project.cache / name, draw.randrange(len(expected[name])), 1 << draw.randrange(8))
        if not promised(name, expected[name], (project.cache / name).read_bytes()):
            (project.cache / name).write_bytes(expected[name])
        report = mend(project.cache)
        assert not report.left and not report.impossible, name
        assert_equal_trees(snapshot(project.cache), expected, name)
