"""Is a store what it promises? Every byte read, every damage listed.

Held against each other: commit records and their digests; each record's rows and its shard; every chunk's checksum in
the record and in the shard; the shard's own index; Zarr's metadata and the layout. With ``deep`` also the stored
features of some recordings and those computed now from their files. What promises nothing is not looked at: the note
of the last build, the versions that made the store, temporary files of a build that was stopped.
"""

import os
import random
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from batcache.config.features import FeatureConfig
from batcache.errors import StoreError
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.storage.ahead import map_ahead
from batcache.storage.place import Place
from batcache.store.format.attributes import describe_front_end, read_attributes
from batcache.store.format.commit import CachedRecording, Commit
from batcache.store.format.index import Index, check_layout, complete_commits, read_records
from batcache.store.format.last_build import find_data_dir
from batcache.store.format.layout import Layout, say_how_to_mend
from batcache.store.format.lock import require_idle
from batcache.store.format.shard import shard_path
from batcache.store.upkeep.record_checks import Damage, check_array, check_group, check_records, name_in
from batcache.store.upkeep.shard_checks import Owners, describe, examine, owners_of


@dataclass(frozen=True)
class VerifyReport:
    """What was checked, what is damaged, and what ``repair`` has to know.

    ``unsound`` has for each shard to be written again the slots whose bytes are not what they should be, perhaps none;
    ``doubtful`` are shards without a record that can be believed, ``records`` the others' as they were read; ``array``
    says that Zarr's metadata are not right.
    ``exact``, ``rounded`` and ``not_comparable`` (with reasons) are recordings that were compared with their files.
    """

    cache: Place
    damages: tuple[Damage, ...]
    shards: int
    instances: int
    bytes: int
    seconds: float
    exact: tuple[str, ...] = ()
    rounded: tuple[str, ...] = ()
    not_comparable: Mapping[str, str] = field(default_factory=dict)
    unsound: Mapping[int, frozenset[int]] = field(default_factory=dict)
    doubtful: tuple[int, ...] = ()
    array: bool = False
    records: Mapping[int, Commit] = field(default_factory=dict, repr=False)


@dataclass
class _Found:
    damages: list[Damage]
    unsound: dict[int, frozenset[int]] = field(default_factory=dict)


