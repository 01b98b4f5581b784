"""``batcache build`` in forked processes to which something happens: they are slow, killed, interrupted, or fail.

    python -m tests.store.faulty_build      reads jobs from stdin and answers on stdout, one JSON a line

What happens is said by an ``Injection``. The command runs through ``batcache.cli.main.main``, as a user's would, on
stores of few instances a shard.
"""

import errno
import json
import mmap
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any
from unittest import mock

from tests.store.killing import Death, compile_loops
from tests.store.project import Project, few_a_shard

PHASES = ("decode", "shard write", "between shard and commit", "resize")
_PID = 8 * len(PHASES)
CONFIG = "data: {n_mels: 16, instance_s: 0.1}\n"
"""``tests.store.project.SMALL`` as a user writes it."""


@dataclass(frozen=True)
class Injection:
    """What happens to a build.

    ``point`` and ``number``: the operation so numbered fails with this errno, and if ``stays`` all later ones that
    write. ``phases``: a file in which it publishes what it is doing; ``pause_s``: each flush, and each block that is
    decoded, then takes a random time up to this, so that the short phases can be hit. ``file_bytes``: no file may
    become larger. ``free_bytes``: what the disk says is free.
    """

    point: int | None = None
    number: int = errno.ENOSPC
    stays: bool = False
    phases: str | None = None
    pause_s: float = 0.0
    file_bytes: int | None = None
    free_bytes: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and the operations on the disk that it passed, where they were counted."""

    status: int
    text: str
    passed: list[tuple[str, str]]


@dataclass
class Fault(Death):
    """Instead of dying, the operation numbered ``point`` raises. Only an operation with a name has it in its error."""

    number: int = errno.ENOSPC
    stays: bool = False
    hits: int = field(default=0)

    def pass_by(self, operation: str, path: Path, first: Callable[[], object] = lambda: None) -> None:
        frees = operation in ("remove", "rmdir", "truncate")
        with self.lock:
            at = len(self.passed) + 1
            death, self.point = self.point, None
            super().pass_by(operation, path)
            self.point = death
            if death is None or at < death or (at > death and not (self.stays and not frees)):
                return
        first()
        if operation in ("write", "half of write", "flush"):
            raise OSError(self.number, os.strerror(self.number))
        raise OSError(self.number, os.strerror(self.number), str(path))


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


def _publish(phases: Phases, pause_s: float, seed: int) -> None:
    """Wrap what a build does, so that it says its phase; writers stay as parallel as ever."""
    from batcache.features import frontend
    from batcache.storage import disk
    from batcache.store.build import build
    from batcache.store.build import writers as writing

    draw = random.Random(seed)
    read_blocks, resize_for, replacing, write_commit = (
        frontend.read_blocks,
        build._resize_for,
        disk.replacing,
        writing.write_commit,
    )
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
    writing.replacing, writing.write_commit = shard_said, commit_said
    os.fsync = pause  # a slow disk


@dataclass(frozen=True)
class Commander:
    """The forking process, from the test's side."""

    process: "Popen[str]"

    def begin(self, project: Project, cache: Path, injection: Injection, *more: str) -> None:
        config = project.root / "small.yaml"
        config.write_text(CONFIG)
        words = ["build", "--csv", str(project.csv), "--cache", str(cache), "--config", str(config), "--device", "cpu"]
        assert self.process.stdin
        self.process.stdin.write(json.dumps([str(cache.parent), [*words, *more], asdict(injection)]) + "\n")
        self.process.stdin.flush()

    def end(self) -> Outcome:
        assert self.process.stdout
        status, text, passed = json.loads(self.process.stdout.readline())
        return Outcome(status, text, [(operation, name) for operation, name in passed])

    def build(self, project: Project, cache: Path, injection: Injection = Injection(), *more: str) -> Outcome:
        """Run ``batcache build`` on a project's CSV and wait for its end."""
        self.begin(project, cache, injection, *more)
        return self.end()


@contextmanager
def commander() -> Iterator[Commander]:
    """Start the forking process. It never computes, so it has no threads that a fork could lose."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.store.faulty_build"]
    here = Path(__file__).parents[2]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True, env=environment, cwd=here) as process:
        yield Commander(process)
        assert process.stdin
        process.stdin.close()


def _run_in_child(root: Path, words: list[str], injection: Injection, answer: int) -> None:
    from batcache.cli import main as cli
    from batcache.store.build import build

    os.dup2(answer, 1)
    os.dup2(answer, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))  # as a pipe's
    sys.argv = ["batcache", *words]
    fault = None
    if injection.point is not None:
        build._MOST_WRITERS = 1  # the operations have one order
        fault = Fault(root, injection.point or None, number=injection.number, stays=injection.stays)
        fault.watch()
    if injection.phases:
        phases = Phases(Path(injection.phases))
        os.cpu_count = lambda: build._MOST_WRITERS  # type: ignore[assignment]
        _publish(phases, injection.pause_s, injection.seed)
    if injection.file_bytes is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (injection.file_bytes, resource.RLIM_INFINITY))
    status = 70
    with few_a_shard():
        if injection.free_bytes is not None:
            usage = mock.Mock(free=injection.free_bytes)
            mock.patch("shutil.disk_usage", return_value=usage).start()
        try:
            if injection.phases:
                phases.begin()
            cli.main()
            status = 0
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(1, b"\0" + json.dumps(fault.passed if fault else []).encode())
    os._exit(status)


def _serve() -> None:
    for module in ("zarr.codecs", "batcache.features.frontend", "batcache.cli.main", "tests.store.project"):
        import_module(module)
    compile_loops()
    for line in sys.stdin:
        root, words, injection = json.loads(line)
        receive, answer = os.pipe()
        child = os.fork()
        if not child:
            os.close(receive)
            _run_in_child(Path(root), words, Injection(**injection), answer)
        os.close(answer)
        with os.fdopen(receive, encoding="utf-8") as file:
            text, _, passed = file.read().partition("\0")
        _, status = os.waitpid(child, 0)
        sys.stdout.write(json.dumps([os.waitstatus_to_exitcode(status), text, json.loads(passed or "[]")]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
