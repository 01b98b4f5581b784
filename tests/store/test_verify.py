"""Every damage is found and named, nothing sound is; repair brings back the same bytes."""

import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import msgspec.structs
import numpy as np
import pytest

from batcache.config.features import FeatureConfig
from batcache.errors import StoreError
from batcache.features.frontend import FrontEnd
from batcache.manifest.manifest import read_manifest
from batcache.progress import Progress
from batcache.store.build.build import build
from batcache.store.format.attributes import read_attributes
from batcache.store.format.commit import Commit, commit_path, write_commit
from batcache.store.format.lock import hold
from batcache.store.format.shard import ShardWriter, shard_path
from batcache.store.upkeep.prune import prune
from batcache.store.upkeep.repair import RepairReport, repair
from batcache.store.upkeep.verify import VerifyReport, verify
from tests.store.faults import COUNTED, Fault, Outcome
from tests.store.project import SMALL, Project, add_guano, assert_equal_trees, copy, flip, snapshot

LENGTHS = {"a.wav": 0.25, "b.wav": 0.08, "long.wav": 0.93, "c.wav": 0.2, "d.wav": 0.15, "e.wav": 0.18}
"""Shards of four instances: 0 of a and b, 1 to 3 of the long one, 4 of c and d, 5 of e and one that fails."""
CHUNK = 3204


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Not to be changed."""
    return Project(tmp_path_factory.mktemp("verify")).fill(LENGTHS)


@pytest.fixture(scope="module")
def expected(sound: Project) -> dict[str, bytes]:
    return snapshot(sound.cache)


@pytest.fixture
def project(sound: Project, tmp_path: Path) -> Project:
    return Project(copy(sound.root, tmp_path / "project"))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The recordings that go through the front end, by name."""
    names: list[str] = []
    stream = FrontEnd.stream

    def stream_seen(self: FrontEnd, path: Path, *rest: object) -> Iterator[np.ndarray]:
        names.append(path.name)
        return stream(self, path, *rest)

    monkeypatch.setattr(FrontEnd, "stream", stream_seen)
    return names


def check(cache: Path, **options: object) -> VerifyReport:
    return verify(cache, workers=2, **options)


def mend(cache: Path, found: VerifyReport | None = None) -> RepairReport:
    return repair(cache, found or check(cache), workers=2)


def swap(one: Path, other: Path) -> None:
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)


def edit_commit(cache: Path, shard: int, **changes: object) -> None:
    place = commit_path(cache, shard)
    write_commit(cache, replace(Commit.from_json(place, place.read_bytes()), **changes))


def edit_row(cache: Path, shard: int, which: int, **changes: object) -> None:
    """Change a row and give the record a new digest, as a writer with a fault would."""
    place = commit_path(cache, shard)
    rows = list(Commit.from_json(place, place.read_bytes()).recordings)
    rows[which] = msgspec.structs.replace(rows[which], **changes)
    edit_commit(cache, shard, recordings=tuple(rows))


def edit_json(place: Path, edit: Callable[[dict], object]) -> None:
    document = json.loads(place.read_bytes())
    edit(document)
    place.write_text(json.dumps(document, indent=2))


def rewrite_chunk(cache: Path, shard: int, slot: int) -> None:
    """Put other numbers in the place of a chunk, under a checksum of their own, as if they had been computed."""
    _, layout, _ = read_attributes(cache)
    place = shard_path(cache, shard)
    commit = Commit.from_json(commit_path(cache, shard), commit_path(cache, shard).read_bytes())
    old = place.read_bytes()
    with place.open("wb") as file:
        writer = ShardWriter(file, layout)
        for i in range(len(commit.crc32c)):
            chunk = np.frombuffer(old[i * CHUNK :][: CHUNK - 4], np.float16).reshape(100, 16)
            writer.append(chunk + np.float16(0.1) if i == slot else chunk)
        _, crcs = writer.finish()
    write_commit(cache, replace(commit, crc32c=crcs))