def verify(
    cache: Place,
    *,
    sample: int = 0,
    seed: int = 0,
    data_dir: Path | None = None,
    workers: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> VerifyReport:
    """Read everything and report every damage. Nothing is written.

    Args:
        cache: the store.
        sample: so many recordings, drawn at random, are computed anew and compared.
        seed: decides which.
        data_dir: where their files are; None: where the last build found them.
        workers: threads that read (by default one a core).
        on_progress: hears of the stages ``read``, in shards, and ``compare``, in recordings.

    Raises:
        StoreError: no store, or its ``zarr.json`` is so damaged that nothing else can be read; a sample without a
            data dir, or of what another front end computed; a store that is being built, or was changed meanwhile:
            what is half done is no damage.
    """
    require_idle(cache)
    report = inspect(cache, sample=sample, seed=seed, data_dir=data_dir, workers=workers, on_progress=on_progress)
    if report.damages:
        require_idle(cache)
        _, _, attributes = read_attributes(cache)
        if read_records(cache, attributes["fingerprint"])[0] != report.records:
            raise StoreError(cache, "was changed while it was read", "Run it again")
    return report


def inspect(
    cache: Place,
    *,
    sample: int = 0,
    seed: int = 0,
    data_dir: Path | None = None,
    workers: int | None = None,
    known_sound: Collection[int] = (),
    on_progress: OnProgress = ignore_progress,
) -> VerifyReport:
    """``verify`` whoever holds the store. The chunks of shards that are ``known_sound`` are not read."""
    began, workers = time.monotonic(), workers or os.cpu_count() or 1
    features, layout, attributes = read_attributes(cache)
    if sample and (other := describe_front_end(features, attributes["fingerprint"])):
        raise StoreError(cache, f"{other}: nothing to compare", "Run it without --deep, or build into a new --cache")
    records, refused = read_records(cache, attributes["fingerprint"])
    check_layout(cache, layout, records.values())
    index = Index(complete_commits(records, layout))
    wrong, doubtful = check_records(cache, records, refused, index, layout)
    sound = [commit for shard, commit in sorted(index.commits.items()) if shard not in doubtful]
    array = check_array(cache, sound, layout, exact=not doubtful)
    found = _Found([*check_group(cache, set(attributes)), *wrong, *array])

    owners = owners_of(index, layout)
    reading = [commit for commit in sound if commit.shard not in known_sound]
    read = _read(cache, reading, owners, layout, workers, found, on_progress)
    outcomes: dict[str, tuple[str, str]] = {}
    if sample:
        groups = _draw(owners, found.unsound, sample, seed, layout)
        outcomes = _compare(cache, groups, data_dir, features, layout, workers, found, on_progress)
    return VerifyReport(
        cache=cache,
        damages=tuple(replace(one, remedy=one.remedy or say_how_to_mend(cache)) for one in found.damages),
        shards=len(reading),
        instances=sum(len(commit.crc32c) for commit in reading),
        bytes=read,
        seconds=time.monotonic() - began,
        exact=tuple(path for path, (outcome, _) in outcomes.items() if outcome == "exact"),
        rounded=tuple(path for path, (outcome, _) in outcomes.items() if outcome == "rounded"),
        not_comparable={path: detail for path, (outcome, detail) in outcomes.items() if outcome == "not comparable"},
        unsound=found.unsound,
        doubtful=tuple(sorted(doubtful)),
        array=bool(array),
        records=records,
    )


def _read(
    cache: Place,
    commits: Sequence[Commit],
    owners: Owners,
    layout: Layout,
    workers: int,
    found: _Found,
    on_progress: OnProgress,
) -> int:
    """Read shards and append what is wrong with them. Returns the bytes read."""
    read = 0
    pool = ThreadPoolExecutor(workers)
    try:
        states = map_ahead(pool, lambda commit: examine(cache, commit, layout), commits, 2 * workers)
        for done, (state, commit) in enumerate(zip(states, commits, strict=True), 1):
            read += state.bytes
            if state.finding or state.slots:
                found.unsound[state.shard] = frozenset(state.slots)
                found.damages += describe(cache, state, commit, owners[state.shard], layout)
            on_progress(Progress("read", done, len(commits)))
    finally:
        pool.shutdown(cancel_futures=True)
    return read


def _compare(
    cache: Place,
    groups: Sequence[list[CachedRecording]],
    data_dir: Path | None,
    features: FeatureConfig,
    layout: Layout,
    workers: int,
    found: _Found,
    on_progress: OnProgress,
) -> dict[str, tuple[str, str]]:
    """Compute recordings anew and append those that differ. Returns what became of each."""
    folder, outside = find_data_dir(cache, data_dir)
    if folder is None:
        raise StoreError(cache, "where its recordings lie is not known", "Pass --data-dir")
    from batcache.store.upkeep.recompute import compare  # only where there is something to compute

    outcomes = {}
    compared = compare(cache, groups, folder, features, workers, layout, allow_outside=outside)
    for done, (rows, (outcome, detail)) in enumerate(compared, 1):
        outcomes[rows[0].path] = outcome, detail
        if outcome == "differs":
            found.damages.append(_describe_difference(cache, rows, detail, layout))
            for instance in range(rows[0].first_instance, rows[0].first_instance + rows[0].instances):
                shard, slot = divmod(instance, layout.instances_per_shard)
                found.unsound[shard] = found.unsound.get(shard, frozenset()) | {slot}
        on_progress(Progress("compare", done, len(groups)))
    return outcomes


def _draw(
    owners: Owners, unsound: Mapping[int, Collection[int]], sample: int, seed: int, layout: Layout
) -> list[list[CachedRecording]]:
    """Some contents, each with all its names, none of which is damaged or failed when it was built."""
    capacity = layout.instances_per_shard
    groups = {first: rows for owned in owners.values() for first, rows in owned.items() if not rows[0].failure}

    def is_sound(row: CachedRecording) -> bool:
        instances = range(row.first_instance, row.first_instance + row.instances)
        return all(
            i // capacity not in unsound or i % capacity not in unsound[i // capacity] for i in instances
        ) and all(i // capacity in owners for i in instances)

    candidates = [first for first, rows in sorted(groups.items()) if is_sound(rows[0])]
    chosen = random.Random(seed).sample(candidates, min(sample, len(candidates)))
    return [groups[first] for first in sorted(chosen)]


def _describe_difference(cache: Place, rows: Sequence[CachedRecording], detail: str, layout: Layout) -> Damage:
    place = name_in(cache, shard_path(cache, rows[0].first_instance // layout.instances_per_shard))
    return Damage(place, f"its features {detail}", recordings=tuple(row.path for row in rows))
