"""What a build has to do: facts about the files (``scan``), then a pure decision (``plan``)."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace

from batcache.ahead import map_ahead
from batcache.config import FeatureConfig
from batcache.errors import AudioError
from batcache.features.audio import AudioHeader, content_hash, read_blocks, read_header
from batcache.features.expansion import HIGHEST_RATE, find_expansion
from batcache.features.metadata import Metadata, read_metadata
from batcache.store.commits import CachedRecording
from batcache.store.index import Index
from batcache.store.layout import Layout

FILES_AT_ONCE = 32
"""A thread is handed so many at most: to hand one over takes longer than to see that it is unchanged."""

Action = Literal["build", "keep", "stale", "duplicate", "rejected"]
UNCHANGED: tuple[Action, str] = ("keep", "unchanged")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file that was opened, before anything is computed."""

    path: str
    size: int
    mtime_ns: int
    content: str
    header_rate: int
    channels: int
    time_expansion: float
    ground: str
    header: AudioHeader
    doubt: str = ""
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def true_rate(self) -> int:
        return round(self.header_rate * self.time_expansion)

    @property
    def key(self) -> tuple[str, int]:
        return self.content, self.true_rate


Known = Facts | CachedRecording
"""What is known of a file: where stat alone proves it unchanged, the row that it has in the index."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A recording to compute, where it goes, and the other names of the same content."""

    facts: Facts
    first_instance: int
    instances: int
    frames: int
    also: tuple[Facts, ...] = ()


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
    there, to be removed first.
    """

    decisions: dict[str, tuple[Action, str]]
    tasks: tuple[Task, ...]
    revisions: dict[int, tuple[CachedRecording, ...]]
    bytes_to_write: int
    leftover_bytes: int = 0

    def count(self, action: Action) -> int:
        return sum(1 for taken, _ in self.decisions.values() if taken == action)

    @property
    def audio_s(self) -> float:
        """True seconds of audio to compute."""
        facts = (placed.facts for task in self.tasks for placed in task.recordings)
        return sum(fact.header.samples / fact.true_rate for fact in facts)

    @property
    def written(self) -> set[int]:
        """The shards whose records this plan writes."""
        owned = (range(task.first_shard, task.first_shard + task.shards) for task in self.tasks)
        return {*self.revisions}.union(*owned)

    @cached_property
    def rejected(self) -> dict[str, str]:
        return {path: reason for path, (action, reason) in self.decisions.items() if action == "rejected"}


def scan(
    expansions: Mapping[str, float | None],
    data_dir: Path,
    index: Index,
    config: FeatureConfig,
    workers: int,
    *,
    rehash: bool = False,
) -> Iterator[Known | AudioError]:
    """Yield what is known of each file, in order, or why it is rejected.

    ``expansions`` maps each path to its time expansion, None where the manifest gives none. A file whose size and
    modification time are those of the index is not opened, unless ``rehash``.
    """

    def look(path: str, expansion: float | None) -> Known | AudioError:
        try:
            return _look(path, expansion, data_dir, index, config, rehash=rehash)
        except AudioError as error:
            return error

    def look_at(items: Sequence[tuple[str, float | None]]) -> list[Known | AudioError]:
        return [look(*item) for item in items]

    size = min(FILES_AT_ONCE, max(1, len(expansions) // (8 * workers)))
    items = iter(expansions.items())
    pool = ThreadPoolExecutor(workers)
    try:
        for found in map_ahead(pool, look_at, iter(lambda: list(islice(items, size)), []), 4 * workers):
            yield from found
    finally:
        pool.shutdown(cancel_futures=True)


def _look(
    path: str, expansion: float | None, data_dir: Path, index: Index, config: FeatureConfig, *, rehash: bool
) -> Known:
    try:
        stat = os.stat(os.path.join(data_dir, path))  # noqa: PTH116, PTH118 (to make a Path takes longer than to look)
    except OSError:
        stat = None
    if stat and not rehash:
        for row in index.by_path.get(path, ()):
            unchanged = row.size == stat.st_size and row.mtime_ns == stat.st_mtime_ns and not row.failure
            if unchanged and _stands(row, expansion):
                return _recall(row, expansion)
    place = data_dir / path
    header = read_header(place)
    assert stat is not None, "read_header raises where there is no file"
    metadata = read_metadata(place, header)
    found = find_expansion(place, header, metadata, expansion)
    facts = Facts(
        path,
        stat.st_size,
        stat.st_mtime_ns,
        content_hash(place, header),
        header.rate,
        header.channels,
        found.factor,
        found.ground,
        header,
        found.doubt,
        metadata,
    )
    _check_rate(place, facts, config)
    failed = index.by_key.get(facts.key)
    if failed is not None and failed.failure:
        try:
            for _ in read_blocks(place, header, 1 << 20):
                pass
        except AudioError:  # said in the same words as before, whatever the size of a block
            raise AudioError(place, failed.failure) from None
    return facts


def _stands(row: CachedRecording, expansion: float | None) -> bool:
    """Whether what the index holds of an unchanged file answers what the manifest says of it, or leaves to be found."""
    if expansion is None:
        return row.ground != "manifest" and (row.ground != "assumed" or bool(row.doubt))  # nothing is assumed undoubted
    return row.true_rate == round(row.header_rate * expansion)


def _recall(row: CachedRecording, expansion: float | None) -> CachedRecording:
    """The row of a file that is as it was, with the manifest's word where it has one."""
    if expansion is None or (row.time_expansion, row.ground) == (expansion, "manifest"):
        return row
    return replace(row, time_expansion=expansion, ground="manifest", doubt="")


