"""Carrying out a plan: compute each task's recordings, write its shard, then its commit record.

The order on disk is what makes a build safe to kill: leftovers go, the array is resized once, shards are written and
flushed side by side, and their records appear in the order of the tasks: what is left to do is then packed as it would
have been. Whatever a kill leaves behind either counts or is removed next time.
"""

import errno
import os
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from batcache.config.settings import DataConfig, FeatureConfig
from batcache.errors import AudioError, StoreError
from batcache.manifest.manifest import Manifest, check_contents
from batcache.storage.disk import require_room
from batcache.storage.s3 import Place, S3Path
from batcache.store.build.plan import Plan, Task, plan
from batcache.store.build.report import BuildReport, make_report, write_log, write_rejected
from batcache.store.build.scan import Known, scan
from batcache.store.build.writers import Writers
from batcache.store.format.array import array_length, resize
from batcache.store.format.attributes import create_store, is_free, read_attributes
from batcache.store.format.commit import write_commit
from batcache.store.format.index import Index, read_index, reread
from batcache.store.format.last_build import find_other_root, write_last_build
from batcache.store.format.layout import Layout
from batcache.store.format.leftovers import count_leftovers, remove_leftovers
from batcache.store.format.lock import hold

_MOST_WRITERS = 4  # each holds a shard of 82 MB


@dataclass(frozen=True)
class Target:
    """The store that is built: its place, settings and layout, and what it holds so far."""

    cache: Place
    config: DataConfig
    layout: Layout
    index: Index


@dataclass(frozen=True)
class Progress:
    """How far a stage has come. ``audio_s`` is the true duration of the recording just finished."""

    stage: Literal["scan", "build"]
    done: int
    total: int
    audio_s: float = 0.0


def build(
    manifest: Manifest,
    cache: Place,
    config: DataConfig,
    device: str = "auto",
    workers: int | None = None,
    *,
    rehash: bool = False,
    dry_run: bool = False,
) -> Generator[Progress | Plan | BuildReport, None, None]:
    """Bring a store up to date with a manifest: yields progress, the plan once it is made, and the report last.

    ``config.features`` and ``config.instance_s`` must be those of the store where it exists. ``device`` is ``auto``,
    ``cpu`` or ``cuda``; ``workers`` threads decode and, on the CPU, compute (by default one a core). ``rehash`` reads
    every file, whatever its size and time say. A ``dry_run`` ends with the plan and changes nothing.

    Raises:
        ConfigError: a device that is not there.
        StoreError: a store that is damaged, has other settings, is being built by another, or has no room.
        ManifestError: one content in two splits.
    """
    began = time.time()
    workers = workers or os.cpu_count() or 1
    if dry_run:
        layout = _find_layout(cache, config)
        index = read_index(cache, config.fingerprint, layout) if layout else Index({})
        target = Target(cache, config, layout or Layout(config.frames_per_instance, config.n_mels), index)
        todo = yield from make_plan(manifest, target, workers, rehash=rehash)
        yield replace(todo, leftover_bytes=count_leftovers(cache, index))
        return
    layout = _find_layout(cache, config)
    if layout is None:
        create(cache, config.features, Layout(config.frames_per_instance, config.n_mels))
        layout = _find_layout(cache, config)
        assert layout is not None, "a store was made"
    with hold(cache), _naming(cache):
        target = Target(cache, config, layout, read_index(cache, config.fingerprint, layout))
        todo = yield from make_plan(manifest, target, workers, rehash=rehash)
        remove_leftovers(cache, target.index)  # they may take the room that is needed
        yield todo
        require_room(cache, todo.bytes_to_write, "Free some space, build fewer recordings, or pass another --cache")
        report = yield from carry_out(todo, target, manifest, device, workers, began)
    yield report


def carry_out(
    todo: Plan, target: Target, manifest: Manifest, device: str, workers: int, began: float
) -> Generator[Progress, None, BuildReport]:
    """Do what a plan says, in a store that the caller holds and that has nothing beside what its index says."""
    cache, config, index = target.cache, target.config, target.index
    _resize_for(target, todo.tasks)
    yield from _compute(target, todo.tasks, manifest.data_dir, device, workers)
    for shard, rows in todo.revisions.items():
        commit = index.commits[shard]
        write_commit(cache, replace(commit, generation=commit.generation + 1, recordings=rows))

    if todo.written:
        index = reread(index, cache, config.fingerprint, todo.written)
    report = make_report(cache, index, todo, manifest.recordings(), config, time.time() - began)
    write_last_build(cache, manifest, report.rejected)
    write_rejected(report)
    write_log(report, began)
    return report


