"""Carrying out a plan: compute each task's recordings, write its shard, then its commit record.

The order on disk is what makes a build safe to kill: leftovers go, the array is resized once, each shard is written
and flushed, and only then its record appears. Whatever a kill leaves behind either counts or is removed next time.
"""

import csv
import errno
import glob
import io
import json
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from batcache.config import DataConfig, FeatureConfig
from batcache.disk import PARTIAL, free_bytes, remove_tree, replacing, write_file
from batcache.errors import AudioError, StoreError
from batcache.manifest import Manifest, check_contents
from batcache.s3 import Place, S3Path
from batcache.store.array import array_length, resize
from batcache.store.chunks import ShardWriter, shard_path
from batcache.store.commits import CachedRecording, Commit, write_commit
from batcache.store.group import create_store, is_free, read_attributes
from batcache.store.index import Index, read_index, reread
from batcache.store.layout import Layout
from batcache.store.lock import hold
from batcache.store.plan import Known, Placed, Plan, Task, describe, plan, scan
from batcache.store.sources import find_other_root, write_sources

if TYPE_CHECKING:
    from batcache.store.compute import Computed

Frames = NDArray[np.float16]
_MOST_WRITERS = 4  # each holds a shard of 82 MB


@dataclass(frozen=True)
class Progress:
    """How far a stage has come. ``audio_s`` is the true duration of the recording just finished."""

    stage: Literal["scan", "build"]
    done: int
    total: int
    audio_s: float = 0.0


@dataclass(frozen=True)
class BuildReport:
    """What a build did and what the manifest's recordings look like in the store.

    ``off_rate`` counts recordings whose true rate is not the expected one, ``outside_below`` and ``outside_above``
    name those with most of their energy below ``fmin`` or above ``fmax``, ``two_channels`` those of which only the
    first channel was used. ``doubtful`` says of those whose time expansion may be another which was taken and why
    it is doubted; ``unread`` what of a file's metadata could not be read.
    """

    cache: Place
    computed: int
    kept: int
    duplicates: int
    rejected: Mapping[str, str]
    recordings: int
    instances: int
    seconds: float
    audio_s: float
    off_rate: int
    doubtful: Mapping[str, str]
    unread: Mapping[str, str]
    low_nyquist: int
    outside_below: tuple[str, ...]
    outside_above: tuple[str, ...]
    two_channels: tuple[str, ...]


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
        layout = layout or Layout(config.frames_per_instance, config.n_mels)
        yield (yield from _plan(manifest, cache, config, index, layout, workers, rehash=rehash))
        return
    layout = _find_layout(cache, config)
    if layout is None:
        create(cache, config.features, Layout(config.frames_per_instance, config.n_mels))
        layout = _find_layout(cache, config)
        assert layout is not None, "a store was made"
    with hold(cache), _naming(cache):
        index = read_index(cache, config.fingerprint, layout)
        todo = yield from _plan(manifest, cache, config, index, layout, workers, rehash=rehash)
        yield todo
        _require_room(cache, todo)

        remove_leftovers(cache, index)
        _resize_for(cache, index, todo.tasks, layout)
        yield from _compute(cache, todo.tasks, manifest.data_dir, config, layout, device, workers)
        for shard, rows in todo.revisions.items():
            commit = index.commits[shard]
            write_commit(cache, replace(commit, generation=commit.generation + 1, recordings=rows))

        if todo.written:
            index = reread(index, cache, config.fingerprint, todo.written)
        report = _report(cache, index, todo, manifest.recordings(), config, time.time() - began)
        write_sources(cache, manifest, report.rejected)
        _write_rejected(cache, report.rejected)
        _log(cache, report, began)
    yield report


@contextmanager
def _naming(cache: Place) -> Iterator[None]:
    """Turn what the disk refuses into an error that names the place."""
    try:
        yield
    except OSError as error:
        place, finding = error.filename or cache, error.strerror or str(error)
        raise StoreError(place, finding, "See to the disk and build again: what is done stays done") from error


def _plan(
    manifest: Manifest, cache: Place, config: DataConfig, index: Index, layout: Layout, workers: int, *, rehash: bool
) -> Generator[Progress, None, Plan]:
    """Look at every file, then decide. Changes nothing."""
    paths = {path: clip.time_expansion for path, clip in manifest.recordings().items()}
    if root := find_other_root(cache, manifest.data_dir, (path for path in paths if path in index.by_path)):
        finding = f"built from files of the same names under {root}, not under {manifest.data_dir.resolve()}"
        raise StoreError(cache, finding, f"Pass --data-dir {root}, or another --cache")
    facts: dict[str, Known] = {}
    rejected: dict[str, str] = {}
    found = scan(paths, manifest.data_dir, index, config.features, workers, rehash=rehash)
    for done, (path, fact) in enumerate(zip(paths, found, strict=True), 1):
        if isinstance(fact, AudioError):
            rejected[path] = fact.reason
        else:
            facts[path] = fact
        yield Progress("scan", done, len(paths))
    check_contents(manifest, {path: fact.content for path, fact in facts.items()})
    return plan(paths, facts, rejected, index, config.features, layout)


