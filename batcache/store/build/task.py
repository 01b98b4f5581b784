"""Tasks run: their recordings computed, their shards written. The same on this machine and on any other.

A task may run twice, also at once in two places: each shard appears whole, and none once its record is there.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from batcache.config.settings import DataConfig
from batcache.errors import StoreError
from batcache.storage.listing import is_there
from batcache.storage.place import Place
from batcache.store.build.plan import Task
from batcache.store.build.writers import Writers, Written
from batcache.store.format.commit import CachedRecording, commit_path
from batcache.store.format.layout import Layout
from batcache.store.format.lock import require_held

_MOST_WRITERS = 4  # each holds a shard of 82 MB


@dataclass(frozen=True)
class Job:
    """What all tasks of a build have in common.

    Attributes:
        cache: the store that shards are written into.
        data_dir: where recordings lie.
        config: of the features.
        layout: of the store's array.
        device: ``auto``, ``cpu`` or ``cuda``.
        token: of the build's hold on the store, where tasks run elsewhere: no shard appears once that has ended.
    """

    cache: Place
    data_dir: Path
    config: DataConfig
    layout: Layout
    device: str
    token: str = ""

    def require_wanted(self, shard: int) -> None:
        """Check, where tasks run elsewhere, that a shard is still wanted: the build runs, and no other has written it.

        Raises:
            StoreError: it is not.
        """
        if not self.token:
            return
        require_held(self.cache, self.token)
        if is_there(commit_path(self.cache, shard)):
            raise StoreError(commit_path(self.cache, shard), "is there already: another worker was quicker")


def run_tasks(
    tasks: Sequence[Task], job: Job, workers: int, commit: Callable[[Written], None]
) -> Generator[CachedRecording, None, None]:
    """Compute recordings ahead, across tasks, while the shards of earlier tasks are being written.

    Args:
        tasks: what is to be done.
        job: what they have in common.
        workers: threads that decode and, on the CPU, compute.
        commit: takes what was written of each task, in order: it does not count yet.

    Yields the row of each recording that is committed. Closed, or stopped by Ctrl-C or an error, it finishes the shards
    that are being written and commits them.

    Raises:
        ConfigError: a device that is not there.
        OSError: the disk refuses. UnreachableError: the object store does.
    """
    if not tasks:
        return
    import torch  # only where there is something to compute

    from batcache.device import pick_device
    from batcache.features.frontend import FrontEnd
    from batcache.store.build.compute import compute, stream

    front_end = FrontEnd(job.config.features, pick_device(job.device), job.config.engine)
    whole = (placed for task in tasks if not task.streams for placed in task.recordings)
    computed = compute(whole, job.data_dir, front_end, workers)
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)  # one recording, one thread: the same sums in the same order on any machine
        stack.callback(computed.close)
        at_once = min(max(workers, 2), _MOST_WRITERS)
        place = job.cache, job.config.fingerprint, job.layout
        writers = stack.enter_context(Writers(*place, at_once, commit, job.require_wanted))
        for task in tasks:
            ready = [stream(task.recordings[0], job.data_dir, front_end)] if task.streams else []
            for recording in islice(computed, len(task.recordings) - len(ready)):
                ready.append(recording)
                yield from writers.commit(at_once)
            yield from writers.commit(at_once - 1)
            writers.submit(task, ready)
        yield from writers.commit(0)