Damaging = Callable[[Path], object]

# What is done to the store; the file that is named; what is said of it; the recordings named.
DAMAGES: dict[str, tuple[Damaging, str, str, set[str]]] = {
    "flipped first byte of a shard": (
        lambda c: flip(shard_path(c, 0), 0),
        "instances/c/0/0/0", "its checksum does not match", {"a.wav", "copy of a.wav"},
    ),
    "flipped byte amid a long recording": (
        lambda c: flip(shard_path(c, 2), CHUNK + 5),
        "instances/c/2/0/0", "its checksum does not match", {"long.wav"},
    ),
    "flipped byte of a stored checksum": (
        lambda c: flip(shard_path(c, 0), CHUNK - 1),
        "instances/c/0/0/0", "has a damaged checksum; its bytes are right", {"a.wav", "copy of a.wav"},
    ),
    "flipped byte of a shard's index": (
        lambda c: flip(shard_path(c, 4), -20), "instances/c/4/0/0", "index of chunks is damaged", set(),
    ),
    "flipped byte of a recording that failed": (
        lambda c: flip(shard_path(c, 5), 2 * CHUNK + 7), "instances/c/5/0/0", "is damaged", {"nan.wav"},
    ),
    "truncated shard": (
        lambda c: shard_path(c, 4).write_bytes(shard_path(c, 4).read_bytes()[: 2 * CHUNK + 9]),
        "instances/c/4/0/0", "shard of 6,417 bytes, committed", set(),
    ),
    "empty shard": (
        lambda c: shard_path(c, 0).write_bytes(b""),
        "instances/c/0/0/0", "shard of 0 bytes", {"a.wav", "copy of a.wav", "b.wav"},
    ),
    "shard with something behind": (
        lambda c: shard_path(c, 0).write_bytes(shard_path(c, 0).read_bytes() + b"x"),
        "instances/c/0/0/0", "more than the 12,884 bytes committed", set(),
    ),
    "missing shard": (
        lambda c: shard_path(c, 0).unlink(),
        "instances/c/0/0/0", "missing shard", {"a.wav", "copy of a.wav", "b.wav"},
    ),
    "missing shard of a long recording": (
        lambda c: shutil.rmtree(shard_path(c, 2).parents[1]), "instances/c/2/0/0", "missing shard", {"long.wav"},
    ),
    "swapped shards": (
        lambda c: swap(shard_path(c, 0), shard_path(c, 1)),
        "instances/c/1/0/0", "holds other bytes than were committed", {"long.wav"},
    ),
    "flipped byte of a record": (
        lambda c: flip(commit_path(c, 4), 200), "commits/4.json", "damaged commit record", set(),
    ),
    "flipped byte of a record's digest": (
        lambda c: flip(commit_path(c, 0), 20), "commits/0.json", "its digest does not match", set(),
    ),
    "flipped byte of a path": (
        lambda c: flip(commit_path(c, 4), commit_path(c, 4).read_bytes().index(b"c.wav")),
        "commits/4.json", "its digest does not match", set(),
    ),
    "empty record": (
        lambda c: commit_path(c, 5).write_bytes(b""), "commits/5.json", "damaged commit record", set(),
    ),
    "missing record": (
        lambda c: commit_path(c, 4).unlink(), "commits/4.json", "no commit record for a shard that is there", set(),
    ),
    "missing record of a long recording": (
        lambda c: commit_path(c, 2).unlink(),
        "commits/3.json", "lacks the record of another shard", {"long.wav"},
    ),
    "swapped records": (
        lambda c: swap(commit_path(c, 0), commit_path(c, 4)), "commits/4.json", "of another store or shard", set(),
    ),
    "record of other settings": (
        lambda c: edit_commit(c, 4, fingerprint=FeatureConfig(n_mels=20).fingerprint),
        "commits/4.json", "of another store or shard", set(),
    ),
    "record of another length": (
        lambda c: edit_commit(c, 0, shard_bytes=77), "commits/0.json", "4 chunks do not make a shard of 77", set(),
    ),
    "record that claims to go on": (
        lambda c: edit_commit(c, 0, continues=True), "commits/0.json", "goes on in the next shard", set(),
    ),
    "rows that overlap": (
        lambda c: edit_row(c, 0, 2, first_instance=2), "commits/0.json", "a.wav and b.wav overlap", set(),
    ),
    "row outside its shard": (
        lambda c: edit_row(c, 4, 1, first_instance=19), "commits/4.json", "d.wav lies outside its shard", set(),
    ),
    "row before its shard": (
        lambda c: edit_row(c, 4, 0, first_instance=13), "commits/4.json", "c.wav lies outside its shard", set(),
    ),
    "row of too many frames": (
        lambda c: edit_row(c, 4, 0, frames=260), "commits/4.json", "c.wav has 260 frames in 2 instances", set(),
    ),
    "rows of different contents at the same instances": (
        lambda c: edit_row(c, 0, 1, content="0" * 64),
        "commits/0.json", "a.wav and copy of a.wav stand at the same instances with different contents", set(),
    ),
    "wrong length of the array": (
        lambda c: edit_json(c / "instances" / "zarr.json", lambda d: d["shape"].__setitem__(0, 5)),
        "instances/zarr.json", "says 5 instances, expected 23", set(),
    ),
    "length of the array beyond its end": (
        lambda c: edit_json(c / "instances" / "zarr.json", lambda d: d["shape"].__setitem__(0, 24)),
        "instances/zarr.json", "says 24 instances, expected 23", set(),
    ),
    "another array": (
        lambda c: edit_json(c / "instances" / "zarr.json", lambda d: d.update(fill_value=0.0)),
        "instances/zarr.json", "does not describe the array", set(),
    ),
    "missing metadata of the array": (
        lambda c: (c / "instances" / "zarr.json").unlink(), "instances/zarr.json", "damaged metadata", set(),
    ),
    "garbage for metadata of the array": (
        lambda c: (c / "instances" / "zarr.json").write_text("{}"), "instances/zarr.json", "damaged metadata", set(),
    ),
}  # fmt: skip


