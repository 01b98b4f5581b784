"""A recording that cannot be built rejects only itself, is listed with its reason, and is built once it can be."""

import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from batcache.errors import AudioError
from batcache.features.audio import AudioHeader, read_header
from tests.store import rebuilding
from tests.store.project import Project, assert_equal_trees, copy, snapshot
from tests.store.rebuilding import NAMES, rejects

built_once = rebuilding.built_once
project = rebuilding.project


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
    half = project.root / f"features.zarr.rejected.csv.{'0a' * 16}.partial"
    half.write_text("filename,rea")
    project.build()
    assert not half.exists()


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


def test_a_rejected_file_that_is_as_it_was_is_not_opened_again(tmp_path: Path) -> None:
    """Half of the time of a build with nothing to do was spent on such files."""
    project = Project(tmp_path)
    project.record("a.wav")
    for name in ("b.wav", "c.wav"):
        (tmp_path / name).write_bytes(b"RIFF, but no more")
    project.list("a.wav", "b.wav", "c.wav")
    first = project.build().report.rejected
    opened: list[str] = []

    def count(path: Path, channel: int) -> AudioHeader:
        opened.append(path.name)
        return read_header(path, channel)

    with mock.patch("batcache.store.build.scan.read_header", count):
        assert project.build().report.rejected == first and opened == []
        os.utime(tmp_path / "b.wav", ns=(1, 1))
        assert project.build().report.rejected == first and opened == ["b.wav"]
        project.list("a.wav", "b.wav", "c.wav", time_expansion={"c.wav": 10})
        assert project.build().report.rejected == first and opened == ["b.wav", "c.wav"]
        with mock.patch("batcache.store.build.build.describe_reader", lambda: "another version"):
            project.build()
        assert sorted(opened) == ["b.wav", "b.wav", "c.wav", "c.wav"]
        project.record("c.wav", 0.3)
        project.list("a.wav", "b.wav", "c.wav")
        assert set(project.build().report.rejected) == {"b.wav"}


def test_a_file_that_the_disk_did_not_give_is_opened_again(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.record("a.wav")
    project.list("a.wav")
    refused = AudioError("a.wav", "cannot be read (Input/output error)", "Check the disk and the permissions")
    with mock.patch("batcache.store.build.scan.read_header", side_effect=refused):
        assert project.build().report.rejected
    assert not project.build().report.rejected
