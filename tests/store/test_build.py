"""The laws of ``batcache.store.build``: equal bytes, nothing computed twice, rejects that reject only themselves."""

import csv
import errno
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from batcache.errors import StoreError
from batcache.manifest.manifest import read_manifest
from batcache.progress import Progress
from batcache.store.build.build import build
from batcache.store.format.index import reread
from batcache.store.format.last_build import portable
from batcache.store.reader import Store
from tests.store.project import (
    PER_SHARD,
    Project,
    add_guano,
    assert_equal_trees,
    copy,
    few_a_shard,
    set_time,
    shards,
    snapshot,
)

LENGTHS = {"a.wav": 0.25, "night 1/b.wav": 0.08, "long.wav": 0.93, "c.wav": 0.2, "d.wav": 0.05}
NAMES = list(LENGTHS)
LAST_BUILD = ["a.wav", "night 1", "long.wav", "c.wav", "d.wav", "clips.csv"]


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("built"))
    for name, seconds in LENGTHS.items():
        project.record(name, seconds)
    project.list(*LENGTHS)
    project.build()
    return project.root


@pytest.fixture
def project(built_once: Path, tmp_path: Path) -> Project:
    """A built project: two shards of short recordings around three of a long one."""
    return Project(copy(built_once, tmp_path / "project"))


def rejects(project: Project) -> dict[str, str]:
    place = project.root / "features.zarr.rejected.csv"
    if not place.exists():
        return {}
    with place.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["filename"]: row["reason"] for row in rows}


# Equal bytes.


def test_two_builds_in_two_folders_are_equal_byte_for_byte(project, tmp_path):
    other = Project(copy(project.root, tmp_path / "elsewhere" / "deeper", LAST_BUILD))
    assert not other.cache.exists()
    other.build()
    assert_equal_trees(snapshot(other.root), snapshot(project.root))


@pytest.mark.parametrize("workers", [2, 3])
def test_bytes_do_not_depend_on_the_number_of_workers(project, tmp_path, workers):
    other = Project(copy(project.root, tmp_path / "other", LAST_BUILD))
    other.build(workers=workers)
    assert_equal_trees(snapshot(other.root), snapshot(project.root))


def test_frames_do_not_depend_on_the_size_of_shards_or_on_the_neighbours(project, tmp_path):
    other = Project(project.root, cache="other.zarr")
    other.list(*reversed(NAMES))
    other.build(per_shard=640)
    assert len(other.store().index.commits) == 1
    for name in NAMES:
        np.testing.assert_array_equal(other.frames(name), project.frames(name))


def test_a_store_keeps_the_shard_size_it_was_made_with(project):
    project.record("new.wav", 0.55)
    project.list(*NAMES, "new.wav")
    project.build(per_shard=640)
    store = project.store()
    row = store.find("new.wav")
    assert store.layout.instances_per_shard == PER_SHARD
    assert row.first_instance % PER_SHARD == 0 and row.instances == 6, "in two shards of its own"
    assert len(store.read_frames(row)) == 550


def test_a_second_build_changes_no_file_and_computes_nothing(project):
    before = {place: place.stat() for place in project.cache.rglob("*")}
    bytes_before = snapshot(project.root)
    second = project.build()
    assert (second.computed, second.report.computed, second.report.kept) == (set(), 0, len(NAMES))
    assert_equal_trees(snapshot(project.root), bytes_before)
    for place, stat in before.items():
        now = place.stat()
        assert (now.st_mtime_ns, now.st_ino) == (stat.st_mtime_ns, stat.st_ino), place


