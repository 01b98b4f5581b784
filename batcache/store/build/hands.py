"""Who does the work of a build: threads of this process, or workers of a cluster. What is done is the same."""

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from socket import gethostname
from typing import Protocol

from batcache.cluster import Cluster
from batcache.errors import AudioError, ClusterError
from batcache.features.audio import NO_SUCH_FILE
from batcache.storage.listing import is_folder, is_there
from batcache.storage.memory import keep_freed_memory
from batcache.storage.place import Place, is_remote
from batcache.store.build.compute import GONE
from batcache.store.build.plan import Task
from batcache.store.build.scan import Known, Look, look_at, scan
from batcache.store.build.task import Job, run_tasks
from batcache.store.build.writers import Written
from batcache.store.format.attributes import is_free
from batcache.store.format.commit import CachedRecording
from batcache.store.format.index import Index
from batcache.store.format.leftovers import remove_leftovers

_FILES_A_PART = 256
_SHARE = "Mount the same folders at the same paths on every worker"


class Hands(Protocol):
    """What a build asks for."""

    def look(self, look: Look) -> Generator[Known | AudioError, None, None]:
        """As ``scan.look_at``, one after the other."""

    def run(
        self, tasks: Sequence[Task], job: Job, commit: Callable[[Written], None]
    ) -> Generator[CachedRecording, None, None]:
        """As ``task.run_tasks``."""

    def tidy(self, cache: Place, index: Index) -> None:
        """Remove what may be left beside what counts, once all is done. Raises as ``remove_leftovers``."""


@dataclass(frozen=True)
class Threads:
    """So many threads of this process."""

    workers: int

    def look(self, look: Look) -> Generator[Known | AudioError, None, None]:
        """As of ``Hands``."""
        return scan(look, self.workers)

    def run(
        self, tasks: Sequence[Task], job: Job, commit: Callable[[Written], None]
    ) -> Generator[CachedRecording, None, None]:
        """As of ``Hands``."""
        return run_tasks(tasks, job, self.workers, commit)

    def tidy(self, cache: Place, index: Index) -> None:
        """As of ``Hands``: nothing is."""


@dataclass(frozen=True)
class Workers:
    """Those of a cluster, which see the same folders as this machine at the same paths.

    ``token`` is that of the build's hold. Raises, beside what threads would, ClusterError: a worker that does not see
    what is seen here.
    """

    cluster: Cluster
    token: str = ""

    def look(self, look: Look) -> Generator[Known | AudioError, None, None]:
        """As of ``Hands``."""
        look = replace(look, data_dir=look.data_dir.absolute())
        parts = list(look.parts(_FILES_A_PART))
        found = self.cluster.map(_look_at, (part.alone() for part in parts))
        for part, files in zip(parts, found, strict=True):
            for (path, *_), file in zip(part.files, files, strict=True):
                if isinstance(file, AudioError) and NO_SUCH_FILE in str(file):
                    require_gone(look.data_dir / path)
                rows = look.before.rows.get(path, ())
                yield next((row for row in rows if row == file), file)  # the row itself: a plan knows it by that

    def run(
        self, tasks: Sequence[Task], job: Job, commit: Callable[[Written], None]
    ) -> Generator[CachedRecording, None, None]:
        """As of ``Hands``."""
        cache = job.cache if is_remote(job.cache) else job.cache.absolute()
        job = replace(job, cache=cache, data_dir=job.data_dir.absolute(), token=self.token)
        for written in self.cluster.map(partial(_run, job), tasks):
            rows, _ = written
            for row in rows:
                if row.failure == GONE:
                    require_gone(job.data_dir / row.path)
            commit(written)
            yield from rows

    def tidy(self, cache: Place, index: Index) -> None:
        """As of ``Hands``: a worker that was killed leaves what it was writing."""
        remove_leftovers(cache, index)


def _look_at(look: Look) -> list[Known | AudioError]:
    prepare_worker(look.data_dir)
    return look_at(look)


def _run(job: Job, task: Task) -> Written:
    """A task on a worker: it has its result, and no one commits it here."""
    prepare_worker(job.data_dir)
    if is_free(job.cache):
        raise ClusterError(f"worker on {gethostname()}", f"sees no store at {job.cache}", _SHARE)
    written: list[Written] = []
    for _ in run_tasks([task], job, _threads(job.device), written.append):
        pass
    return written[0]


def _threads(device: str) -> int:
    """How many threads a task takes: a worker runs as many tasks at once as Dask gives it threads, but feeds a GPU."""
    from batcache.device import pick_device  # by torch

    return os.cpu_count() or 1 if pick_device(device).type == "cuda" else 1


def prepare_worker(place: Path) -> None:
    """On a worker: hold on to freed memory, as the command line does, and check that a folder is there.

    Dask tells its workers to give freed memory back at once: building then takes more than twice as long.

    Raises:
        ClusterError: no such folder.
    """
    keep_freed_memory()
    if not is_folder(place):
        raise ClusterError(f"worker on {gethostname()}", f"sees no folder {place}", _SHARE)


def require_gone(place: Path) -> None:
    """Check that what a worker does not find is not here either: else good recordings would be given up.

    Raises:
        ClusterError: it is here.
    """
    if is_there(place):
        raise ClusterError(place, "is here, but a worker does not see it", _SHARE)