def _check_rate(place: Path, facts: Facts, config: FeatureConfig) -> None:
    rate = facts.true_rate
    said = f"{rate:,} Hz ({facts.header_rate:,} in the header x {facts.time_expansion:g})"
    if rate < 2 * config.fmin:
        raise AudioError(
            place,
            f"true rate {said} is below 2 x fmin = {2 * config.fmin:,.0f} Hz",
            "If it is time-expanded, say so in a time_expansion column",
        )
    if rate > HIGHEST_RATE:
        raise AudioError(place, f"true rate {said} is above {HIGHEST_RATE:,} Hz", "Correct its time_expansion")
    if facts.header.samples * config.target_sample_rate < config.n_fft * rate:
        window_ms = config.n_fft / config.target_sample_rate * 1e3
        finding = f"{facts.header.samples} samples are shorter than one FFT window ({window_ms:g} ms)"
        raise AudioError(place, finding, "Remove its row")


def plan(
    paths: Iterable[str],
    facts: Mapping[str, Known],
    rejected: Mapping[str, str],
    index: Index,
    config: FeatureConfig,
    layout: Layout,
) -> Plan:
    """Decide what becomes of every path, in order. Pure: the same arguments give the same plan."""
    decisions: dict[str, tuple[Action, str]] = {}
    fresh: dict[tuple[str, int], list[Facts]] = {}
    adopted: list[tuple[Known, CachedRecording]] = []
    for path in paths:
        if path in rejected:
            decisions[path] = ("rejected", rejected[path])
            continue
        fact = facts[path]
        known = index.by_path.get(path, ())
        row = next((row for row in known if row is fact or (row.key == fact.key and not row.failure)), None)
        if row is not None:
            same = (row.size, row.mtime_ns) == (fact.size, fact.mtime_ns)
            decisions[path] = UNCHANGED if same else ("keep", "same audio, file touched or tagged again")
            if row is not fact:
                adopted.append((fact, row))
            continue
        assert isinstance(fact, Facts), "a file that was not opened has its row"
        other = index.by_key.get(fact.key)
        if other is not None and not other.failure:
            decisions[path] = ("keep", f"same audio as {other.path}, moved or copied")
            adopted.append((fact, other))
        elif fact.key in fresh:
            decisions[path] = ("duplicate", f"same audio as {fresh[fact.key][0].path}")
            fresh[fact.key].append(fact)
        else:
            decisions[path] = _why_compute(fact, known)
            fresh[fact.key] = [fact]
    tasks = pack(list(fresh.values()), set(index.commits), config, layout)
    room = sum(layout.shard_bytes([placed.instances for placed in task.recordings], task.shards) for task in tasks)
    return Plan(decisions, tasks, _revise(index, facts, adopted), room)


