"""Recordings judged by the workers of a cluster, some at a time: as by threads of this process."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from socket import gethostname

from batcache.cluster import Cluster
from batcache.device import limit_threads
from batcache.errors import ClusterError
from batcache.inference.model_file import ModelFile, open_model
from batcache.inference.recordings.framed import compute_framed
from batcache.inference.recordings.journal import Scored
from batcache.inference.recordings.judge import Judge, Rejected, judge
from batcache.store.build.compute import GONE
from batcache.store.build.hands import prepare_worker, require_gone
from batcache.store.build.plan import Placed

_AT_ONCE = 16


@dataclass(frozen=True)
class _Part:
    """Some files, and who is to judge them."""

    files: tuple[Placed, ...]
    root: Path
    model: Path
    digest: str
    device: str


def judge_on_workers(
    cluster: Cluster, files: Iterable[Placed], root: Path, model: ModelFile, device: str
) -> Generator[Scored | Rejected, None, None]:
    """Score files in order; workers see them, and the model, at the same paths as this machine.

    Raises:
        ClusterError: they do not. RunError: the model's scores are not finite.
    """
    path = model.path.absolute()
    parts = (_Part(some, root.absolute(), path, model.digest, device) for some in _some(files))
    with closing(cluster.map(_judge_part, parts)) as judged:
        for part in judged:
            for one in part:
                if isinstance(one, Rejected) and one.reason == GONE:
                    require_gone(root / one.name)
                yield one


def _some(files: Iterable[Placed]) -> Iterator[tuple[Placed, ...]]:
    rest = iter(files)
    while some := tuple(islice(rest, _AT_ONCE)):
        yield some


def _judge_part(part: _Part) -> list[Scored | Rejected]:
    """On a worker."""
    prepare_worker(part.root)
    model, ready = _ready(part.model, part.digest, part.device)
    frames = model.checkpoint.frames_per_instance
    with (
        limit_threads(1),
        closing(compute_framed(part.files, part.root, ready.front_end(), 1, frames)) as framed,
        closing(judge(ready, framed, 1)) as judged,
    ):
        return list(judged)


@lru_cache(maxsize=1)
def _ready(path: Path, digest: str, device: str) -> tuple[ModelFile, Judge]:
    model = open_model(path)
    if model.digest != digest:
        finding = f"sees another file at {path} than the machine that asks"
        raise ClusterError(f"worker on {gethostname()}", finding, "Mount the same folders, or copy the model there")
    return model, model.judge_on(device)
