"""Carrying out a plan: compute each task's recordings, write its shard, then its commit record.

The order on disk is what makes a build safe to kill: leftovers go, the array is resized once, shards are written and
flushed side by side, and their records appear in the order of the tasks: what is left to do is then packed as it would
have been. Whatever a kill leaves behind either counts or is removed next time.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from batcache.config.settings import DataConfig
from batcache.errors import AudioError, Seen, StoreError, remedy_for
from batcache.manifest.manifest import Manifest, check_contents
from batcache.progress import OnProgress, Progress, ignore_progress, raising_what_listeners_raise
from batcache.storage.disk import free_bytes, require_room
from batcache.storage.place import Place
from batcache.store.build.plan import Plan, Task, plan
from batcache.store.build.rejects import describe_reader, is_lasting
from batcache.store.build.report import BuildReport, make_report, write_log, write_rejected
from batcache.store.build.scan import Known, scan
from batcache.store.build.target import Target, create, find_layout, layout_of, read_target
from batcache.store.build.writers import Writers
from batcache.store.format.array import array_length, resize
from batcache.store.format.commit import write_commit
from batcache.store.format.index import reread
from batcache.store.format.last_build import find_other_root, read_rejects, write_last_build
from batcache.store.format.leftovers import count_leftovers, remove_leftovers
from batcache.store.format.lock import hold
from batcache.store.format.records import note_committed

_MOST_WRITERS = 4  # each holds a shard of 82 MB


@raising_what_listeners_raise
def build(
    manifest: Manifest,
    cache: Place,
    config: DataConfig,
    device: str = "auto",
    workers: int | None = None,
    *,
    rehash: bool = False,
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
        on_progress: hears of the stages ``scan`` and ``build``, in recordings, and between them once of ``plan``, whose
            result is the ``Plan``. What it raises, as Ctrl-C does, stops the build: shards that are being written are
            finished, and what was committed stays.

    Raises:
        ConfigError: a device that is not there.
        StoreError: a store that is damaged, has other settings, is being built by another, or has no room.
        ManifestError: one content in two splits.
    """
    began, workers = time.time(), workers or os.cpu_count() or 1
    if find_layout(cache, config) is None:
        create(cache, config.features, layout_of(config))
    with hold(cache), _naming(cache):
        target = read_target(cache, config)
        todo = make_plan(manifest, target, workers, rehash=rehash, on_progress=on_progress)
        remove_leftovers(cache, target.index)  # they may take the room that is needed
        on_progress(Progress("plan", result=replace(todo, free_bytes=free_bytes(cache))))
        require_room(cache, todo.bytes_to_write, "Free some space, build fewer recordings, or pass another --cache")
        return carry_out(todo, target, manifest, device, workers, began, on_progress)


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
    todo = make_plan(manifest, target, workers or os.cpu_count() or 1, rehash=rehash, on_progress=on_progress)
    return replace(todo, leftover_bytes=count_leftovers(cache, target.index), free_bytes=free_bytes(cache))


def make_plan(
    manifest: Manifest, target: Target, workers: int, *, rehash: bool = False, on_progress: OnProgress = ignore_progress
) -> Plan:
    """Look at every file, then decide. Changes nothing."""
    cache, index, features = target.cache, target.index, target.config.features
    recordings = manifest.recordings()
    paths = {path: clip.time_expansion for path, clip in recordings.items()}
    channels = {path: clip.channel for path, clip in recordings.items() if clip.channel != 1}
    if root := find_other_root(cache, manifest.data_dir, (path for path in paths if path in index.by_path)):
        finding = f"built from files of the same names under {root}, not under {manifest.data_dir.resolve()}"
        remedy = f"Pass --data-dir {root}, or another --cache" if manifest.csvs else "Pass another --cache"
        raise StoreError(cache, finding, remedy)
    files: dict[str, Known] = {}
    rejected: dict[str, str] = {}
    looked_at: dict[str, Seen] = {}
    rejects, looking = read_rejects(cache, describe_reader()), (paths, manifest.data_dir, index, features, workers)
    with closing(scan(*looking, channels=channels, rehash=rehash, rejects=rejects)) as found:
        for done, (path, file) in enumerate(zip(paths, found, strict=True), 1):
            if isinstance(file, AudioError):
                rejected[path] = file.reason
                if file.seen and path not in index.by_path:  # one that failed when it was computed has a row
                    looked_at[path] = file.seen
            else:
                files[path] = file
            on_progress(Progress("scan", done, len(paths)))
    contents = {path: file.content for path, file in files.items()}
    check_contents(manifest, contents, {path: file.recording for path, file in files.items()})
    return replace(plan(paths, files, rejected, index, features, target.layout), looked_at=looked_at)


def carry_out(
    todo: Plan,
    target: Target,
    manifest: Manifest,
    device: str,
    workers: int,
    began: float,
    on_progress: OnProgress = ignore_progress,
) -> BuildReport:
    """Do what a plan says, in a store that the caller holds and that has nothing beside what its index says."""
    cache, config, index = target.cache, target.config, target.index
    if index.commits or todo.tasks:  # one that was killed right behind its first record has not said so yet
        note_committed(cache, has_records=bool(index.commits))
    _resize_for(target, todo.tasks)
    _compute(target, todo.tasks, manifest.data_dir, device, workers, on_progress)
    for shard, rows in todo.revisions.items():
        commit = index.commits[shard]
        write_commit(cache, replace(commit, generation=commit.generation + 1, recordings=rows))

    if todo.written:
        index = reread(index, cache, config.fingerprint, todo.written)
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


def _compute(
    target: Target, tasks: tuple[Task, ...], data_dir: Path, device: str, workers: int, on_progress: OnProgress
) -> None:
    """Compute recordings ahead, across tasks, while the shards of earlier tasks are being written."""
    if not tasks:
        return
    import torch  # only where there is something to compute

    from batcache.device import pick_device
    from batcache.features.frontend import FrontEnd
    from batcache.store.build.compute import compute, stream

    front_end = FrontEnd(target.config.features, pick_device(device), target.config.engine)
    total, done = sum(len(task.recordings) for task in tasks), 0
    computed = compute(
        (placed for task in tasks if not task.streams for placed in task.recordings), data_dir, front_end, workers
    )
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)  # one recording, one thread: the same sums in the same order on any machine
        stack.callback(computed.close)
        at_once = min(max(workers, 2), _MOST_WRITERS)
        writers = stack.enter_context(Writers(target.cache, target.config.fingerprint, target.layout, at_once))

        def commit(waiting: int) -> None:
            nonlocal done
            for _ in writers.commit(waiting):
                done += 1
                on_progress(Progress("build", done, total))

        for task in tasks:
            ready = [stream(task.recordings[0], data_dir, front_end)] if task.streams else []
            for recording in islice(computed, len(task.recordings) - len(ready)):
                ready.append(recording)
                commit(at_once)
            commit(at_once - 1)
            writers.submit(task, ready)
        commit(0)