def count_committed(cache: Place, config: DataConfig) -> int:
    """How many recordings a store holds, whole or not yet."""
    layout = _find_layout(cache, config)
    return len(list(read_index(cache, config.fingerprint, layout).recordings)) if layout else 0


def _require_room(cache: Place, todo: Plan) -> None:
    free = free_bytes(cache)
    if free is not None and todo.bytes_to_write > free:
        finding = f"{todo.bytes_to_write / 1e6:,.2f} MB to write, {free / 1e6:,.2f} MB free"
        raise StoreError(cache, finding, "Free some space, build fewer recordings, or pass another --cache")


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
        raise StoreError(cache, f"cannot be created ({error.strerror})", "Pass a --cache that can") from None


def remove_leftovers(cache: Place, index: Index) -> None:
    """Remove what a killed build left: partial files, records that do not count, shards without a record."""
    made = cache.parent.glob(f"{glob.escape(cache.name)}.{'[0-9a-f]' * 32}{PARTIAL}") if isinstance(cache, Path) else ()
    for created in made:
        remove_tree(created)
    for folder in (cache, cache / "instances", cache / "commits"):
        for partial in folder.glob(f"*{PARTIAL}"):
            partial.unlink()
    for record in (cache / "commits").glob("*.json"):
        if record.stem.isdecimal() and int(record.stem) not in index.commits:
            record.unlink()
    for shard in (cache / "instances" / "c").glob("*"):
        if shard.name.isdecimal() and int(shard.name) not in index.commits:  # a file manager may have been here
            remove_tree(shard)


def _resize_for(cache: Place, index: Index, tasks: Iterable[Task], layout: Layout) -> None:
    """Set the array's length, once, to hold all that is committed and all that is planned."""
    used = [(commit.shard, len(commit.crc32c)) for commit in index.commits.values()]
    ends = [placed.first_instance + placed.instances for task in tasks for placed in task.recordings]
    resize(cache, max([array_length(used, layout), *ends]))


def _compute(
    cache: Place, tasks: tuple[Task, ...], data_dir: Path, config: DataConfig, layout: Layout, device: str, workers: int
) -> Iterator[Progress]:
    """Compute recordings ahead, across tasks, while the shards of earlier tasks are being written."""
    if not tasks:
        return
    import torch  # only where there is something to compute

    from batcache.features.frontend import FrontEnd, pick_device
    from batcache.store.compute import compute, stream

    front_end = FrontEnd(config.features, pick_device(device))
    total, done = sum(len(task.recordings) for task in tasks), 0
    computed = compute(
        (placed for task in tasks if not task.streams for placed in task.recordings), data_dir, front_end, workers
    )
    writing: deque[Future[list[CachedRecording]]] = deque()
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)  # one recording, one thread: the same sums in the same order on any machine
        stack.callback(computed.close)
        at_once = min(max(workers, 2), _MOST_WRITERS)
        named = f"writes {cache}"
        stack.callback(_join_threads, named)
        writers = stack.enter_context(ThreadPoolExecutor(at_once, named, torch.set_num_threads, (1,)))
        stack.callback(writers.shutdown, wait=True, cancel_futures=True)

        def written() -> Iterator[Progress]:
            nonlocal done
            for row in writing.popleft().result():
                done += 1
                yield Progress("build", done, total, row.duration_s)

        for task in tasks:
            if task.streams:
                ready = [stream(task.recordings[0], data_dir, front_end)]
            else:
                ready = list(islice(computed, len(task.recordings)))
            writing.append(writers.submit(write_task, cache, task, ready, config.fingerprint, layout))
            if len(writing) > at_once:
                yield from written()
        while writing:
            yield from written()


def _join_threads(named: str) -> None:
    """Wait for a pool's threads, also for one whose start Ctrl-C interrupted: the pool does not know it."""
    for thread in threading.enumerate():
        if thread.name.startswith(named):
            thread.join()


def write_task(
    cache: Place, task: Task, computed: "list[Computed]", fingerprint: str, layout: Layout
) -> list[CachedRecording]:
    """Write a task's shards and commit them. Returns each recording's row."""
    rows: list[CachedRecording] = []
    instances = cut(computed, task.recordings, rows, layout)

    def describe_all() -> tuple[CachedRecording, ...]:
        return tuple(
            describe(facts, row)
            for placed, row in zip(task.recordings, rows, strict=True)
            for facts in (placed.facts, *placed.also)
        )

    last = task.first_shard + task.shards - 1
    for shard in range(task.first_shard, last + 1):
        write_shard(cache, shard, instances, describe_all, fingerprint, layout, continues=shard != last)
    return rows


