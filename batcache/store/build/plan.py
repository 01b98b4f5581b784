"""What a build has to do: a pure decision, from what is known of the files and what the index holds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from batcache.config.features import FeatureConfig
from batcache.errors import Seen
from batcache.store.build.scan import Known, ScannedFile, describe
from batcache.store.format.commit import CachedRecording
from batcache.store.format.index import Index
from batcache.store.format.layout import Layout
from batcache.store.format.packing import pack_instances

Action = Literal["build", "keep", "stale", "duplicate", "rejected"]
UNCHANGED: tuple[Action, str] = ("keep", "unchanged")


@dataclass(frozen=True, slots=True)
class Placed:
    """A recording to compute, where it goes, and the other names of the same content."""

    file: ScannedFile
    first_instance: int
    instances: int
    frames: int
    also: tuple[ScannedFile, ...] = ()


@dataclass(frozen=True)
class Task:
    """One unit of work for one writer: a shard of many recordings, or the several shards of one long recording."""

    first_shard: int
    shards: int
    recordings: tuple[Placed, ...]

    @property
    def streams(self) -> bool:
        """Whether its recording is written while it is computed: it may be too long to be held."""
        return len(self.recordings) == 1


@dataclass(frozen=True)
class Plan:
    """What becomes of each recording and why; the tasks; and the rows of committed shards that change.

    ``bytes_to_write`` is what the tasks' shards will take on the disk, ``leftover_bytes`` what a killed build left
    there, to be removed first, ``free_bytes`` what is free there; None where nobody can tell. ``looked_at`` is what was
    seen of each rejected file.
    """

    decisions: dict[str, tuple[Action, str]]
    tasks: tuple[Task, ...]
    revisions: dict[int, tuple[CachedRecording, ...]]
    bytes_to_write: int
    looked_at: Mapping[str, Seen] = field(default_factory=dict)
    leftover_bytes: int = 0
    free_bytes: int | None = None

    def count(self, action: Action) -> int:
        """How many recordings get this action."""
        return sum(1 for taken, _ in self.decisions.values() if taken == action)

    @property
    def audio_s(self) -> float:
        """True seconds of audio to compute."""
        files = (placed.file for task in self.tasks for placed in task.recordings)
        return sum(file.header.samples / file.true_rate for file in files)

    @property
    def written(self) -> set[int]:
        """The shards whose records this plan writes."""
        owned = (range(task.first_shard, task.first_shard + task.shards) for task in self.tasks)
        return {*self.revisions}.union(*owned)

    @cached_property
    def rejected(self) -> dict[str, str]:
        """The rejected recordings, each with its reason."""
        return {path: reason for path, (action, reason) in self.decisions.items() if action == "rejected"}


def plan(
    paths: Iterable[str],
    files: Mapping[str, Known],
    rejected: Mapping[str, str],
    index: Index,
    config: FeatureConfig,
    layout: Layout,
) -> Plan:
    """Decide what becomes of every path, in order. Pure: the same arguments give the same plan."""
    decisions: dict[str, tuple[Action, str]] = {}
    fresh: dict[tuple[str, int], list[ScannedFile]] = {}
    adopted: list[tuple[Known, CachedRecording]] = []
    for path in paths:
        if path in rejected:
            decisions[path] = ("rejected", rejected[path])
            continue
        file = files[path]
        known = index.by_path.get(path, ())
        row = next((row for row in known if row is file or (row.key == file.key and not row.failure)), None)
        if row is not None:
            same = (row.size, row.mtime_ns) == (file.size, file.mtime_ns)
            decisions[path] = UNCHANGED if same else ("keep", "same audio, file touched or tagged again")
            if row is not file:
                adopted.append((file, row))
            continue
        assert isinstance(file, ScannedFile), "a file that was not opened has its row"
        other = index.by_key.get(file.key)
        if other is not None and not other.failure:
            decisions[path] = ("keep", f"same audio as {other.path}, moved or copied")
            adopted.append((file, other))
        elif file.key in fresh:
            decisions[path] = ("duplicate", f"same audio as {fresh[file.key][0].path}")
            fresh[file.key].append(file)
        else:
            decisions[path] = _why_compute(file, known)
            fresh[file.key] = [file]
    tasks = pack(list(fresh.values()), set(index.commits), config, layout)
    room = sum(layout.shard_bytes([placed.instances for placed in task.recordings], task.shards) for task in tasks)
    return Plan(decisions, tasks, _revise(index, files, adopted), room)


def _why_compute(file: ScannedFile, known: Sequence[CachedRecording]) -> tuple[Action, str]:
    if not known:
        return "build", "new"
    if known[0].failure:
        return "build", "failed before"
    if known[0].channel != file.channel:
        return "stale", f"channel {known[0].channel} was taken, is to be {file.channel}"
    if known[0].content != file.content:
        return "stale", "its audio changed"
    return "stale", f"true rate was {known[0].true_rate:,} Hz, is {file.true_rate:,} Hz"


def pack(
    groups: Sequence[Sequence[ScannedFile]], taken: set[int], config: FeatureConfig, layout: Layout
) -> tuple[Task, ...]:
    """Place recordings, in order, into free shards. Each group is one content under one or more names."""
    frames = [config.frames(first.header.samples, first.true_rate) for first, *_ in groups]
    instances = [layout.instances(count) for count in frames]
    return tuple(
        Task(
            part.first_shard,
            part.shards,
            tuple(
                Placed(groups[i][0], first, instances[i], frames[i], tuple(groups[i][1:])) for i, first in part.members
            ),
        )
        for part in pack_instances(instances, taken, layout.instances_per_shard)
    )


def _revise(
    index: Index, files: Mapping[str, Known], adopted: Sequence[tuple[Known, CachedRecording]]
) -> dict[int, tuple[CachedRecording, ...]]:
    """Rows that committed shards must have after the build, where they differ from those they have.

    Rows whose path now stands for other audio go; rows of kept files take over the file's present size, time and name.
    """

    def stands(row: CachedRecording) -> bool:
        file = files.get(row.path)
        return file is None or file is row or (file.key == row.key and not row.failure)

    sought = {id(row) for _, row in adopted}
    home = {id(row): k for k, commit in index.commits.items() for row in commit.recordings if id(row) in sought}
    touched = {k for k, commit in index.commits.items() if not all(map(stands, commit.recordings))}
    wanted = {
        shard: {row.path: row for row in index.commits[shard].recordings if stands(row)}
        for shard in sorted(touched.union(home.values()))
    }
    for file, row in adopted:
        wanted[home[id(row)]][file.path] = describe(file, row)
    return {
        shard: tuple(rows.values())
        for shard, rows in wanted.items()
        if tuple(rows.values()) != index.commits[shard].recordings
    }