def test_a_sound_store_has_no_damage_and_is_not_changed(project, expected):
    report = check(project.cache)
    assert report.damages == ()
    shards = [content for name, content in expected.items() if name.endswith("0/0") and content != b"<folder>"]
    assert (report.shards, report.instances, report.bytes) == (6, 21, sum(map(len, shards)))
    assert not report.unsound and not report.doubtful and not report.array
    assert_equal_trees(snapshot(project.cache), expected)


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_named_and_nothing_is_changed(project, name):
    damage, place, finding, recordings = DAMAGES[name]
    damage(project.cache)
    before = snapshot(project.cache)
    report = check(project.cache)
    said = [one for one in report.damages if one.place == place and finding in one.finding]
    assert said, report.damages
    assert recordings <= {path for one in said for path in one.recordings}
    assert all(one.remedy for one in report.damages)
    assert_equal_trees(snapshot(project.cache), before)


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


def test_a_store_that_is_being_built_is_not_judged(project):
    commit_path(project.cache, 4).unlink()  # as a build leaves a shard until its record is there
    with hold(project.cache), pytest.raises(StoreError, match=rf"being built by process {os.getpid()} .* since"):
        check(project.cache)
    assert check(project.cache).damages


@pytest.mark.parametrize("still_at_work", [True, False])
def test_what_a_builder_changed_while_it_was_read_is_no_damage(project, still_at_work):
    record = commit_path(project.cache, 4).read_bytes()
    commit_path(project.cache, 4).unlink()
    with ExitStack() as stack:

        def go_on_building(progress: Progress) -> None:
            if progress.done == 1:
                if still_at_work:
                    stack.enter_context(hold(project.cache))
                commit_path(project.cache, 4).write_bytes(record)

        with pytest.raises(StoreError, match="being built" if still_at_work else "changed while it was read"):
            verify(project.cache, workers=2, on_progress=go_on_building)
    assert not check(project.cache).damages


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


