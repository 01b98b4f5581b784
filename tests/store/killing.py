"""Builds, repairs and prunes that die: a process that forks one after another and kills each at a given point.

    python -m tests.store.killing        reads jobs from stdin and answers on stdout, one JSON a line

A point lies before each operation by which a build changes the disk: open for writing, write, flush, rename, mkdir,
remove. A write has a second one, in its midst. Operations are seen by an audit hook, so that those of zarr count too;
flushes and writes, which Python does not audit, by wrapping.
"""

import json
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.store.project import Project

_CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_EVENTS = {
    "os.rename": "rename",
    "os.link": "link",
    "os.remove": "remove",
    "os.mkdir": "mkdir",
    "os.rmdir": "rmdir",
    "os.truncate": "truncate",
}


@dataclass
class Death:
    """Counts the operations on what lies under ``root``; before the one numbered ``point`` the process dies."""

    root: Path
    point: int | None
    passed: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def pass_by(self, operation: str, path: Path, first: Callable[[], object] = lambda: None) -> None:
        with self.lock:
            name = path.relative_to(self.root) if path.is_relative_to(self.root) else path
            self.passed.append((operation, re.sub(r"\.[0-9a-f]{32}\.", ".*.", name.as_posix())))
            if len(self.passed) == self.point:
                first()
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Irrevocable."""
        path_open = Path.open

        def audit(event: str, args: tuple[Any, ...]) -> None:
            if event == "open" and isinstance(args[0], str | os.PathLike) and args[2] & _CHANGES:
                operation, path = "open", args[0]
            elif event in _EVENTS:
                operation, path = _EVENTS[event], args[1 if event in ("os.rename", "os.link") else 0]
            else:
                return
            path = Path(os.fsdecode(path))
            by_handle = not path.is_absolute()  # as rmtree names what it removes
            if by_handle or (path.is_relative_to(self.root) and not fails(operation, path)):
                self.pass_by(operation, path)

        def flush(handle: int) -> None:  # only a power cut could tell whether it is done
            self.pass_by("flush", path_of(handle))

        def open_watched(path: Path, mode: str = "r", *args: Any, **named: Any) -> Any:
            file = path_open(path, mode, *args, **named)
            return file if mode in ("r", "rb") or not path.is_relative_to(self.root) else _Watched(file, path, self)

        os.fsync, Path.open = flush, open_watched  # type: ignore[assignment, method-assign]
        sys.addaudithook(audit)


class _Watched:
    """A file whose writes can be cut short."""

    def __init__(self, file: Any, path: Path, death: Death) -> None:
        self.file, self.path, self.death = file, path, death

    def write(self, content: Any) -> Any:
        def half() -> None:
            self.file.write(content[: len(content) // 2])
            self.file.flush()

        self.death.pass_by("write", self.path)
        self.death.pass_by("half of write", self.path, half)
        return self.file.write(content)

    def __enter__(self) -> "_Watched":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def fails(operation: str, path: Path) -> bool:
    """Whether the operation changes nothing: a folder made where there is one, or before its parent."""
    if operation == "mkdir":
        return path.exists() or not path.parent.exists()
    return operation == "remove" and not path.exists()


def path_of(handle: int) -> Path:
    if sys.platform == "darwin":
        import fcntl

        return Path(fcntl.fcntl(handle, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0").decode())
    return Path(os.readlink(f"/proc/self/fd/{handle}"))  # noqa: PTH115


@dataclass(frozen=True)
class Builder:
    """The forking process, from the test's side."""

    process: "Popen[str]"

    def build(
        self, root: Path, cache: Path, point: int | None, action: str = "build"
    ) -> tuple[int, list[tuple[str, str]]]:
        """Build ``root``'s CSV into ``cache``, dying at a point. Returns the exit status and the operations passed.

        ``action`` may be another of ``_ACTIONS``, done to ``cache``. The operations are known only of one that lives.
        """
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([str(root), str(cache), point, action]) + "\n")
        self.process.stdin.flush()
        status, passed = json.loads(self.process.stdout.readline())
        return status, [(operation, name) for operation, name in passed]


@contextmanager
def builder() -> Iterator[Builder]:
    """Start the forking process. It never computes, so it has no threads that a fork could lose."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    here = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.store.killing"]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True, env=environment, cwd=here) as process:
        yield Builder(process)
        assert process.stdin
        process.stdin.close()


def _build(project: "Project") -> None:
    project.build(workers=2)


def _repair(project: "Project") -> None:
    from batcache.store.upkeep.repair import repair
    from batcache.store.upkeep.verify import verify

    found = verify(project.cache, sample=100, workers=1)
    repair(project.cache, found, workers=1)


def _prune(project: "Project") -> None:
    from batcache.store.upkeep.prune import prune

    prune(project.cache)


_ACTIONS: "dict[str, Callable[[Project], None]]" = {"build": _build, "repair": _repair, "prune": _prune}


def _act_in_child(root: Path, cache: Path, point: int | None, action: str, answer: int) -> None:
    from batcache.store.build import build
    from tests.store.project import Project

    try:
        build._MOST_WRITERS = 1  # shards one after the other: the operations have one order
        project = Project(root)
        project.cache = cache
        death = Death(cache.parent, point)
        death.watch()
        _ACTIONS[action](project)
        os.write(answer, json.dumps(death.passed).encode())
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def compile_loops() -> None:
    """Do what every fork's first build would have to do, in a second. It starts no thread."""
    import numpy as np

    from batcache.features.kernels import hann_magnitudes, smooth

    hann_magnitudes(np.zeros((1, 3), np.complex64), np.empty((1, 3), np.float32))
    smooth(np.zeros((1, 1), np.float32), 0.5, np.zeros(1, np.float32), np.empty((1, 1), np.float32))


def _serve() -> None:
    for module in ("zarr.codecs", "batcache.features.frontend", "batcache.store.upkeep.repair", "tests.store.project"):
        import_module(module)
    compile_loops()
    for line in sys.stdin:
        root, cache, point, action = json.loads(line)
        receive, answer = os.pipe()
        child = os.fork()
        if not child:
            _act_in_child(Path(root), Path(cache), point, action, answer)
        os.close(answer)
        with os.fdopen(receive) as file:
            passed = json.loads(file.read() or "[]")
        _, status = os.waitpid(child, 0)
        sys.stdout.write(json.dumps([os.waitstatus_to_exitcode(status), passed]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
