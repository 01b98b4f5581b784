"""Every damage is found and named, nothing sound is."""

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import StoreError
from batcache.features.frontend import FrontEnd
from batcache.progress import Progress
from batcache.store.format.commit import commit_path
from batcache.store.format.lock import hold
from batcache.store.upkeep.verify import verify
from tests.store import damages
from tests.store.damages import DAMAGES, LENGTHS, check, promised
from tests.store.project import Project, add_guano, assert_equal_trees, copy, flip, snapshot

sound = damages.sound
expected = damages.expected
project = damages.project
computed = damages.computed


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


@pytest.mark.parametrize("name", ["zarr.json", "commits/4.json", "instances/zarr.json", "instances/c/4/0/0"])
def test_too_few_handles_are_no_damage(project, monkeypatch, name):
    """From the moment on at which this file is to be opened, the system gives none."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_it = Path.open

    def open_last(path, *arguments, **named):
        if path == project.cache / name:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        return open_it(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", open_last)
    try:
        with pytest.raises(StoreError) as caught:
            verify(project.cache, workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    said = str(caught.value)
    assert said.startswith(f"{project.cache}/{name}: ") and "(Too many open files)" in said and "ulimit -n" in said


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


# With the recordings.


def test_features_equal_those_computed_anew(project, computed):
    report = check(project.cache, sample=100)
    assert not report.damages and not report.rounded and not report.not_comparable
    assert set(report.exact) == set(LENGTHS)
    assert sorted(computed) == sorted(LENGTHS), "each content once, none that failed"
    assert len(check(project.cache, sample=2, seed=1).exact) == 2
    draws = {check(project.cache, sample=2, seed=seed).exact for seed in range(5)}
    assert len(draws) > 1 and draws == {check(project.cache, sample=2, seed=seed).exact for seed in range(5)}


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