def test_features_equal_those_computed_anew(project, computed):
    report = check(project.cache, sample=100)
    assert not report.damages and not report.rounded and not report.not_comparable
    assert set(report.exact) == set(LENGTHS)
    assert sorted(computed) == sorted(LENGTHS), "each content once, none that failed"
    assert len(check(project.cache, sample=2, seed=1).exact) == 2
    draws = {check(project.cache, sample=2, seed=seed).exact for seed in range(5)}
    assert len(draws) > 1 and draws == {check(project.cache, sample=2, seed=seed).exact for seed in range(5)}


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


def test_rounding_is_no_damage(project, monkeypatch):
    stream = FrontEnd.stream

    def rounded(self: FrontEnd, *rest: object) -> Iterator[np.ndarray]:
        for frames in stream(self, *rest):
            yield np.nextafter(frames, np.float16(10))

    monkeypatch.setattr(FrontEnd, "stream", rounded)
    report = check(project.cache, sample=100)
    assert not report.damages and not report.exact and set(report.rounded) == set(LENGTHS)


def test_a_file_that_is_gone_or_changed_is_not_comparable_and_one_that_was_tagged_is(project):
    (project.root / "b.wav").unlink()
    project.record("c.wav", 0.2, seed=99)
    add_guano(project.root / "d.wav")
    (project.root / "a.wav").unlink()  # its copy is there
    report = check(project.cache, sample=100)
    assert not report.damages
    assert report.not_comparable.keys() == {"b.wav", "c.wav"}
    assert "no such file" in report.not_comparable["b.wav"]
    assert report.not_comparable["c.wav"] == "its audio changed"
    assert set(report.exact) == {"a.wav", "d.wav", "e.wav", "long.wav"}


def test_recordings_that_were_moved_are_found_by_their_data_dir(project, tmp_path):
    for name in LENGTHS:
        (tmp_path / "moved").mkdir(exist_ok=True)
        (project.root / name).rename(tmp_path / "moved" / name)
    assert set(check(project.cache, sample=100, data_dir=tmp_path / "moved").exact) == set(LENGTHS)


# Flips anywhere.


def promised(name: str, content: bytes, flipped: bytes) -> bool:
    """Whether the store promises that these bytes stay. JSON may be spaced otherwise; versions are for people."""
    if not name.endswith("zarr.json"):
        return True
    try:
        documents = [json.loads(content), json.loads(flipped)]
    except ValueError:
        return True
    for document in documents:
        document.get("attributes", {}).pop("versions", None)
    return documents[0] != documents[1] or (b'"versions"' in content and b'"versions"' not in flipped)


def flips_are_found(sound: Project, folder: Path, count: int, seed: int) -> int:
    """Flip a random bit, so often in each kind of file; verify must see each. Returns how many it saw."""
    cache = copy(sound.cache, folder / "features.zarr")
    files = {name: c for name, c in snapshot(cache).items() if c != b"<folder>" and name != "last_build.json"}
    draw, seen = random.Random(seed), 0
    for turn in range(count):
        kind = ("zarr.json", "commits/", "instances/c/")[turn % 3]
        name = draw.choice(sorted(name for name in files if kind in name))
        at, bit = draw.randrange(len(files[name])), 1 << draw.randrange(8)
        flip(cache / name, at, bit)
        flipped = (cache / name).read_bytes()
        try:
            found = bool(check(cache).damages)
        except StoreError:
            found = True  # without zarr.json nothing can be read
        assert found == promised(name, files[name], flipped), f"{name} byte {at} ^ {bit}"
        seen += found
        (cache / name).write_bytes(files[name])
    return seen


