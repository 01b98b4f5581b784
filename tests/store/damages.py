"""A sound store, and everything that may be damaged in it."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec.structs
import numpy as np
import pytest

from batcache.config.features import FeatureConfig
from batcache.features.frontend import FrontEnd
from batcache.store.format.attributes import read_attributes
from batcache.store.format.commit import Commit, commit_path, write_commit
from batcache.store.format.shard import ShardWriter, shard_path
from batcache.store.upkeep.repair import RepairReport, repair
from batcache.store.upkeep.verify import VerifyReport, verify
from tests.store.project import Project, copy, flip, snapshot

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


def promised(name: str, content: bytes, flipped: bytes) -> bool:
    """Whether the store promises that these bytes stay. JSON may be spaced otherwise."""
    if not name.endswith("zarr.json"):
        return True
    try:
        documents = [json.loads(content), json.loads(flipped)]
    except ValueError:
        return True
    return documents[0] != documents[1]
