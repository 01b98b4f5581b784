"""A later build computes what changed, and nothing else."""

from unittest import mock

import numpy as np
import pytest

from batcache.store.format.index import reread
from tests.store import rebuilding
from tests.store.project import PER_SHARD, Project, add_guano, assert_equal_trees, set_time, shards, snapshot
from tests.store.rebuilding import LENGTHS, NAMES

built_once = rebuilding.built_once
project = rebuilding.project


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
