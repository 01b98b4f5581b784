"""Carrying out a plan: what is not there yet is computed and written, shard by shard, then made to count by its record.

The order on disk is what makes a build safe to kill: leftovers go, the array is resized once, shards are written and
flushed side by side, and their records appear in the order of the tasks: what is left to do is then packed as it would
have been. Whatever a kill leaves behind either counts or is removed next time.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

from batcache.cluster import Cluster
from batcache.config.settings import DataConfig
from batcache.errors import AudioError, Seen, StoreError, remedy_for
from batcache.manifest.contents import check_contents
from batcache.manifest.manifest import Manifest
from batcache.manifest.reviewed import leave_cached_reviews
from batcache.progress import OnProgress, Progress, ignore_progress, raising_what_listeners_raise
from batcache.storage.disk import free_bytes, require_room
from batcache.storage.place import Place
from batcache.store.build.hands import Hands, Threads, Workers
from batcache.store.build.plan import Plan, Task, plan
from batcache.store.build.rejects import describe_reader, is_lasting
from batcache.store.build.report import BuildReport, make_report, write_log, write_rejected
from batcache.store.build.scan import Known, Look, before_of
from batcache.store.build.target import Target, create, find_layout, layout_of, read_target
from batcache.store.build.task import Job
from batcache.store.build.writers import Written
from batcache.store.format.array import array_length, resize
from batcache.store.format.commit import write_commit
from batcache.store.format.index import reread
from batcache.store.format.last_build import find_other_root, read_rejects, write_last_build
from batcache.store.format.leftovers import count_leftovers, remove_leftovers
from batcache.store.format.lock import hold
from batcache.store.format.records import note_committed


@raising_what_listeners_raise
def build(
    manifest: Manifest,
    cache: Place,
    config: DataConfig,
    device: str = "auto",
    workers: int | None = None,
    *,
    rehash: bool = False,
    cluster: Cluster | None = None,
    on_progress: OnProgress = ignore_progress,
) -> BuildReport:
    """Bring a store up to date with a manifest: compute what is missing or has changed, and nothing else.

    Args:
        manifest: the recordings; their labels and splits do not enter the store.
        cache: where the store lies, or is to be made.
        config: ``features`` and ``instance_s`` must be those of the store where it exists.
        device: ``auto``, ``cpu`` or ``cuda``.
        workers: threads that decode and, on the CPU, compute; by default one a core.
        rehash: read every file, whatever its size and time say.
        cluster: whose workers look at files and compute, in the place of threads of this process.
        on_progress: hears of the stages ``scan`` and ``build``, in recordings, and between them once of ``plan``, whose
            result is the ``Plan``. What it raises, as Ctrl-C does, stops the build: shards that are being written are
            finished, and what was committed stays.

    Raises:
        ConfigError: a device that is not there.
        StoreError: a store that is damaged, has other settings, is being built by another, or has no room.
        ManifestError: one content in two splits.
        ClusterError: workers that cannot do it.
    """
    began, workers = time.time(), workers or os.cpu_count() or 1
    if find_layout(cache, config) is None:
        create(cache, config.features, layout_of(config))
    with hold(cache) as token, _naming(cache):
        hands = Workers(cluster, token) if cluster else Threads(workers)
        target = read_target(cache, config)
        manifest = leave_cached_reviews(manifest, target.index.names_of_contents)
        todo = make_plan(manifest, target, hands, rehash=rehash, on_progress=on_progress)
        remove_leftovers(cache, target.index)  # they may take the room that is needed
        on_progress(Progress("plan", result=replace(todo, free_bytes=free_bytes(cache))))
        require_room(cache, todo.bytes_to_write, "Free some space, build fewer recordings, or pass another --cache")
        return carry_out(todo, target, manifest, device, hands, began, on_progress)


def plan_build(
    manifest: Manifest,
    cache: Place,
    config: DataConfig,
    workers: int | None = None,
    *,
    rehash: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> Plan:
    """Say what ``build`` would do, and change nothing. Arguments and errors are those of ``build``."""
    target = read_target(cache, config)
    manifest = leave_cached_reviews(manifest, target.index.names_of_contents)
    hands = Threads(workers or os.cpu_count() or 1)
    todo = make_plan(manifest, target, hands, rehash=rehash, on_progress=on_progress)
    return replace(todo, leftover_bytes=count_leftovers(cache, target.index), free_bytes=free_bytes(cache))


def make_plan(
    manifest: Manifest,
    target: Target,
    hands: Hands,
    *,
    rehash: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> Plan:
    """Look at every file, then decide. Changes nothing."""
    cache, index, features = target.cache, target.index, target.config.features
    recordings = manifest.recordings()
    if root := find_other_root(cache, manifest.data_dir, (path for path in recordings if path in index.by_path)):
        finding = f"built from files of the same names under {root}, not under {manifest.data_dir.resolve()}"
        remedy = f"Pass --data-dir {root}, or another --cache" if manifest.csvs else "Pass another --cache"
        raise StoreError(cache, finding, remedy)
    files: dict[str, Known] = {}
    rejected: dict[str, str] = {}
    looked_at: dict[str, Seen] = {}
    before = before_of(index, read_rejects(cache, describe_reader()))
    named = tuple((path, clip.time_expansion, clip.channel) for path, clip in recordings.items())
    look = Look(named, manifest.data_dir, features, before, rehash)
    with closing(hands.look(look)) as found:
        for done, (path, file) in enumerate(zip(recordings, found, strict=True), 1):
            if isinstance(file, AudioError):
                rejected[path] = file.reason
                if file.seen and path not in index.by_path:  # one that failed when it was computed has a row
                    looked_at[path] = file.seen
            else:
                files[path] = file
            on_progress(Progress("scan", done, len(recordings)))
    contents = {path: file.content for path, file in files.items()}
    check_contents(manifest, contents, {path: file.recording for path, file in files.items()})
    return replace(plan(recordings, files, rejected, index, features, target.layout), looked_at=looked_at)


def carry_out(
    todo: Plan,
    target: Target,
    manifest: Manifest,
    device: str,
    hands: Hands,
    began: float,
    on_progress: OnProgress = ignore_progress,
) -> BuildReport:
    """Do what a plan says, in a store that the caller holds and that has nothing beside what its index says."""
    cache, config, index = target.cache, target.config, target.index
    if index.commits or todo.tasks:  # one that was killed right behind its first record has not said so yet
        note_committed(cache, has_records=bool(index.commits))
    _resize_for(target, todo.tasks)
    _carry_out_tasks(todo.tasks, Job(cache, manifest.data_dir, config, target.layout, device), hands, on_progress)
    for shard, rows in todo.revisions.items():
        commit = index.commits[shard]
        write_commit(cache, replace(commit, generation=commit.generation + 1, recordings=rows))

    if todo.written:
        index = reread(index, cache, config.fingerprint, todo.written)
        hands.tidy(cache, index)
    report = make_report(cache, index, todo, manifest.recordings(), config, time.time() - began)
    lasting = {path: seen for path, seen in todo.looked_at.items() if is_lasting(todo.rejected[path])}
    write_last_build(cache, manifest, report.rejected, lasting, describe_reader())
    write_rejected(report)
    write_log(report, began)
    return report


def count_committed(cache: Place, config: DataConfig) -> int:
    """How many recordings a store holds, whole or not yet."""
    return len(list(read_target(cache, config).index.recordings))


@contextmanager
def _naming(cache: Place) -> Iterator[None]:
    """Turn what the disk refuses into an error that names the place."""
    try:
        yield
    except OSError as error:
        place, finding = error.filename or cache, error.strerror or str(error)
        remedy = f"{remedy_for(error, 'See to the disk')}. Then build again: what is done stays done"
        raise StoreError(place, finding, remedy) from error


def _resize_for(target: Target, tasks: Iterable[Task]) -> None:
    """Set the array's length, once, to hold all that is committed and all that is planned."""
    used = [(commit.shard, len(commit.crc32c)) for commit in target.index.commits.values()]
    ends = [placed.first_instance + placed.instances for task in tasks for placed in task.recordings]
    resize(target.cache, max([array_length(used, target.layout), *ends]))


def _carry_out_tasks(tasks: Sequence[Task], job: Job, hands: Hands, on_progress: OnProgress) -> None:
    """Have the tasks run, and make what they have written count, in their order."""
    total = sum(len(task.recordings) for task in tasks)

    def commit(written: Written) -> None:
        for one in written[1]:
            write_commit(job.cache, one)

    with closing(hands.run(tasks, job, commit)) as committed:
        for done, _ in enumerate(committed, 1):
            on_progress(Progress("build", done, total))