@contextmanager
def _naming(cache: Place) -> Iterator[None]:
    """Turn what the disk refuses into an error that names the place."""
    try:
        yield
    except OSError as error:
        place, finding = error.filename or cache, error.strerror or str(error)
        raise StoreError(place, finding, "See to the disk and build again: what is done stays done") from error


def make_plan(
    manifest: Manifest, target: Target, workers: int, *, rehash: bool = False
) -> Generator[Progress, None, Plan]:
    """Look at every file, then decide. Changes nothing."""
    cache, index, features = target.cache, target.index, target.config.features
    paths = {path: clip.time_expansion for path, clip in manifest.recordings().items()}
    if root := find_other_root(cache, manifest.data_dir, (path for path in paths if path in index.by_path)):
        finding = f"built from files of the same names under {root}, not under {manifest.data_dir.resolve()}"
        raise StoreError(cache, finding, f"Pass --data-dir {root}, or another --cache")
    files: dict[str, Known] = {}
    rejected: dict[str, str] = {}
    found = scan(paths, manifest.data_dir, index, features, workers, rehash=rehash)
    for done, (path, file) in enumerate(zip(paths, found, strict=True), 1):
        if isinstance(file, AudioError):
            rejected[path] = file.reason
        else:
            files[path] = file
        yield Progress("scan", done, len(paths))
    check_contents(manifest, {path: file.content for path, file in files.items()})
    return plan(paths, files, rejected, index, features, target.layout)


def count_committed(cache: Place, config: DataConfig) -> int:
    """How many recordings a store holds, whole or not yet."""
    layout = _find_layout(cache, config)
    return len(list(read_index(cache, config.fingerprint, layout).recordings)) if layout else 0


def _find_layout(cache: Place, config: DataConfig) -> Layout | None:
    """Return the layout that a store was made with, None where there is no store yet.

    Raises:
        StoreError: it was made with other settings.
    """
    if is_free(cache):
        return None
    features, there, _ = read_attributes(cache)
    differ = [
        f"{name} is {getattr(features, name)!r}, asked for {wanted!r}"
        for name, wanted in vars(config.features).items()
        if getattr(features, name) != wanted
    ]
    if there.frames_per_instance != config.frames_per_instance:
        differ.append(f"an instance is {there.frames_per_instance} frames, asked for {config.frames_per_instance}")
    if differ:
        raise StoreError(cache, f"built with other settings: {'; '.join(differ)}", "Use them, or another --cache")
    return there


def create(cache: Place, features: FeatureConfig, layout: Layout, versions: Mapping[str, str] | None = None) -> None:
    """Create an empty store where it is free.

    Raises:
        StoreError: nothing can be written there.
    """
    try:
        create_store(cache, features, layout, versions)
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError | FileNotFoundError | PermissionError)
        if (in_the_way or error.errno == errno.ENOTEMPTY) and not is_free(cache):
            return  # another build was quicker
        finding = f"cannot be created ({error.strerror})"
        if isinstance(cache, S3Path):  # it is made in a temporary folder first
            raise StoreError(tempfile.gettempdir(), f"{cache} {finding}", "See to that disk, or set TMPDIR") from None
        raise StoreError(cache, finding, "Pass a --cache that can") from None


def _resize_for(target: Target, tasks: Iterable[Task]) -> None:
    """Set the array's length, once, to hold all that is committed and all that is planned."""
    used = [(commit.shard, len(commit.crc32c)) for commit in target.index.commits.values()]
    ends = [placed.first_instance + placed.instances for task in tasks for placed in task.recordings]
    resize(target.cache, max([array_length(used, target.layout), *ends]))


def _compute(target: Target, tasks: tuple[Task, ...], data_dir: Path, device: str, workers: int) -> Iterator[Progress]:
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

        def commit(waiting: int) -> Iterator[Progress]:
            nonlocal done
            for row in writers.commit(waiting):
                done += 1
                yield Progress("build", done, total, row.duration_s)

        for task in tasks:
            ready = [stream(task.recordings[0], data_dir, front_end)] if task.streams else []
            for recording in islice(computed, len(task.recordings) - len(ready)):
                ready.append(recording)
                yield from commit(at_once)
            yield from commit(at_once - 1)
            writers.submit(task, ready)
        yield from commit(0)
