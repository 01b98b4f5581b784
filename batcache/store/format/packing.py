"""Which shard, and which instances of it, each recording gets."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PackedShards:
    """Consecutive shards that are written together, and the recordings that go into them.

    ``members`` gives for each recording its position in the list that was packed, and its first instance in the store.
    """

    first_shard: int
    shards: int
    members: tuple[tuple[int, int], ...]


def pack_instances(instances: Sequence[int], taken: set[int], capacity: int) -> list[PackedShards]:
    """Place recordings, in order, into shards of ``capacity`` instances whose numbers are not ``taken``.

    ``instances`` gives the number of instances of each recording. A recording takes consecutive instances. Only one
    that is longer than a shard goes on in the next shard, and then no other recording is in its shards. Returns the
    shards in the order of their numbers.
    """
    parts: list[PackedShards] = []
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
            parts.append(PackedShards(shard, shards, ((which, shard * capacity),)))
            continue
        if used + count > capacity:
            if members:
                parts.append(PackedShards(open_shard, 1, tuple(members)))
            open_shard, used, members = claim(1), 0, []
        members.append((which, open_shard * capacity + used))
        used += count
    if members:
        parts.append(PackedShards(open_shard, 1, tuple(members)))
    return sorted(parts, key=lambda part: part.first_shard)
