"""What a prune has to do: what goes and what moves. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from batcache.store.format.commit import CachedRecording
from batcache.store.format.index import Index
from batcache.store.format.layout import Layout
from batcache.store.format.packing import PackedShards, pack_instances

Rows = tuple[CachedRecording, ...]


@dataclass(frozen=True)
class PrunePlan:
    """What goes and what moves.

    ``dead`` shards hold nothing that is kept and go first; ``emptied`` ones hold some, which ``moves`` copies (rows of
    one content in each group, where they go in each part), and go last. ``revisions`` are the rows of other shards
    that change. ``dropped`` are the paths whose rows go.
    """

    dead: tuple[int, ...] = ()
    emptied: tuple[int, ...] = ()
    groups: tuple[Rows, ...] = ()
    moves: tuple[PackedShards, ...] = ()
    revisions: Mapping[int, Rows] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()

    def instances(self, part: PackedShards) -> int:
        """How many a new shard takes."""
        return sum(self.groups[which][0].instances for which, _ in part.members)


def plan_prune(index: Index, is_kept: Callable[[CachedRecording], bool], layout: Layout) -> PrunePlan:
    """Decide what goes and what moves. Pure."""
    capacity = layout.instances_per_shard
    kept = {shard: [row for row in commit.recordings if is_kept(row)] for shard, commit in index.commits.items()}
    spans: dict[int, dict[int, int]] = {shard: {} for shard in index.commits}  # instances in use, by first instance
    for rows in kept.values():
        for row in rows:
            for shard in _shards_of(row, capacity):
                spans[shard][row.first_instance] = row.instances
    dead = {shard for shard, used in spans.items() if not used}
    full = {
        shard
        for shard, used in spans.items()
        if any(count > capacity for count in used.values()) or sum(used.values()) == len(index.commits[shard].crc32c)
    }
    wanted = _choose_places((row for rows in kept.values() for row in rows), full, capacity)
    live = {shard: [first for first in used if first in wanted] for shard, used in spans.items()}
    emptied = {
        shard
        for shard in index.commits
        if shard not in dead and (shard not in full or len(live[shard]) < len(spans[shard]))
    }
    groups = tuple(wanted[first] for shard in sorted(emptied) for first in sorted(live[shard]))
    taken = set(index.commits) - dead
    revisions = {}
    for shard in sorted(set(index.commits) - dead - emptied):
        commit = index.commits[shard]
        rows_now = _in_order(commit.recordings, [row for first in live[shard] for row in wanted[first]])
        if rows_now != commit.recordings and not commit.continues:
            revisions[shard] = rows_now
    names = {row.path for rows in kept.values() for row in rows}
    return PrunePlan(
        dead=tuple(sorted(dead)),
        emptied=tuple(sorted(emptied)),
        groups=groups,
        moves=tuple(pack_instances([rows[0].instances for rows in groups], taken, capacity)),
        revisions=revisions,
        dropped=tuple(path for path in index.by_path if path not in names),
    )


def _choose_places(kept: Iterable[CachedRecording], full: set[int], capacity: int) -> dict[int, Rows]:
    """Of each content one place, in a full shard where there is one, and the rows that shall name it."""
    places: dict[tuple[tuple[str, int], str], dict[int, list[CachedRecording]]] = {}
    for row in kept:
        places.setdefault((row.key, row.failure), {}).setdefault(row.first_instance, []).append(row)
    wanted = {}
    for copies in places.values():
        first = min(copies, key=lambda at: (at // capacity not in full, at))
        named = {row.path: row for at in sorted(copies, key=lambda at: at == first) for row in copies[at]}
        wanted[first] = tuple(replace(row, first_instance=first) for row in named.values())
    return wanted


def _shards_of(row: CachedRecording, capacity: int) -> range:
    return range(row.first_instance // capacity, (row.first_instance + row.instances - 1) // capacity + 1)


def _in_order(old: Rows, wanted: Sequence[CachedRecording]) -> Rows:
    """The rows wanted, in the order that they have, new ones last."""
    position = {(row.path, row.first_instance): i for i, row in enumerate(old)}
    return tuple(sorted(wanted, key=lambda row: position.get((row.path, row.first_instance), len(old))))
