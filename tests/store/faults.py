"""``batcache`` commands to which something happens: they die, are slow, or have a disk that is full, broken or small.

    python -m tests.store.faults      reads commands from stdin and answers on stdout, one JSON a line

Each command runs in a fork of one process that has imported everything, through ``batcache.cli.main.main`` as a user's
would, on stores of few instances a shard. What happens to it is said by ``Fault``.

The operations counted are those by which a command changes the disk: open for writing, write, flush, rename, link,
mkdir, remove. A write counts twice, the second time as ``half of write``: in its midst. Operations are seen by an audit
hook, so that those of zarr count too; flushes and writes, which Python does not audit, by wrapping.
"""

import io
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any
from unittest import mock

from tests.store import phases
from tests.store.project import CONFIG, Project, few_a_shard

Operation = tuple[str, str]
"""What was done, and to what: a name below the watched folder."""

_CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_EVENTS = {
    "os.rename": "rename",
    "os.link": "link",
    "os.remove": "remove",
    "os.mkdir": "mkdir",
    "os.rmdir": "rmdir",
    "os.truncate": "truncate",
}
_FREEING = ("remove", "rmdir", "truncate")
_NAMELESS = ("write", "half of write", "flush")


@dataclass(frozen=True)
class Fault:
    """What happens to a command.

    Attributes:
        at: the number of the disk operation where it happens, from 1; 0 only counts them. Operations are counted, and
            shards written one after the other, unless it is None.
        error: the errno with which that operation fails. Without, the process dies before it.
        stays: whether all later operations fail too, but for those that free space.
        phases: a file in which a build publishes what it is doing.
        pause_s: with ``phases``: each flush, and each block that is decoded, takes a random time up to this, so that
            short phases can be hit.
        seed: decides these times.
        file_bytes: no file may become larger.
        free_bytes: what the disk says is free.
    """

    at: int | None = None
    error: int | None = None
    stays: bool = False
    phases: str | None = None
    pause_s: float = 0.0
    seed: int = 0
    file_bytes: int | None = None
    free_bytes: int | None = None


NO_FAULT = Fault()
COUNTED = Fault(at=0)
"""Nothing happens, but the operations are counted."""


@dataclass
class Watch:
    """Counts the operations on what lies under ``root``, and lets the fault happen."""

    root: Path
    fault: Fault
    seen: list[Operation] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def see(self, operation: str, path: Path, first: Callable[[], object] = lambda: None) -> None:
        """Count an operation. ``first`` is done before it fails."""
        with self.lock:
            name = path.relative_to(self.root) if path.is_relative_to(self.root) else path
            self.seen.append((operation, re.sub(r"\.[0-9a-f]{32}\.", ".*.", name.as_posix())))
            past = len(self.seen) - (self.fault.at or sys.maxsize)
            if past < 0 or (past > 0 and not (self.fault.stays and operation not in _FREEING)):
                return
            first()
            if self.fault.error is None:
                os.kill(os.getpid(), signal.SIGKILL)
        text = os.strerror(self.fault.error or 0)
        raise OSError(self.fault.error, text, *([] if operation in _NAMELESS else [str(path)]))

    def begin(self) -> None:
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
            if by_handle or (path.is_relative_to(self.root) and not _changes_nothing(operation, path)):
                self.see(operation, path)

        def flush(handle: int) -> None:  # only a power cut could tell whether it is done
            self.see("flush", _path_of(handle))

        def open_watched(path: Path, mode: str = "r", *args: Any, **named: Any) -> Any:
            file = path_open(path, mode, *args, **named)
            return file if mode in ("r", "rb") or not path.is_relative_to(self.root) else _WatchedFile(file, path, self)

        os.fsync, Path.open = flush, open_watched  # type: ignore[assignment, method-assign]
        sys.addaudithook(audit)