def test_flipped_bits_anywhere_are_found(sound, tmp_path):
    assert flips_are_found(sound, tmp_path, 90, seed=0) > 60


@pytest.mark.slow
def test_hundreds_of_flipped_bits_anywhere_are_found(sound, tmp_path):
    assert flips_are_found(sound, tmp_path, 900, seed=1) > 700


@pytest.mark.slow
def test_after_any_flip_in_shards_records_or_array_metadata_repair_brings_the_same_bytes_back(project, expected):
    draw = random.Random(2)
    names = [name for name, content in expected.items() if content != b"<folder>"]
    names = [name for name in names if name not in ("last_build.json", "zarr.json")]
    for _ in range(150):
        name = draw.choice(names)
        flip(project.cache / name, draw.randrange(len(expected[name])), 1 << draw.randrange(8))
        if not promised(name, expected[name], (project.cache / name).read_bytes()):
            (project.cache / name).write_bytes(expected[name])
        report = mend(project.cache)
        assert not report.left and not report.impossible, name
        assert_equal_trees(snapshot(project.cache), expected, name)


# Killed.

BEFORE_KILLS = [
    "flipped byte amid a long recording",
    "missing shard",
    "flipped byte of a recording that failed",
    "garbage for metadata of the array",
]


def damage_for_kills(cache: Path, *, records: bool) -> None:
    """Shards to be written again; then records that are withdrawn, or numbers that were never right."""
    for name in BEFORE_KILLS:
        DAMAGES[name][0](cache)
    if records:
        flip(commit_path(cache, 4), 200)
        commit_path(cache, 2).unlink()
    else:
        rewrite_chunk(cache, 4, 2)


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither SIGKILL nor fork")
@pytest.mark.parametrize("records", [False, True])
@pytest.mark.parametrize("others", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_repair_that_dies_at_any_point_leaves_right_numbers_or_our_error_and_ends_when_run_again(
    project, expected, records, others, commander, monkeypatch
):
    """Before every 31st operation on the disk; then before all others."""
    truth = {row.path: project.frames(row.path) for row in project.store().index.recordings if not row.failure}
    damaged = copy(project.root, project.root.parent / "damaged" / "project")
    damage_for_kills(damaged / "features.zarr", records=records)

    def begin(name: str) -> Project:
        return Project(copy(damaged, project.root.parent / name / "project"))

    def repair_by_command(of: Project, fault: Fault) -> Outcome:
        return commander.run(of.root, ["verify", str(of.cache), "--deep", "--sample", "100", "--repair"], fault)

    whole = begin("whole")
    outcome = repair_by_command(whole, COUNTED)
    assert outcome.status == 0, outcome.text
    assert_equal_trees(snapshot(whole.cache), expected)
    operations = outcome.operations
    assert len(operations) > 50 and "rename" in dict(operations)
    monkeypatch.setattr("os.fsync", lambda handle: None)
    for at in range(1, len(operations) + 1):
        if (at % 31 == 1) == others:
            continue
        said = f"dead before operation {at}, {operations[at - 1]}"
        again = begin("again")
        assert repair_by_command(again, Fault(at)).died, said
        try:
            store = again.store()
        except StoreError:
            store = None
        for name, frames in truth.items() if store else ():
            try:
                row = store.find(name)
                if row is not None and (name != "d.wav" or records):  # whose numbers were wrong to begin with
                    np.testing.assert_array_equal(store.read_frames(row), frames)
            except StoreError:
                pass
        report = mend(again.cache, check(again.cache, sample=100))
        assert not report.left and not report.impossible, said
        if records:
            again.build()  # the killed one may have removed a shard whose record it had withdrawn before
        assert_equal_trees(snapshot(again.cache), expected, said)
        shutil.rmtree(again.root)
