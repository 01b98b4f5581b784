"""Writing what was computed: shards side by side, committed in the order of the tasks."""

import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from batcache.storage.disk import replacing
from batcache.storage.place import Place
from batcache.store.build.plan import Placed, Task
from batcache.store.build.scan import describe
from batcache.store.format.commit import CachedRecording, Commit
from batcache.store.format.layout import Layout
from batcache.store.format.shard import ShardWriter, shard_path

if TYPE_CHECKING:
    from batcache.store.build.compute import Computed

_STARTING_S = 1.0
"""A thread whose start was interrupted begins within so many seconds, or not at all."""
Frames = NDArray[np.float16]
Written = tuple[list[CachedRecording], list[Commit]]


class Writers:
    """Threads that write shards; each task is committed once all before it are, and one that fails stops those behind.

    Left by Ctrl-C or an error, it finishes what is being written, and commits of it what the order allows.

    Args:
        cache: the store.
        fingerprint: of its features.
        layout: of its array.
        at_once: how many shards are written side by side.
        commit: takes what was written of a task; called in order, in the thread that asks.
        check: called with its number before a shard appears; what it raises keeps it away.
    """

    def __init__(
        self,
        cache: Place,
        fingerprint: str,
        layout: Layout,
        at_once: int,
        commit: Callable[[Written], None],
        check: Callable[[int], None],
    ) -> None:
        self._cache, self._fingerprint, self._layout, self._take = cache, fingerprint, layout, commit
        self._named, self._at_once, self._check = f"writes {cache}", at_once, check
        self._writing: deque[Future[Written]] = deque()

    def __enter__(self) -> Self:
        import torch  # only where there is something to compute

        self._stack = ExitStack()
        self._stack.callback(self._commit_finished)
        self._stack.callback(_join_threads, self._named)
        self._pool = ThreadPoolExecutor(self._at_once, self._named, torch.set_num_threads, (1,))
        self._stack.callback(self._pool.shutdown, wait=True, cancel_futures=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def submit(self, task: Task, computed: "list[Computed]") -> None:
        """Have a task's shards written by one of the threads."""
        self._writing.append(
            self._pool.submit(write_task, self._cache, task, computed, self._fingerprint, self._layout, self._check)
        )

    def commit(self, waiting: int) -> Iterator[CachedRecording]:
        """Commit the first tasks, as far as they are written; wait until no more than so many are not.

        Yields the row of each recording. Raises what the writer of the first task raised.
        """
        while self._writing and (len(self._writing) > waiting or self._writing[0].done()):
            yield from self._commit_first()

    def _commit_first(self) -> list[CachedRecording]:
        written = self._writing[0].result()
        self._take(written)
        self._writing.popleft()
        return written[0]

    def _commit_finished(self) -> None:
        """Once all threads have ended."""
        while self._writing and not self._writing[0].cancelled() and not self._writing[0].exception():
            self._commit_first()


def _join_threads(named: str) -> None:
    """Wait for a pool's threads, also for one whose start Ctrl-C interrupted: the pool does not know it."""
    for thread in [thread for thread in threading.enumerate() if thread.name.startswith(named)]:
        until = time.monotonic() + _STARTING_S
        while thread.ident is None and time.monotonic() < until:
            time.sleep(0.001)
        if thread.ident is not None:
            thread.join()


def write_task(
    cache: Place,
    task: Task,
    computed: "list[Computed]",
    fingerprint: str,
    layout: Layout,
    check: Callable[[int], None],
) -> Written:
    """Write a task's shards. Returns each recording's row, and the records that will make the shards count."""
    rows: list[CachedRecording] = []
    instances = cut(computed, task.recordings, rows, layout)
    last = task.first_shard + task.shards - 1
    written = {
        shard: write_shard(cache, shard, instances, layout, continues=shard != last, check=check)
        for shard in range(task.first_shard, last + 1)
    }
    described = tuple(
        describe(file, row)
        for placed, row in zip(task.recordings, rows, strict=True)
        for file in (placed.file, *placed.also)
    )
    return rows, [
        Commit(shard, 0, fingerprint, size, shard != last, crcs, described if shard == last else ())
        for shard, (size, crcs) in written.items()
    ]


def write_shard(
    cache: Place,
    shard: int,
    instances: Iterator[Frames],
    layout: Layout,
    *,
    continues: bool = False,
    check: Callable[[int], None] | None = None,
) -> "tuple[int, array[int]]":
    """Write a shard, which counts only once its record is there. Where nothing continues it, it takes all that is left.

    Nor does it appear where ``check`` raises. Returns its size in bytes and the crc32c of each chunk.
    """
    with replacing(shard_path(cache, shard)) as file:
        writer = ShardWriter(file, layout)
        for instance in islice(instances, writer.room):
            writer.append(instance)
        if not continues:  # runs the generator to its end, so that every row is there
            surplus = next(instances, None)
            assert surplus is None
        finished = writer.finish()
        if check is not None:
            check(shard)
        return finished


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