def write_shard(
    cache: Place,
    shard: int,
    instances: Iterator[Frames],
    describe_all: Callable[[], tuple[CachedRecording, ...]],
    fingerprint: str,
    layout: Layout,
    *,
    continues: bool = False,
    generation: int = 0,
) -> Commit:
    """Write a shard, then the record that makes it count. Where nothing continues it, it takes all that is left.

    ``describe_all`` gives the record's rows, once there are no more instances.
    """
    with replacing(shard_path(cache, shard)) as file:
        writer = ShardWriter(file, layout)
        for instance in islice(instances, writer.room):
            writer.append(instance)
        if not continues:  # runs the generator to its end, so that every row is there
            surplus = next(instances, None)
            assert surplus is None
        shard_bytes, crcs = writer.finish()
    rows = () if continues else describe_all()
    commit = Commit(shard, generation, fingerprint, shard_bytes, continues, crcs, rows)
    write_commit(cache, commit)
    return commit


def cut(
    computed: "list[Computed]", recordings: tuple[Placed, ...], rows: list[CachedRecording], layout: Layout
) -> Iterator[Frames]:
    """Cut each recording's frames into instances, the last padded with 0; append its row when it is done.

    A recording that fails keeps its place: its instances are NaN.
    """
    shape = (layout.frames_per_instance, layout.n_mels)
    for recording, placed in zip(computed, recordings, strict=True):
        made, held = 0, np.zeros((0, layout.n_mels), np.float16)
        for block in recording.frames:
            held = np.concatenate([held, block]) if len(held) else block
            while len(held) >= shape[0]:
                yield held[: shape[0]]
                held, made = held[shape[0] :], made + 1
        row = recording.row
        assert row is not None, "frames taken to their end leave a row"
        if row.failure:
            for _ in range(placed.instances - made):
                yield np.full(shape, np.nan, np.float16)
        elif len(held) or not made:
            yield np.concatenate([held, np.zeros((shape[0] - len(held), shape[1]), np.float16)])
        rows.append(row)


def _report(
    cache: Place, index: Index, todo: Plan, paths: Iterable[str], config: DataConfig, seconds: float
) -> BuildReport:
    rejected = todo.rejected
    rows = [row for path in paths if path not in rejected for row in index.by_path.get(path, ())]
    failed = {row.path: row.failure for row in rows if row.failure}
    good = [row for row in rows if not row.failure]
    reasons = {**rejected, **failed}
    computed = [placed for task in todo.tasks for placed in task.recordings]
    return BuildReport(
        cache=cache,
        computed=sum(1 for placed in computed if placed.facts.path not in failed),
        kept=todo.count("keep"),
        duplicates=todo.count("duplicate"),
        rejected={path: reasons[path] for path in paths if path in reasons},
        recordings=len(good),
        instances=sum({row.first_instance: row.instances for row in good}.values()),
        seconds=seconds,
        audio_s=sum(row.duration_s for row in good),
        doubtful={row.path: f"taken as {row.time_expansion:g}: {row.doubt}" for row in good if row.doubt},
        unread={row.path: row.unread for row in good if row.unread},
        off_rate=sum(row.true_rate != config.sample_rate for row in good),
        low_nyquist=sum(row.dead_bands > 0 for row in good),
        outside_below=tuple(row.path for row in good if row.energy_below > 0.5),
        outside_above=tuple(row.path for row in good if row.energy_above > 0.5),
        two_channels=tuple(row.path for row in good if row.channels > 1),
    )


def _write_rejected(cache: Place, rejected: Mapping[str, str]) -> None:
    """List rejects in ``rejected.csv`` beside the cache; no rejects, no file."""
    place = cache.parent / "rejected.csv"
    header = "filename,reason"
    if place.exists() and place.read_bytes().split(b"\n")[0].strip() != header.encode():
        if rejected:
            raise StoreError(place, "stands where the list of rejects goes, and is none", "Rename it and build again")
        return
    if not rejected:
        for old in (place, place.with_name(place.name + PARTIAL)):
            old.unlink(missing_ok=True)
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header.split(","), *rejected.items()])
    write_file(place, text.getvalue().encode())


def _log(cache: Place, report: BuildReport, began: float) -> None:
    """Append to the build log beside the cache what must not be in it: clock, host, duration."""
    entry: dict[str, Any] = {
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "host": socket.gethostname(),
        "seconds": round(report.seconds, 2),
        "computed": report.computed,
        "kept": report.kept,
        "rejected": len(report.rejected),
    }
    place, line = cache.with_name(cache.name + ".log"), json.dumps(entry) + "\n"
    if isinstance(place, S3Path):  # where nothing can be appended
        write_file(place, (place.read_bytes() if place.exists() else b"") + line.encode())
        return
    with place.open("a", encoding="utf-8") as log:
        log.write(line)
