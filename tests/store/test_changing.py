"""Recordings that change while a build looks at them: rejected, not cached as what they were, built next time."""

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from batcache.features import frontend
from batcache.store.build import build as library
from batcache.store.build import scan as facts
from tests.store.project import RATE, Built, Project, noise

SECONDS = {"short.wav": 0.3, "long.wav": 0.93}
CHANGED = "changed while it was being read. Run it again."


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two recordings that stay, and between them those that may not: one in a shard with others, one in three."""
    made = Project(tmp_path / "project")
    for name, seconds in {"a.wav": 0.2, **SECONDS, "z.wav": 0.2}.items():
        made.record(name, seconds)
    made.list("a.wav", *SECONDS, "z.wav")
    return made


def write(path: Path, seconds: float, seed: int = 99) -> None:
    soundfile.write(path, noise(seconds, seed), RATE, subtype="PCM_16")


def rewrite(path: Path) -> None:
    """Other audio of the same size."""
    write(path, SECONDS[path.name])


def grow(path: Path) -> None:
    write(path, SECONDS[path.name] + 0.1)


def replace(path: Path) -> None:
    """As a copying program does: another file takes the name; who has the old one open reads on."""
    other = path.with_name("other.wav")
    write(other, SECONDS[path.name])
    other.replace(path)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def while_reading(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[Path], None], after: int) -> None:
    """Change a recording once, when so many of its blocks have been read."""
    read_blocks, done = frontend.read_blocks, []

    def reading(path: Path, header: Any, block: int, *levels: Any) -> Iterator[Any]:
        for number, samples in enumerate(read_blocks(path, header, 20_000 if path.name == name else block, *levels)):
            if path.name == name and number == after and not done:
                done.append(path)
                change(path)
            yield samples

    monkeypatch.setattr(frontend, "read_blocks", reading)


def rejects(project: Project) -> dict[str, str]:
    place = project.root / "features.zarr.rejected.csv"
    if not place.exists():
        return {}
    with place.open(encoding="utf-8", newline="") as file:
        return {row["filename"]: row["reason"] for row in csv.DictReader(file)}


def assert_rejected(project: Project, built: Built, name: str, reason: str) -> None:
    """The one that changed is not found, under any content; all others are there."""
    assert rejects(project) == {name: reason}
    store = project.store()
    assert store.find(name) is None
    assert all(row.failure for row in store.index.recordings if row.path == name)
    assert built.report.recordings == 3
    for other in {"a.wav", *SECONDS, "z.wav"} - {name}:
        assert len(project.frames(other)) > 0


def assert_next_build_computes(project: Project, name: str, tmp_path: Path) -> None:
    """That recording and no other, with the frames of what it holds now."""
    assert project.build().computed == {name}
    assert rejects(project) == {}
    fresh = Project(project.root, cache="fresh.zarr")
    fresh.build()
    for other in ("a.wav", *SECONDS, "z.wav"):
        np.testing.assert_array_equal(project.frames(other), fresh.frames(other), other)
    assert project.build().computed == set()


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("change", [rewrite, grow, replace], ids=lambda change: change.__name__)
@pytest.mark.parametrize("after", [0, 2])
def test_a_recording_that_changes_while_it_is_read_is_rejected_and_built_next_time(
    project, monkeypatch, tmp_path, name, change, after
):
    with monkeypatch.context() as patch:
        while_reading(patch, name, change, after)
        built = project.build()
    assert_rejected(project, built, name, CHANGED)
    assert_next_build_computes(project, name, tmp_path)


@pytest.mark.parametrize("name", SECONDS)
def test_a_recording_that_is_cut_while_it_is_read_says_how_much_was_there(project, monkeypatch, tmp_path, name):
    whole = (project.root / name).read_bytes()
    with monkeypatch.context() as patch:
        while_reading(patch, name, truncate, 0)
        built = project.build()
    samples = round(SECONDS[name] * RATE)
    there = (len(whole) // 2 - 44) // 2
    reason = rejects(project)[name]
    assert f"truncated: {there} of {samples} samples are there" in reason
    assert_rejected(project, built, name, reason)
    assert project.build().computed == set()
    assert "truncated" in rejects(project)[name]
    rewrite(project.root / name)
    assert_next_build_computes(project, name, tmp_path)


@pytest.mark.parametrize("name", SECONDS)
def test_a_recording_that_goes_while_it_is_read_is_rejected_and_built_once_it_is_back(
    project, monkeypatch, tmp_path, name
):
    whole = (project.root / name).read_bytes()
    with monkeypatch.context() as patch:
        while_reading(patch, name, Path.unlink, 1)
        built = project.build()
    assert_rejected(project, built, name, "gone while it was being read. Run it again.")
    assert project.build().computed == set()
    assert rejects(project)[name].startswith("no such file")
    (project.root / name).write_bytes(whole)
    assert_next_build_computes(project, name, tmp_path)


@pytest.mark.parametrize("name", SECONDS)
def test_a_recording_that_changes_between_the_look_and_the_reading_is_rejected_and_built_next_time(
    project, monkeypatch, tmp_path, name
):
    """Its content was hashed, the other recordings' too; then it changes; then it is read."""
    resize_for = library._resize_for

    def change_first(*arguments: Any) -> None:
        rewrite(project.root / name)
        resize_for(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(library, "_resize_for", change_first)
        built = project.build()
    assert_rejected(project, built, name, CHANGED)
    assert_next_build_computes(project, name, tmp_path)


@pytest.mark.parametrize("name", SECONDS)
def test_a_recording_that_changes_between_its_header_and_its_hash_is_rejected_and_built_next_time(
    project, monkeypatch, tmp_path, name
):
    """Size and time were taken before: they tell."""
    content_hashes, changed = facts.content_hashes, []

    def change_first(path: Path, header: Any) -> tuple[str, str]:
        if path.name == name and not changed:
            changed.append(path)
            rewrite(path)
        return content_hashes(path, header)

    with monkeypatch.context() as patch:
        patch.setattr(facts, "content_hashes", change_first)
        built = project.build()
    assert_rejected(project, built, name, CHANGED)
    assert_next_build_computes(project, name, tmp_path)


@pytest.mark.parametrize("name", SECONDS)
def test_a_recording_that_changed_and_changed_back_is_built_as_what_it_was(project, monkeypatch, tmp_path, name):
    """Its content is then that of a row that failed, which must not stand for it."""
    path = project.root / name
    whole, stat = path.read_bytes(), path.stat()
    with monkeypatch.context() as patch:
        while_reading(patch, name, rewrite, 1)
        built = project.build()
    assert_rejected(project, built, name, CHANGED)
    path.write_bytes(whole)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert_next_build_computes(project, name, tmp_path)


def test_a_recording_that_changed_in_an_old_store_is_rejected_and_its_old_frames_are_not_found(
    project, monkeypatch, tmp_path
):
    """Else a clip would be trained on with the frames of another sound."""
    project.build()
    rewrite(project.root / "short.wav")
    with monkeypatch.context() as patch:
        while_reading(patch, "short.wav", lambda path: write(path, 0.3, seed=100), 1)
        built = project.build()
    assert built.computed == {"short.wav"}
    assert rejects(project) == {"short.wav": CHANGED}
    assert project.store().find("short.wav") is None
    assert_next_build_computes(project, "short.wav", tmp_path)