def test_a_second_build_imports_no_torch(project):
    code = (
        "import sys; from pathlib import Path; from batcache.config.settings import DataConfig;"
        "from batcache.manifest.manifest import read_manifest; from batcache.store.build.build import build;"
        "config = DataConfig(n_mels=16, instance_s=0.1);"
        "report = build(read_manifest([Path('clips.csv')]), Path('features.zarr'), config);"
        "assert report.kept == 5, report;"
        "print(*sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'torchaudio', 'nnAudio', 'zarr'}))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=project.root, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr


def test_recordings_are_computed_on_one_thread_and_the_number_is_put_back(project):
    import torch

    before = torch.get_num_threads()
    project.record("new.wav")
    project.list("new.wav")
    during: set[int] = set()

    def look(progress: Progress) -> None:
        if progress.stage == "build":
            during.add(torch.get_num_threads())

    torch.set_num_threads(3)
    try:
        manifest = read_manifest([project.csv])
        build(manifest, project.cache, project.config, device="cpu", workers=1, on_progress=look)
        assert (during, torch.get_num_threads()) == ({1}, 3)
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_a_build_does_not_depend_on_assertions_being_checked(project, tmp_path):
    code = (
        "from pathlib import Path; from tests.store.project import Project;"
        "import sys; project = Project(Path(sys.argv[1])); project.build()"
    )
    other = Project(copy(project.root, tmp_path / "other", LAST_BUILD))
    here = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-O", "-c", code, str(other.root)], cwd=here, check=True)
    assert_equal_trees(snapshot(other.root), snapshot(project.root))


def test_progress_counts_every_file_and_every_computed_recording(project):
    project.record("new.wav", 0.3)
    project.list(*NAMES, "new.wav")
    told: list[Progress] = []
    with few_a_shard():
        manifest = read_manifest([project.csv])
        build(manifest, project.cache, project.config, device="cpu", workers=2, on_progress=told.append)
    seen = [(progress.stage, progress.done, progress.total) for progress in told]
    assert seen == [("scan", n, 6) for n in range(1, 7)] + [("plan", 0, None), ("build", 1, 1)]


def test_the_store_knows_no_clock_and_no_host_and_the_log_beside_it_does(project):
    lines = (project.root / "features.zarr.log").read_text().splitlines()
    (entry,) = map(json.loads, lines)
    assert (entry["computed"], entry["kept"], entry["rejected"]) == (5, 0, 0)
    assert entry["began"].endswith("Z")
    held = b"".join(snapshot(project.cache).values())
    assert entry["host"].encode() not in held and str(project.root).encode() not in held


# Several writers.


@pytest.fixture
def slow_first_writer(monkeypatch):
    """Shard 0 reaches the disk once three later ones are there; ``outcome`` is then raised, if it is an error."""
    from batcache.store.build import writers as module

    outcome: list[BaseException] = []
    replacing = module.replacing

    @contextmanager
    def slowly(path):
        with replacing(path) as file:
            yield file
            if path.parts[-3] == "0":
                limit = time.monotonic() + 60
                while not all(path.parents[2].joinpath(k, "0", "0").exists() for k in "123"):
                    assert time.monotonic() < limit
                    time.sleep(0.01)
                time.sleep(0.3)
                if outcome:
                    raise outcome[0]

    monkeypatch.setattr(module, "replacing", slowly)
    return outcome


@pytest.fixture
def four_shards(tmp_path: Path) -> Project:
    project = Project(tmp_path / "four shards")
    names = [f"{i}.wav" for i in range(8)]
    for name in names:
        project.record(name, 0.15)
    project.list(*names)
    return project


def test_records_appear_in_order_though_the_first_shard_is_written_last(four_shards, slow_first_writer):
    four_shards.build(workers=4)
    times = [(four_shards.cache / "commits" / f"{k}.json").stat().st_mtime_ns for k in range(4)]
    assert times == sorted(times)
    shard = four_shards.cache / "instances" / "c" / "0" / "0" / "0"
    assert times[0] >= shard.stat().st_mtime_ns


def test_what_comes_behind_a_shard_that_cannot_be_written_does_not_count(four_shards, slow_first_writer):
    slow_first_writer.append(OSError(errno.EIO, os.strerror(errno.EIO)))
    with pytest.raises(StoreError, match=os.strerror(errno.EIO)):
        four_shards.build(workers=4)
    assert list(four_shards.store().index.recordings) == []
    slow_first_writer.clear()
    four_shards.build(workers=4)
    assert len(list(four_shards.store().index.recordings)) == 8


def interrupt_building(progress: Progress) -> None:
    """Press Ctrl-C at the first recording that is done."""
    if progress.stage == "build":
        raise KeyboardInterrupt


def test_stopped_while_shards_are_written_those_in_hand_are_finished_and_count(four_shards):
    with few_a_shard():
        manifest = read_manifest([four_shards.csv])
        with pytest.raises(KeyboardInterrupt):
            build(manifest, four_shards.cache, four_shards.config, "cpu", 4, on_progress=interrupt_building)
    written = len(list((four_shards.cache / "instances" / "c").iterdir()))
    assert 1 <= written == len(four_shards.store().index.commits)


# What changes a recording and what does not.


def assert_nothing_was_computed(project: Project, before: dict[str, bytes]) -> None:
    built = project.build()
    assert (built.computed, built.report.computed) == (set(), 0)
    assert_equal_trees(shards(project.cache), before)


def test_a_tagged_recording_is_not_computed_again(project):
    before, frames = shards(project.cache), project.frames("a.wav")
    add_guano(project.root / "a.wav")
    assert_nothing_was_computed(project, before)
    row = project.store().find("a.wav")
    assert row.size == (project.root / "a.wav").stat().st_size
    np.testing.assert_array_equal(project.frames("a.wav"), frames)


def test_a_touched_recording_is_not_computed_again(project):
    before = shards(project.cache)
    set_time(project.root / "long.wav", 4711)
    assert_nothing_was_computed(project, before)
    assert project.store().find("long.wav").mtime_ns == (project.root / "long.wav").stat().st_mtime_ns
    generations = [project.store().index.commits[shard].generation for shard in range(5)]
    assert generations == [0, 0, 0, 1, 0], "the record of the long recording's last shard is revised, no other"
    assert_nothing_was_computed(project, before)


@pytest.mark.parametrize("name", ["renamed.wav", "moved/far/a.wav", 'Nacht ä, "quoted".wav'])
def test_a_renamed_or_moved_recording_is_not_computed_again(project, name):
    before, frames = shards(project.cache), project.frames("a.wav")
    (project.root / name).parent.mkdir(parents=True, exist_ok=True)
    (project.root / "a.wav").rename(project.root / name)
    cell = '"' + name.replace('"', '""') + '"'
    project.list(cell, *NAMES[1:])
    assert_nothing_was_computed(project, before)
    np.testing.assert_array_equal(project.frames(name), frames)


def test_two_recordings_that_swap_names_are_not_computed_again(project):
    before = shards(project.cache)
    a, c = project.frames("a.wav"), project.frames("c.wav")
    (project.root / "a.wav").rename(project.root / "x")
    (project.root / "c.wav").rename(project.root / "a.wav")
    (project.root / "x").rename(project.root / "c.wav")
    assert_nothing_was_computed(project, before)
    np.testing.assert_array_equal(project.frames("a.wav"), c)
    np.testing.assert_array_equal(project.frames("c.wav"), a)


def test_a_new_name_for_audio_of_an_old_one_that_holds_other_audio_now(project):
    frames = project.frames("a.wav")
    (project.root / "a.wav").rename(project.root / "was a.wav")
    project.record("a.wav", 0.3, seed=99)
    project.list(*NAMES, "was a.wav")
    assert project.build().computed == {"a.wav"}
    np.testing.assert_array_equal(project.frames("was a.wav"), frames)
    assert len(project.frames("a.wav")) == 300


def test_another_time_expansion_computes_that_recording_and_no_other(project):
    old = project.store().find("c.wav")
    before = shards(project.cache)
    project.list(*NAMES, time_expansion={"c.wav": 0.5})
    built = project.build()
    assert built.computed == {"c.wav"}
    assert built.plan.decisions["c.wav"] == ("stale", "true rate was 384,000 Hz, is 192,000 Hz")
    (row,) = project.store().index.by_path["c.wav"]
    assert (row.true_rate, row.time_expansion, row.expansion_source, row.frames) == (192_000, 0.5, "manifest", 400)
    assert row.first_instance // PER_SHARD != old.first_instance // PER_SHARD
    after = shards(project.cache)
    assert before.items() <= after.items(), "committed shards are never written again"


def test_a_time_expansion_of_one_said_aloud_computes_nothing(project):
    before = shards(project.cache)
    project.list(*NAMES, time_expansion={"c.wav": 1})
    assert_nothing_was_computed(project, before)
    store = project.store()
    assert (store.find("c.wav").expansion_source, store.find("a.wav").expansion_source) == (
        "manifest",
        "full-spectrum rate",
    )


def test_audio_that_was_recorded_ten_times_slower_gets_the_frames_of_its_true_rate(project):
    project.record("slow.wav", 10 * 0.1, rate=38_400, seed=5)
    project.list("slow.wav", time_expansion={"slow.wav": 10})
    project.build()
    row = project.store().find("slow.wav")
    assert (row.header_rate, row.true_rate, row.duration_s, row.frames) == (38_400, 384_000, 0.1, 100)


# What files say of themselves.


SLOWED = """GUANO|Version: 1.0
Make: Titley
Model: Swift
TE: 10
Timestamp: 2024-05-01 23:10:00
Loc Position: 51.5 -2.5
"""


@pytest.fixture
def slow(project: Project) -> Project:
    """The project with two slowed recordings, one of which says so."""
    for name in ("says.wav", "mute.wav"):
        project.record(name, 10 * 0.1, rate=38_400)
    add_guano(project.root / "says.wav", SLOWED)
    project.list(*NAMES, "says.wav", "mute.wav")
    return project


def ground_of(project: Project, name: str) -> tuple[float, str, bool]:
    row = project.store().find(name)
    return row.time_expansion, row.expansion_source, bool(row.expansion_warning)


def test_a_factor_in_the_metadata_is_used_and_one_that_nobody_knows_is_reported(slow):
    report = slow.build().report
    assert ground_of(slow, "says.wav") == (10.0, "guano TE", False)
    assert ground_of(slow, "mute.wav") == (1.0, "assumed", True)
    assert ground_of(slow, "a.wav") == (1.0, "full-spectrum rate", False)
    assert list(report.doubtful) == ["mute.wav"] and report.doubtful["mute.wav"].startswith("taken as 1: ")
    row = slow.store().find("says.wav")
    assert (row.true_rate, row.frames, row.recorder) == (384_000, 100, "Titley Swift")
    assert (row.recorded_at, row.latitude, row.longitude) == ("2024-05-01T23:10:00", 51.5, -2.5)


def test_what_was_found_of_an_unchanged_file_is_not_looked_for_again(slow):
    slow.build()
    before = snapshot(slow.cache)
    with mock.patch("batcache.store.build.scan.read_header", side_effect=AssertionError("opened")):
        assert list(slow.build().report.doubtful) == ["mute.wav"]
    assert_equal_trees(snapshot(slow.cache), before)


def test_the_column_settles_a_doubt_and_its_removal_revives_it(slow):
    slow.build()
    slow.list(*NAMES, "says.wav", "mute.wav", time_expansion={"mute.wav": 10, "says.wav": 10})
    built = slow.build()
    assert built.computed == {"mute.wav"} and not built.report.doubtful
    assert ground_of(slow, "mute.wav") == ground_of(slow, "says.wav") == (10.0, "manifest", False)
    slow.list(*NAMES, "says.wav", "mute.wav")
    assert slow.build().computed == {"mute.wav"}
    assert ground_of(slow, "says.wav") == (10.0, "guano TE", False)
    assert ground_of(slow, "mute.wav") == (1.0, "assumed", True)
    assert slow.store().find("says.wav").recorder == "Titley Swift"


def test_a_tag_that_names_the_factor_computes_that_recording_anew(slow):
    slow.build()
    add_guano(slow.root / "mute.wav", SLOWED)
    assert slow.build().computed == {"mute.wav"}
    assert ground_of(slow, "mute.wav") == (10.0, "guano TE", False)


def test_a_tag_that_does_not_enters_the_index_and_computes_nothing(slow):
    slow.build()
    add_guano(slow.root / "a.wav", "GUANO|Version: 1.0\nModel: D500X\nSpecies Manual ID: Myomyo\nbroken\n")
    built = slow.build()
    assert built.computed == set() and built.report.unread == {"a.wav": "GUANO line 4"}
    row = slow.store().find("a.wav")
    assert (row.recorder, row.species_manual, row.unread) == ("D500X", "Myomyo", "GUANO line 4")


def test_changed_audio_under_an_old_name_computes_that_recording_and_no_other(project):
    old = project.frames("a.wav")
    others = {name: project.frames(name) for name in NAMES[1:]}
    project.record("a.wav", 0.25, seed=1)
    built = project.build()
    assert built.computed == {"a.wav"}
    assert built.plan.decisions["a.wav"] == ("stale", "its audio changed")
    assert not np.array_equal(project.frames("a.wav"), old)
    assert len(project.store().index.by_path["a.wav"]) == 1, "the old row is gone"
    for name, frames in others.items():
        np.testing.assert_array_equal(project.frames(name), frames)
    assert project.build().computed == set()


def test_a_file_under_two_names_is_computed_once_and_both_read_the_same(project):
    project.record("x.wav", 0.3)
    (project.root / "y").mkdir()
    (project.root / "y" / "x.wav").write_bytes((project.root / "x.wav").read_bytes())
    add_guano(project.root / "y" / "x.wav")
    project.list(*NAMES, "x.wav", "y/x.wav")
    built = project.build()
    assert (built.computed, built.report.duplicates, built.report.computed) == ({"x.wav"}, 1, 1)
    store = project.store()
    x, y = store.find("x.wav"), store.find("y/x.wav")
    assert (x.first_instance, x.frames) == (y.first_instance, y.frames)
    assert y.size > x.size
    np.testing.assert_array_equal(store.read_frames(x), store.read_frames(y))
    assert built.report.instances == sum(-(-round(s * 1000) // 100) for s in LENGTHS.values()) + 3, "counted once"


def test_a_copy_made_later_is_not_computed(project):
    before = shards(project.cache)
    (project.root / "copy.wav").write_bytes((project.root / "long.wav").read_bytes())
    project.list(*NAMES, "copy.wav")
    assert_nothing_was_computed(project, before)
    np.testing.assert_array_equal(project.frames("copy.wav"), project.frames("long.wav"))


def test_a_removed_row_leaves_the_store_as_it_is(project):
    before = snapshot(project.cache)
    project.list(*NAMES[1:])
    built = project.build()
    assert (built.computed, built.report.recordings) == (set(), 4)
    assert_equal_trees(snapshot(project.cache), before)
    project.list(*NAMES)
    assert project.build().computed == set(), "and its return costs nothing"


def test_a_new_recording_goes_into_a_new_shard(project):
    before = shards(project.cache)
    project.record("new.wav")
    project.list("new.wav", *NAMES)
    assert project.build().computed == {"new.wav"}
    after = shards(project.cache)
    assert before.items() <= after.items()
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"5"}


def test_shards_whose_commit_record_is_deleted_are_made_again_as_they_were(project):
    before = snapshot(project.root)
    (project.cache / "commits" / "4.json").unlink()
    assert [project.store().find(name) is None for name in NAMES] == [False, False, False, True, True]
    assert project.build().computed == {"c.wav", "d.wav"}
    assert_equal_trees(snapshot(project.root), before)


@pytest.mark.parametrize("shard", [1, 2, 3])
def test_a_long_recording_that_lacks_the_record_of_any_of_its_shards_is_made_again_whole(project, shard):
    before = snapshot(project.root)
    (project.cache / "commits" / f"{shard}.json").unlink()
    assert [project.store().find(name) is None for name in NAMES] == [False, False, True, False, False]
    assert project.build().computed == {"long.wav"}
    assert_equal_trees(snapshot(project.root), before)


def test_no_recording_moves_in_among_the_shards_of_a_long_one_that_lacks_a_record(project):
    """Else the long recording would be read with another's frames at its beginning."""
    frames = project.frames("long.wav")
    (project.cache / "commits" / "1.json").unlink()
    project.record("new.wav", 0.3)
    project.list("new.wav", *NAMES)
    project.build()
    np.testing.assert_array_equal(project.frames("long.wav"), frames)
    assert len(project.frames("new.wav")) == 300


def test_an_index_reread_where_a_build_wrote_is_the_index_read_anew(project):
    before = project.store().index
    project.record("new.wav", 0.55)
    add_guano(project.root / "a.wav")
    project.list("new.wav", *NAMES)
    built = project.build()
    assert built.plan.written == {0, 5, 6}
    assert reread(before, project.cache, project.config.fingerprint, built.plan.written) == project.store().index


# Rejects.


def test_each_reject_is_listed_with_its_reason_and_the_others_are_built(project):
    root = project.root
    (root / "empty.wav").touch()
    (root / "text.wav").write_text("this is no recording at all")
    whole = (root / "a.wav").read_bytes()
    (root / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (root / "calls.zc").write_bytes(b"\0" * 100)
    project.record("slow.wav", 0.5, rate=19_900)
    project.record("fast.wav", 0.05)
    project.record("short.wav", 1535 / 384_000)
    project.record("fits.wav", 1536 / 384_000)
    project.record("nan.wav", samples=[0.1] * 9000 + [np.nan])
    project.record("infinite.wav", samples=[0.1] * 9000 + [np.inf])
    project.record("good.wav")
    bad = {
        "missing.wav": "no such file",
        "empty.wav": "empty file (0 bytes)",
        "text.wav": "not audio: begins with b'this', expected RIFF or fLaC",
        "cut.wav": "truncated: ",
        "calls.zc": "a zero-crossing file",
        "slow.wav": "true rate 19,900 Hz (19,900 in the header x 1) is below 2 x fmin = 20,000 Hz",
        "fast.wav": "true rate 2,304,000 Hz (384,000 in the header x 6) is above 2,000,000 Hz",
        "short.wav": "1535 samples are shorter than one FFT window (4 ms)",
        "nan.wav": "NaN",
        "infinite.wav": "infinite",
    }
    project.list(*bad, *NAMES, "fits.wav", "good.wav", time_expansion={"fast.wav": 6})
    built = project.build(workers=2)
    listed = rejects(project)
    assert list(listed) == list(bad), "in the order of the manifest"
    for name, reason in bad.items():
        assert reason in listed[name] and listed[name].endswith("."), (name, listed[name])
        assert str(root) not in listed[name]
    assert built.report.rejected == listed == project.store().last_build().rejected
    assert {"fits.wav", "good.wav"} <= built.computed
    assert built.report.recordings == len(NAMES) + 2
    assert len(project.frames("fits.wav")) == 4
    assert len(project.frames("good.wav")) == 200


def test_a_repaired_recording_is_built_and_the_list_of_rejects_goes(project):
    whole = (project.root / "a.wav").read_bytes()
    (project.root / "new.wav").write_bytes(whole[:5000])
    project.list(*NAMES, "new.wav")
    project.build()
    assert list(rejects(project)) == ["new.wav"]
    project.record("new.wav", 0.3)
    assert project.build().computed == {"new.wav"}
    assert not (project.root / "features.zarr.rejected.csv").exists()
    assert project.store().last_build().rejected == {}


def test_a_reject_is_remembered_until_its_file_is_built_whatever_other_csvs_are_built_meanwhile(project):
    for name in ("new.wav", "z.wav"):
        (project.root / name).write_text("no recording")
    project.list("z.wav", *NAMES, "new.wav")
    known = project.build().report.rejected
    project.record("more.wav", 0.3)
    project.list("more.wav", "missing.wav")
    assert list(project.build().report.rejected) == ["missing.wav"]
    notes = project.store().last_build().rejected
    assert notes == {**known, "missing.wav": notes["missing.wav"]}
    before = snapshot(project.root)
    project.build()
    assert_equal_trees(snapshot(project.root), before)
    project.record("new.wav", 0.3)
    project.list(*NAMES, "new.wav")
    project.build()
    assert set(project.store().last_build().rejected) == {"missing.wav", "z.wav"}


def test_what_was_rejected_does_not_depend_on_the_order_of_builds(project, tmp_path):
    notes = []
    for order in [("x.wav", "a b.wav"), ("a b.wav", "x.wav")]:
        other = Project(copy(project.root, tmp_path / order[0]))
        for name in order:
            other.list(*NAMES, name)
            other.build()
        notes.append((other.cache / "last_build.json").read_bytes())
    assert notes[0] == notes[1] and b"x.wav" in notes[0]


def test_half_a_list_of_rejects_that_a_killed_build_left_goes_too(project):
    (project.root / "features.zarr.rejected.csv.partial").write_text("filename,rea")
    project.build()
    assert not (project.root / "features.zarr.rejected.csv.partial").exists()


def test_a_recording_that_vanished_is_rejected_and_known_again_when_it_is_back(project):
    (project.root / "a.wav").rename(project.root / "hidden")
    project.build()
    assert rejects(project)["a.wav"].startswith("no such file")
    (project.root / "hidden").rename(project.root / "a.wav")
    assert project.build().computed == set()
    assert rejects(project) == {}


@pytest.fixture
def with_nan(project: Project) -> Project:
    """A project whose last build met a float file with NaN far behind the first block."""
    broken = 0.1 * np.ones(300_000)
    broken[250_000] = np.nan
    project.record("nan.wav", samples=broken)
    project.record("good.wav", 0.3)
    project.list(*NAMES, "nan.wav", "good.wav", "missing.wav")
    built = project.build()
    assert built.computed == {"nan.wav", "good.wav"}
    assert built.report.computed == 1
    return project


def test_a_recording_that_fails_keeps_its_place_as_nan_and_is_not_found(with_nan):
    store = with_nan.store()
    assert store.find("nan.wav") is None
    (row,) = store.index.by_path["nan.wav"]
    assert "NaN" in row.failure
    instances = store.read_instances(row.first_instance, row.instances)
    assert np.isnan(instances[-1]).all(), "what came behind the fault"
    assert len(with_nan.frames("good.wav")) == 300
    assert "nan.wav" in rejects(with_nan)


def test_a_recording_that_fails_is_not_computed_again_and_the_store_does_not_grow(with_nan):
    before = snapshot(with_nan.root)
    for _ in range(2):
        assert with_nan.build().computed == set()
        assert_equal_trees(snapshot(with_nan.root), before)


def test_a_recording_that_failed_is_built_once_it_is_good(with_nan):
    with_nan.record("nan.wav", 0.3)
    assert with_nan.build().computed == {"nan.wav"}
    assert list(rejects(with_nan)) == ["missing.wav"]
    (row,) = with_nan.store().index.by_path["nan.wav"]
    assert not row.failure
    assert len(with_nan.frames("nan.wav")) == 300


def test_a_recording_that_only_failed_to_be_read_is_built_once_it_can_be(project, monkeypatch):
    """A disk that failed once: the same content, whose row says it failed."""
    from batcache.errors import AudioError
    from batcache.features.frontend import FrontEnd

    def fail(self, path, *_):
        raise AudioError(path, "cannot be read (Input/output error)", "Check the disk")
        yield

    project.record("new.wav", 0.3)
    project.list(*NAMES, "new.wav")
    with monkeypatch.context() as patch:
        patch.setattr(FrontEnd, "stream", fail)
        project.build()
    assert rejects(project) == {"new.wav": "cannot be read (Input/output error). Check the disk."}
    assert project.build().plan.decisions["new.wav"] == ("build", "failed before")
    assert len(project.frames("new.wav")) == 300
    assert len(project.store().index.by_path["new.wav"]) == 1
    assert not (project.root / "features.zarr.rejected.csv").exists()


# Other settings, other places.


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"n_mels": 20}, "n_mels is 16, asked for 20"),
        ({"fmin": 15_000.0}, "fmin is 10000.0, asked for 15000.0"),
        ({"instance_s": 0.2}, "an instance is 100 frames, asked for 200"),
        ({"hop_length": 128, "instance_s": 0.05}, "hop_length is 256, asked for 128"),
    ],
)
def test_a_store_of_other_settings_is_refused_naming_both_sides_and_stays(project, changed, said):
    before = snapshot(project.root)
    project.config = replace(project.config, **changed)
    with pytest.raises(StoreError, match=said) as caught:
        project.build()
    assert caught.value.place == str(project.cache)
    assert_equal_trees(snapshot(project.root), before)