class _WatchedFile:
    """A file whose writes can be cut short."""

    def __init__(self, file: Any, path: Path, watch: Watch) -> None:
        self.file, self.path, self.watch = file, path, watch

    def write(self, content: Any) -> Any:
        def half() -> None:
            self.file.write(content[: len(content) // 2])
            self.file.flush()

        self.watch.see("write", self.path)
        self.watch.see("half of write", self.path, half)
        return self.file.write(content)

    def __enter__(self) -> "_WatchedFile":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def _changes_nothing(operation: str, path: Path) -> bool:
    """Whether it fails by itself: a folder made where there is one, or before its parent."""
    if operation == "mkdir":
        return path.exists() or not path.parent.exists()
    return operation == "remove" and not path.exists()


def _path_of(handle: int) -> Path:
    if sys.platform == "darwin":
        import fcntl

        return Path(fcntl.fcntl(handle, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0").decode())
    return Path(os.readlink(f"/proc/self/fd/{handle}"))  # noqa: PTH115


@dataclass(frozen=True)
class Outcome:
    """How a command ended, what it said, and the operations that it did; these only where it lived and was watched."""

    status: int
    text: str
    operations: list[Operation]

    @property
    def died(self) -> bool:
        return self.status == -signal.SIGKILL


@dataclass(frozen=True)
class Commander:
    """The forking process, from the test's side."""

    process: "Popen[str]"

    def begin(self, folder: Path, words: Sequence[str], fault: Fault) -> None:
        """Run ``batcache`` with these words. Operations under ``folder`` are those watched."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps([str(folder), list(words), asdict(fault)]) + "\n")
        self.process.stdin.flush()

    def end(self) -> Outcome:
        """Wait for the command's end."""
        assert self.process.stdout
        status, text, operations = json.loads(self.process.stdout.readline())
        return Outcome(status, text, [(operation, name) for operation, name in operations])

    def run(self, folder: Path, words: Sequence[str], fault: Fault = NO_FAULT) -> Outcome:
        self.begin(folder, words, fault)
        return self.end()


def build_words(project: Project, cache: Path) -> list[str]:
    """The command that builds a project's CSV into a cache."""
    config = project.root / "small.yaml"
    config.write_text(CONFIG)
    return ["build", "--csv", str(project.csv), "--cache", str(cache), "--config", str(config), "--device", "cpu"]


@contextmanager
def start_commander() -> Iterator[Commander]:
    """Start the forking process. It never computes, so it has no threads that a fork could lose."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.store.faults"]
    here = Path(__file__).parents[2]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True, env=environment, cwd=here) as process:
        yield Commander(process)
        assert process.stdin
        process.stdin.close()


def _run_in_child(folder: Path, words: list[str], fault: Fault, answer: int) -> None:
    from batcache.cli import main as cli
    from batcache.store.build import task

    os.dup2(answer, 1)
    os.dup2(answer, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))  # as a pipe's
    sys.argv = ["batcache", *words]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as a process begins: the server's first build heard it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    watch = Watch(folder, fault)
    if fault.at is not None:
        task._MOST_WRITERS = 1  # shards one after the other: the operations have one order
        watch.begin()
    if fault.phases:
        # From the moment that it is told of, Ctrl-C may come: it counts once the command has begun.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        cli.keep_freed_memory = lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # type: ignore[assignment,return-value]
        phases.publish(Path(fault.phases), fault.pause_s, fault.seed)
    if fault.file_bytes is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.file_bytes, resource.RLIM_INFINITY))
    if fault.free_bytes is not None:
        mock.patch("shutil.disk_usage", return_value=mock.Mock(free=fault.free_bytes)).start()
    status = 70
    try:
        with few_a_shard():
            cli.main()
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(1, b"\0" + json.dumps(watch.seen).encode())
    os._exit(status)


def _prepare() -> None:
    """Do what every fork's first build would have to do, in a second or more. It starts no thread."""
    import numpy as np

    for module in (
        "zarr.codecs",
        "batcache.features.frontend",
        "batcache.store.hdf5.restore",
        "batcache.store.upkeep.repair",
        "batcache.store.upkeep.prune",
    ):
        import_module(module)
    from batcache.cli import main as cli
    from batcache.features.kernels import hann_magnitudes, smooth

    hann_magnitudes(np.zeros((1, 3), np.complex64), np.empty((1, 3), np.float32))
    smooth(np.zeros((1, 1), np.float32), 0.5, np.zeros(1, np.float32), np.empty((1, 1), np.float32))
    sys.argv = ["batcache", "build", "--csv", os.devnull]
    with redirect_stderr(io.StringIO()), suppress(SystemExit):
        cli.main()  # ends with an error, all settings read


def _serve() -> None:
    _prepare()
    for line in sys.stdin:
        folder, words, fault = json.loads(line)
        receive, answer = os.pipe()
        child = os.fork()
        if not child:
            os.close(receive)
            _run_in_child(Path(folder), words, Fault(**fault), answer)
        os.close(answer)
        with os.fdopen(receive, encoding="utf-8") as file:
            text, _, operations = file.read().partition("\0")
        _, status = os.waitpid(child, 0)
        sys.stdout.write(json.dumps([os.waitstatus_to_exitcode(status), text, json.loads(operations or "[]")]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
