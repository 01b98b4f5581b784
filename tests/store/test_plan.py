"""The laws of ``batcache.store.plan``: pure decisions about made-up files, no disk."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcache.config.features import FeatureConfig
from batcache.features.audio import AudioHeader
from batcache.store.build.plan import Plan, Task, pack, plan
from batcache.store.build.scan import ScannedFile, describe
from batcache.store.format.commit import CachedRecording, Commit
from batcache.store.format.index import Index
from batcache.store.format.layout import Layout

CONFIG = FeatureConfig(target_sample_rate=256_000, n_mels=16)
LAYOUT = Layout(100, 16, 4)


def facts(
    path: str, seconds: float = 0.2, content: str | None = None, rate: int = 256_000, **known: object
) -> ScannedFile:
    header = AudioHeader(rate, 1, round(seconds * rate), "PCM_16", b"", 44, round(seconds * rate) * 2, compressed=False)
    return replace(ScannedFile(path, 1000, 1, content or f"hash of {path}", rate, 1, 1.0, "assumed", header), **known)


def row_of(fact: ScannedFile, first_instance: int = 0, instances: int = 2, failure: str = "") -> CachedRecording:
    return CachedRecording(
        path=fact.path,
        size=fact.size,
        mtime_ns=fact.mtime_ns,
        content=fact.content,
        header_rate=fact.header_rate,
        channels=fact.channels,
        time_expansion=fact.time_expansion,
        expansion_source=fact.expansion_source,
        true_rate=fact.true_rate,
        nyquist_hz=fact.true_rate / 2,
        duration_s=0.2,
        first_instance=first_instance,
        instances=instances,
        frames=200,
        dead_bands=0,
        energy_below=0.0,
        energy_above=0.0,
        failure=failure,
    )


def index_of(*shards: Sequence[CachedRecording]) -> Index:
    return Index({k: Commit(k, 0, "f", 0, False, (1,) * 4, tuple(rows)) for k, rows in enumerate(shards)})


def decide(found: Sequence[ScannedFile], index: Index, rejected: dict[str, str] | None = None) -> Plan:
    paths = [fact.path for fact in found] + list(rejected or {})
    return plan(paths, {fact.path: fact for fact in found}, rejected or {}, index, CONFIG, LAYOUT)


# Placing recordings.

lengths = st.lists(st.integers(1, 13), max_size=30)  # in instances: up to four shards
shards_taken = st.sets(st.integers(0, 12), max_size=8)


def groups_of(instances: Sequence[int]) -> list[list[ScannedFile]]:
    """One recording for each number of instances; every third under two names."""
    groups = [[facts(f"{i}.wav", (n - 0.5) / 10)] for i, n in enumerate(instances)]
    return [[*group, replace(group[0], path="copy of it")] if i % 3 == 0 else group for i, group in enumerate(groups)]


@given(lengths, shards_taken)
@settings(deadline=None)
def test_every_recording_lies_whole_in_free_shards_and_overlaps_none(instances, taken):
    groups = groups_of(instances)
    tasks = pack(groups, taken, CONFIG, LAYOUT)
    placed = [recording for task in tasks for recording in task.recordings]
    assert sorted(p.file.path for p in placed) == sorted(group[0].path for group in groups), "all are placed, once"
    also = {group[0].path: tuple(group[1:]) for group in groups}
    assert all(p.also == also[p.file.path] for p in placed)
    in_use = [i for p in placed for i in range(p.first_instance, p.first_instance + p.instances)]
    assert len(in_use) == len(set(in_use)), "none overlap"
    assert not {i // 4 for i in in_use} & taken, "only free shards"
    expected = {group[0].path: n for group, n in zip(groups, instances, strict=True)}
    for task in tasks:
        for p in task.recordings:
            first, last = p.first_instance // 4, (p.first_instance + p.instances - 1) // 4
            assert p.instances == expected[p.file.path] == LAYOUT.instances(p.frames)
            assert task.first_shard <= first and last < task.first_shard + task.shards
            if first != last:
                assert p.instances > 4, "only what is longer than a shard straddles"
                assert p.first_instance % 4 == 0 and len(task.recordings) == 1, "and has its shards to itself"
                assert task.shards == last - first + 1


@given(lengths, shards_taken)
@settings(deadline=None)
def test_tasks_own_their_shards_and_come_in_their_order_without_gaps_inside(instances, taken):
    tasks = pack(groups_of(instances), taken, CONFIG, LAYOUT)
    owned = [shard for task in tasks for shard in range(task.first_shard, task.first_shard + task.shards)]
    assert owned == sorted(set(owned)), "one writer a shard"
    for task in tasks:
        at = task.first_shard * 4
        for p in task.recordings:
            assert p.first_instance == at, "slots fill from the first on"
            at += p.instances


@given(lengths, shards_taken)
@settings(deadline=None)
def test_recordings_that_share_a_shard_keep_the_order_of_the_manifest(instances, taken):
    for task in pack(groups_of(instances), taken, CONFIG, LAYOUT):
        order = [int(p.file.path.removesuffix(".wav")) for p in task.recordings]
        assert order == sorted(order)


@given(lengths, shards_taken, st.integers(0, 40))
@settings(deadline=None)
def test_what_a_stopped_build_left_over_is_packed_as_it_would_have_been(instances, taken, done):
    """Tasks are carried out in order; whatever number of them is committed, the rest go where they would have gone."""
    groups = groups_of(instances)
    tasks = pack(groups, taken, CONFIG, LAYOUT)
    committed, left = tasks[:done], tasks[done:]
    there = {p.file.path for task in committed for p in task.recordings}
    shards = {shard for task in committed for shard in range(task.first_shard, task.first_shard + task.shards)}
    again = pack([group for group in groups if group[0].path not in there], taken | shards, CONFIG, LAYOUT)
    assert again == left


def test_packing_leaves_its_arguments_alone():
    taken = {1}
    pack(groups_of([2, 9, 3]), taken, CONFIG, LAYOUT)
    assert taken == {1}


def test_a_hole_between_shards_is_filled_by_what_fits_and_skipped_by_what_does_not():
    tasks = pack([[facts("long.wav", 0.5)], [facts("short.wav", 0.1)]], {1}, CONFIG, LAYOUT)
    assert [(t.first_shard, t.shards, t.recordings[0].file.path) for t in tasks] == [
        (0, 1, "short.wav"),
        (2, 2, "long.wav"),
    ]


def test_a_rate_other_than_the_target_counts_the_frames_after_resampling():
    (task,) = pack([[facts("a.wav", 0.2, rate=312_500)]], set(), CONFIG, LAYOUT)
    assert task.recordings[0].frames == 200


# Deciding.


def test_a_plan_depends_on_its_arguments_alone():
    old = row_of(facts("old.wav"))
    found = [facts("new.wav"), facts("old.wav", content="other"), facts("copy.wav", content="hash of new.wav")]
    index = index_of([old])
    assert decide(found, index, {"bad.wav": "empty"}) == decide(found, index_of([old]), {"bad.wav": "empty"})
    assert index.commits[0].recordings == (old,)


def test_each_file_gets_one_decision_with_its_reason():
    kept, renamed, changed, slower, failed = (facts(f"{name}.wav") for name in ("k", "r", "c", "s", "f"))
    index = index_of(
        [row_of(kept), row_of(replace(renamed, path="old name.wav"), 2)],
        [row_of(replace(changed, content="before")), row_of(replace(slower, time_expansion=10.0), 6)],
        [row_of(replace(failed, content="with NaN"), 8, failure="NaN")],
    )
    found = [kept, renamed, changed, slower, failed, facts("n.wav"), facts("twin.wav", content="hash of n.wav")]
    todo = decide(found, index, {"b.wav": "empty file"})
    assert todo.decisions == {
        "k.wav": ("keep", "unchanged"),
        "r.wav": ("keep", "same audio as old name.wav, moved or copied"),
        "c.wav": ("stale", "its audio changed"),
        "s.wav": ("stale", "true rate was 2,560,000 Hz, is 256,000 Hz"),
        "f.wav": ("build", "failed before"),
        "n.wav": ("build", "new"),
        "twin.wav": ("duplicate", "same audio as n.wav"),
        "b.wav": ("rejected", "empty file"),
    }
    computed = [p.file.path for task in todo.tasks for p in task.recordings]
    assert computed == ["c.wav", "s.wav", "f.wav", "n.wav"]
    assert todo.rejected == {"b.wav": "empty file"}
    assert (todo.count("keep"), todo.count("build"), todo.count("duplicate")) == (2, 2, 1)


def test_a_touched_or_tagged_file_is_kept_and_its_row_takes_the_new_size_and_time():
    fact = facts("a.wav")
    tagged = replace(fact, size=1100, mtime_ns=9)
    todo = decide([tagged], index_of([row_of(fact)]))
    assert todo.decisions["a.wav"] == ("keep", "same audio, file touched or tagged again")
    assert todo.tasks == ()
    assert todo.revisions == {0: (row_of(tagged),)}


def test_nothing_to_do_revises_nothing():
    rows = [row_of(facts("a.wav")), row_of(facts("b.wav"), 2)]
    todo = decide([facts("b.wav"), facts("a.wav")], index_of(rows))
    assert (todo.tasks, todo.revisions) == ((), {})


def test_two_files_that_swapped_names_swap_their_rows():
    a, b = facts("a.wav"), facts("b.wav")
    index = index_of([row_of(a, 0)], [row_of(b, 4)])
    todo = decide([replace(a, path="b.wav"), replace(b, path="a.wav")], index)
    assert todo.tasks == ()
    assert {shard: [(r.path, r.first_instance) for r in rows] for shard, rows in todo.revisions.items()} == {
        0: [("b.wav", 0)],
        1: [("a.wav", 4)],
    }


def test_a_row_whose_path_now_holds_other_audio_goes_and_its_copies_stay():
    a = facts("a.wav")
    index = index_of([row_of(a), row_of(replace(a, path="copy.wav"))])
    todo = decide([replace(a, content="other"), replace(a, path="copy.wav")], index)
    assert [row.path for row in todo.revisions[0]] == ["copy.wav"]


def test_a_row_of_a_path_that_the_manifest_lacks_or_that_was_rejected_stays():
    index = index_of([row_of(facts("gone.wav")), row_of(facts("bad.wav"), 2)])
    assert decide([], index, {"bad.wav": "empty file"}).revisions == {}


def test_a_failed_row_is_never_a_source_of_copies():
    fact = facts("a.wav", content="same")
    index = index_of([row_of(fact, failure="NaN")])
    todo = decide([replace(fact, path="b.wav")], index)
    assert todo.decisions["b.wav"][0] == "build"


def test_one_content_at_two_true_rates_is_two_recordings():
    a = facts("a.wav", content="same")
    todo = decide([a, replace(a, path="b.wav", time_expansion=0.5)], index_of())
    assert [decision for decision, _ in todo.decisions.values()] == ["build", "build"]


def test_a_file_that_takes_over_a_row_keeps_its_frames_and_brings_its_own_ground():
    row = row_of(facts("a.wav"), first_instance=7)
    fact = facts("b.wav", time_expansion=10.0, expansion_source="manifest", header_rate=25_600, size=5)
    described = describe(fact, row)
    assert (described.path, described.size, described.time_expansion) == ("b.wav", 5, 10.0)
    assert (described.expansion_source, described.header_rate) == ("manifest", 25_600)
    assert (described.first_instance, described.frames, described.content) == (7, row.frames, row.content)


@pytest.mark.parametrize("rows", [[], [row_of(facts("a.wav"))]])
def test_new_recordings_never_enter_a_committed_shard(rows):
    (task,) = decide([facts("new.wav")], index_of(rows)).tasks
    assert isinstance(task, Task)
    assert task.first_shard == 1