def _why_compute(fact: Facts, known: Sequence[CachedRecording]) -> tuple[Action, str]:
    if not known:
        return "build", "new"
    if known[0].failure:
        return "build", "failed before"
    if known[0].content != fact.content:
        return "stale", "its audio changed"
    return "stale", f"true rate was {known[0].true_rate:,} Hz, is {fact.true_rate:,} Hz"


def pack(groups: Sequence[Sequence[Facts]], taken: set[int], config: FeatureConfig, layout: Layout) -> tuple[Task, ...]:
    """Place recordings, in order, into free shards. Each group is one content under one or more names.

    A recording takes consecutive instances; it straddles shards only where it is longer than one, and then has its
    shards to itself.
    """
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
        for part in allot(instances, taken, layout.instances_per_shard)
    )


@dataclass(frozen=True)
class Allotted:
    """Shards and what goes there: ``(which, first instance)`` of each recording."""

    first_shard: int
    shards: int
    members: tuple[tuple[int, int], ...]


def allot(instances: Sequence[int], taken: set[int], capacity: int) -> list[Allotted]:
    """Place recordings of so many instances, as ``pack`` says. Returns shards in order of their number."""
    parts: list[Allotted] = []
    members: list[tuple[int, int]] = []
    open_shard, used = -1, capacity
    next_shard = 0

    def claim(count: int) -> int:
        """The first free shard that begins a run of ``count`` free ones."""
        nonlocal next_shard
        shard = next_shard
        while any(s in taken for s in range(shard, shard + count)):
            shard += 1
        taken.update(range(shard, shard + count))
        while next_shard in taken:
            next_shard += 1
        return shard

    taken = set(taken)
    for which, count in enumerate(instances):
        if count > capacity:
            shards = -(-count // capacity)
            shard = claim(shards)
            parts.append(Allotted(shard, shards, ((which, shard * capacity),)))
            continue
        if used + count > capacity:
            if members:
                parts.append(Allotted(open_shard, 1, tuple(members)))
            open_shard, used, members = claim(1), 0, []
        members.append((which, open_shard * capacity + used))
        used += count
    if members:
        parts.append(Allotted(open_shard, 1, tuple(members)))
    return sorted(parts, key=lambda part: part.first_shard)


def _revise(
    index: Index, facts: Mapping[str, Known], adopted: Sequence[tuple[Known, CachedRecording]]
) -> dict[int, tuple[CachedRecording, ...]]:
    """Rows that committed shards must have after the build, where they differ from those they have.

    Rows whose path now stands for other audio go; rows of kept files take over the file's present size, time and name.
    """

    def stands(row: CachedRecording) -> bool:
        fact = facts.get(row.path)
        return fact is None or fact is row or (fact.key == row.key and not row.failure)

    sought = {id(row) for _, row in adopted}
    home = {id(row): k for k, commit in index.commits.items() for row in commit.recordings if id(row) in sought}
    touched = {k for k, commit in index.commits.items() if not all(map(stands, commit.recordings))}
    wanted = {
        shard: {row.path: row for row in index.commits[shard].recordings if stands(row)}
        for shard in sorted(touched.union(home.values()))
    }
    for fact, row in adopted:
        wanted[home[id(row)]][fact.path] = describe(fact, row)
    return {
        shard: tuple(rows.values())
        for shard, rows in wanted.items()
        if tuple(rows.values()) != index.commits[shard].recordings
    }


def describe(fact: Known, row: CachedRecording) -> CachedRecording:
    """The row of a file whose content is that of ``row``."""
    return replace(row, **columns_of(fact))


_OF_FILE = ("path", "size", "mtime_ns", "header_rate", "channels", "time_expansion", "ground", "doubt")
_SAID = ("recorded_at", "latitude", "longitude", "recorder", "species_auto", "species_manual", "unread")


def columns_of(fact: Known) -> dict[str, Any]:
    """What a row says of the file, as opposed to its samples."""
    said = fact.metadata if isinstance(fact, Facts) else fact
    return {name: getattr(fact, name) for name in _OF_FILE} | {name: getattr(said, name) for name in _SAID}