def test_settings_that_change_no_number_are_not_compared(project):
    project.config = replace(project.config, sample_rate=250_000, bag_size=3)
    assert project.build().computed == set()


def test_what_a_file_manager_left_in_the_store_is_left_alone(project):
    for folder in ("", "instances", "instances/c"):
        (project.cache / folder / ".DS_Store").write_bytes(b"Bud1")
    assert project.build().computed == set()
    assert (project.cache / "instances" / "c" / ".DS_Store").exists()


def test_the_store_remembers_its_manifest_by_relative_posix_paths(project):
    note = json.loads((project.cache / "last_build.json").read_bytes())
    assert note == {"csvs": ["../clips.csv"], "split_of": {}, "data_dir": "..", "allow_outside": False, "rejected": {}}
    (project.root / "list").mkdir()
    moved = (project.root / "clips.csv").rename(project.root / "list" / "x y.csv")
    manifest = read_manifest([moved], project.root, split_of={moved: "test"})
    build(manifest, project.cache, project.config)
    note = json.loads((project.cache / "last_build.json").read_bytes())
    assert (note["csvs"], note["split_of"]) == (["../list/x y.csv"], {"../list/x y.csv": "test"})


def test_a_project_that_moves_keeps_working(project, tmp_path):
    moved = Project(project.root.rename(tmp_path / "moved"))
    sources = moved.store().last_build()
    assert (sources.csvs, sources.data_dir) == ((moved.csv.resolve(),), moved.root.resolve())
    assert read_manifest(sources.csvs, sources.data_dir).species == ("Myotis",)
    assert moved.build().computed == set()


def test_paths_given_relative_to_the_working_folder_are_found_from_any_other(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project.root)
    build(read_manifest([Path("clips.csv")]), Path("features.zarr"), project.config)
    monkeypatch.chdir(tmp_path)
    assert project.store().last_build().csvs == (project.csv.resolve(),)


@pytest.mark.skipif(os.name == "nt", reason="making links needs privileges on Windows")
def test_a_store_behind_a_link_finds_its_manifest(project, tmp_path):
    (tmp_path / "big disk").mkdir()
    project.cache.rename(tmp_path / "big disk" / "features.zarr")
    project.cache.symlink_to(tmp_path / "big disk" / "features.zarr", target_is_directory=True)
    project.build()
    assert project.store().last_build().csvs == (project.csv.resolve(),)
    assert Store(tmp_path / "big disk" / "features.zarr").last_build().data_dir == project.root.resolve()


def test_portable_paths_are_posix_and_relative(tmp_path):
    assert portable(tmp_path / "a" / "b.csv", tmp_path / "c" / "f.zarr") == "../../a/b.csv"
    assert portable(tmp_path, tmp_path) == "."
