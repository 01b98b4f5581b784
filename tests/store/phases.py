"""What a build is doing just now, told to another process that waits for it, and stretched so that it can be met."""

import mmap
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PHASES = ("decode", "shard write", "between shard and commit", "resize")
_PID = 8 * len(PHASES)


class Phases:
    """How often each phase was entered and left, in a file that two processes map and that outlives them."""

    def __init__(self, place: Path) -> None:
        if not place.exists():
            place.write_bytes(bytes(_PID + 4))
        with place.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._lock = threading.Lock()

    def _count(self, at: int) -> int:
        return int.from_bytes(self._map[at : at + 4], "little")

    def entered(self, phase: str) -> int:
        return self._count(8 * PHASES.index(phase))

    def is_in(self, phase: str) -> bool:
        at = 8 * PHASES.index(phase)
        return self._count(at) > self._count(at + 4)

    @property
    def process(self) -> int:
        """The build's process; 0 before it began."""
        return self._count(_PID)

    def begin(self) -> None:
        self._map[_PID : _PID + 4] = os.getpid().to_bytes(4, "little")

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        at = 8 * PHASES.index(phase)
        self._add(at)
        try:
            yield
        finally:
            self._add(at + 4)

    def _add(self, at: int) -> None:
        with self._lock:
            self._map[at : at + 4] = (self._count(at) + 1).to_bytes(4, "little")


def publish(place: Path, pause_s: float, seed: int) -> None:
    """Wrap what a build in this process does, so that it says its phase; as many writers as there can be.

    Each block decoded and each flush takes a random time up to ``pause_s``.
    """
    from batcache.features import frontend
    from batcache.storage import disk
    from batcache.store.build import build, task
    from batcache.store.build import writers as writing

    phases, draw = Phases(place), random.Random(seed)
    read_blocks, resize_for = frontend.read_blocks, build._resize_for
    replacing, write_commit = disk.replacing, build.write_commit
    between: dict[int, Any] = {}

    def pause(*_: object) -> None:
        time.sleep(draw.random() * pause_s)

    def read_blocks_said(*arguments: Any) -> Iterator[Any]:
        blocks = read_blocks(*arguments)
        while True:
            with phases.during("decode"):
                block = next(blocks, None)
                pause()
            if block is None:
                return
            yield block

    def resize_said(*arguments: Any) -> None:
        with phases.during("resize"):
            resize_for(*arguments)

    @contextmanager
    def shard_said(path: Path) -> Iterator[Any]:
        with phases.during("shard write"), replacing(path) as file:
            yield file
            pause()
        shard = int(path.parts[-3])
        between[shard] = phases.during("between shard and commit")
        between[shard].__enter__()

    def commit_said(cache: Path, commit: Any) -> None:
        write_commit(cache, commit)
        if commit.shard in between:
            between.pop(commit.shard).__exit__(None, None, None)

    frontend.read_blocks, build._resize_for = read_blocks_said, resize_said
    writing.replacing, build.write_commit = shard_said, commit_said
    os.fsync = pause  # a slow disk
    os.cpu_count = lambda: task._MOST_WRITERS  # type: ignore[assignment]
    phases.begin()
