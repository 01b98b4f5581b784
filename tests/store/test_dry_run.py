"""``--dry-run`` says what would become of each recording and writes nothing; ``--rehash`` believes no clock."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from batcache.cli import main as cli
from tests.store.faulty_build import CONFIG
from tests.store.project import PER_SHARD, Project, add_guano, assert_equal_trees, few_a_shard, snapshot

Said = dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Command:
    """``batcache build`` on a project, in this process."""

    project: Project
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def build(self, *flags: str) -> tuple[int, list[str]]:
        root = self.project.root
        words = ["build", "--csv", "clips.csv", "--config", "small.yaml", "--device", "cpu", *flags]
        self.monkeypatch.chdir(root)
        self.monkeypatch.setattr("sys.argv", ["batcache", *words])
        with few_a_shard(PER_SHARD), pytest.raises(SystemExit) as leaving:
            cli.main()
        said = self.capsys.readouterr()
        assert "error" not in said.err, said.err
        return leaving.value.code or 0, said.out.splitlines()

    def decide(self, *flags: str) -> Said:
        """What a dry run lists: action and reason by recording."""
        status, lines = self.build("--dry-run", *flags)
        assert status == 0
        listed = [line for line in lines if line.endswith(")") and not line.startswith("recordings: ")]
        decided = {}
        for line in listed:
            action, rest = line.split(maxsplit=1)
            path, reason = rest.rstrip(")").split("  (", 1)
            decided[path] = (action, reason)
        return decided


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    project = Project(tmp_path / "project")
    for name in ("a.wav", "b.wav", "night/c.wav", "d.wav"):
        project.record(name)
    (project.root / "small.yaml").write_text(CONFIG)
    project.list("a.wav", "b.wav", "night/c.wav", "d.wav")
    return Command(project, monkeypatch, capsys)


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything under a folder with its inode and time, the log included."""
    found = {}
    for place in [folder, *folder.rglob("*")]:
        stat = place.stat()
        content = place.read_bytes() if place.is_file() else b""
        found[place.relative_to(folder).as_posix()] = (stat.st_mtime_ns, stat.st_ino, content)
    return found


def test_a_dry_run_of_a_store_that_is_not_there_makes_none(command):
    (command.project.root / "text.wav").write_text("no recording")
    shutil.copy(command.project.root / "a.wav", command.project.root / "copy.wav")
    command.project.list("a.wav", "b.wav", "night/c.wav", "copy.wav", "text.wav", "missing.wav")
    before = tree(command.project.root)
    decided = command.decide()
    assert tree(command.project.root) == before
    assert decided["a.wav"] == decided["b.wav"] == decided["night/c.wav"] == ("build", "new")
    assert decided["copy.wav"] == ("duplicate", "same audio as a.wav")
    assert decided["text.wav"][0] == decided["missing.wav"][0] == "rejected"
    assert decided["missing.wav"][1].startswith("no such file")
    assert list(decided) == ["a.wav", "b.wav", "night/c.wav", "copy.wav", "text.wav", "missing.wav"]


def test_a_dry_run_below_folders_that_are_not_there_makes_none(command):
    before = tree(command.project.root)
    assert set(command.decide("--cache", "no/such/folder/f.zarr").values()) == {("build", "new")}
    assert tree(command.project.root) == before


def test_a_dry_run_gives_each_recording_its_reason_and_writes_nothing(command):
    project, root = command.project, command.project.root
    command.build()
    add_guano(root / "a.wav")
    project.record("b.wav", seed=5)
    (root / "night" / "c.wav").rename(root / "moved.wav")
    project.record("new.wav")
    names = ("a.wav", "b.wav", "moved.wav", "d.wav", "new.wav", "missing.wav")
    project.list(*names)
    before = tree(root)
    decided = command.decide()
    assert tree(root) == before
    assert decided.pop("missing.wav")[0] == "rejected"
    assert decided == {
        "a.wav": ("keep", "same audio, file touched or tagged again"),
        "b.wav": ("stale", "its audio changed"),
        "moved.wav": ("keep", "same audio as night/c.wav, moved or copied"),
        "d.wav": ("keep", "unchanged"),
        "new.wav": ("build", "new"),
    }
    assert project.build().computed == {"b.wav", "new.wav"}, "it told the truth"


def test_a_dry_run_takes_no_lock_and_minds_none(command):
    command.build()
    (command.project.cache / "building.json").write_text("somebody's")
    before = tree(command.project.root)
    assert set(command.decide().values()) == {("keep", "unchanged")}
    assert tree(command.project.root) == before


def change_in_secret(path: Path) -> None:
    """Other audio; size and time as they were."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_only_a_rehash_notices_audio_that_changed_under_the_same_size_and_time(command):
    project = command.project
    command.build()
    before = snapshot(project.root)
    change_in_secret(project.root / "b.wav")
    assert set(command.decide().values()) == {("keep", "unchanged")}
    status, _ = command.build()
    assert status == 0
    after = snapshot(project.root)
    assert_equal_trees(
        {name: after[name] for name in after if name != "b.wav"},
        {name: before[name] for name in before if name != "b.wav"},
    )
    decided = command.decide("--rehash")
    assert decided.pop("b.wav") == ("stale", "its audio changed")
    assert set(decided.values()) == {("keep", "unchanged")}
    status, lines = command.build("--rehash")
    assert status == 0 and "1 changed, to compute again" in "\n".join(lines)
    fresh = Project(project.root, cache="fresh.zarr")
    fresh.build()
    assert (project.frames("b.wav") == fresh.frames("b.wav")).all()
    assert set(command.decide("--rehash").values()) == {("keep", "unchanged")}


def test_a_rehash_of_what_did_not_change_computes_nothing_and_changes_no_file(command):
    command.build()
    before = snapshot(command.project.root)
    command.build("--rehash")
    assert_equal_trees(snapshot(command.project.root), before)
