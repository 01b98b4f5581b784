"""Building again what commit records stood for that cannot be believed.

Such a record goes only once it is certain that nothing goes with it: a build of what the CSVs of the last build list is
planned and has room, and every recording whose name can be read in the record is in it.
"""

import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from batcache.config.settings import DataConfig
from batcache.errors import BatcacheError, list_some
from batcache.progress import OnProgress
from batcache.storage.disk import require_room
from batcache.storage.listing import is_file
from batcache.store.build.build import carry_out, make_plan
from batcache.store.build.hands import Threads
from batcache.store.build.plan import Plan
from batcache.store.build.target import Target
from batcache.store.format.attributes import describe_front_end, read_attributes
from batcache.store.format.commit import commit_path, is_intact, read_texts, unknown_keys
from batcache.store.format.index import Index
from batcache.store.format.last_build import read_last_manifest
from batcache.store.format.layout import FORMAT_VERSION
from batcache.store.format.leftovers import count_leftovers, remove_leftovers
from batcache.store.format.records import require_records, withdraw


@dataclass(frozen=True)
class Rebuilt:
    """Shards made, recordings computed, records removed; or by record why it stays, and nothing was done."""

    shards: int = 0
    recomputed: tuple[str, ...] = ()
    withdrawn: int = 0
    kept: Mapping[str, str] = field(default_factory=dict)


def rebuild(
    cache: Path, index: Index, doubtful: Collection[int], data_dir: Path | None, workers: int, on_progress: OnProgress
) -> Rebuilt:
    """Remove the records of ``doubtful`` shards and build what they stood for. ``index`` has the others.

    The caller holds the store.
    """
    began = time.time()
    features, layout, attributes = read_attributes(cache)
    if other := describe_front_end(features, attributes["fingerprint"]):
        return Rebuilt(kept={f"commits/{k}.json": f"what it held cannot be built again: {other}" for k in doubtful})
    config = DataConfig(**vars(features), instance_s=layout.frames_per_instance / features.frames_per_second)
    try:
        require_records(cache)
        manifest = read_last_manifest(cache, data_dir, to_read_files=True)
        target = Target(cache, config, layout, index)
        todo = make_plan(manifest, target, Threads(workers), on_progress=on_progress)
        require_room(cache, todo.bytes_to_write - count_leftovers(cache, index), "Free some space")
    except BatcacheError as error:
        return Rebuilt(kept={f"commits/{k}.json": f"what it held cannot be built again: {error}" for k in doubtful})
    records: dict[int, bytes] = {}
    reasons: dict[str, str] = {}
    for shard in doubtful:
        try:
            records[shard] = commit_path(cache, shard).read_bytes()
            reason = why_keep(records[shard], todo, manifest.data_dir)
        except FileNotFoundError:
            continue
        except OSError as error:  # it may be sound
            reason = f"cannot be read ({error.strerror}). See to the disk, or move it away"
        if reason:
            reasons[f"commits/{shard}.json"] = reason
    if reasons:
        return Rebuilt(kept=reasons)
    withdraw(cache, records.keys())
    remove_leftovers(cache, index)
    carry_out(todo, target, manifest, "cpu", Threads(workers), began, on_progress)
    return Rebuilt(
        shards=sum(task.shards for task in todo.tasks),
        recomputed=tuple(placed.file.path for task in todo.tasks for placed in task.recordings),
        withdrawn=len(records),
    )


def why_keep(record: bytes, todo: Plan, data_dir: Path) -> str:
    """Why a record must stay though it cannot be believed, or nothing.

    A name that no CSV lists may be an old or a damaged one: then no file has it, and its audio is built under another.
    """
    version = re.search(rb'"format_version":(\d{1,9})', record)
    if version and is_intact(record) and int(version[1]) != FORMAT_VERSION:
        return f"format version {int(version[1])}; upgrade batcache"
    if is_intact(record) and (unknown := unknown_keys(record)):
        return f"columns that this batcache does not know: {list_some(unknown)}; upgrade batcache"
    names, contents = (read_texts(record, column) for column in ("path", "content"))
    computed = [placed for task in todo.tasks for placed in task.recordings]
    built = {placed.file.content for placed in computed}
    built |= {row.content for rows in todo.revisions.values() for row in rows}
    lost = [
        f"{name}: {todo.rejected.get(name, 'not in the CSVs of the last build')}"
        for name, content in zip_longest(names, contents, fillvalue="")
        if (name not in todo.decisions or name in todo.rejected) and (content not in built or is_file(data_dir / name))
    ]
    remedy = "Bring back or list what it held, or delete the record to give that up"
    return f"what it held cannot all be built again: {list_some(lost)}. {remedy}" if lost else ""
