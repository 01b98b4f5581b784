"""Processes that end with the one that started them, however that ends: also where it is killed and can do nothing.

A child holds the reading end of a pipe whose writing end only its parent has. The system closes that one with the
parent, and the child, which waits for nothing else in a thread of its own, ends itself: in the midst of its work, but
two seconds later, so that what asks ``is_ending`` between two pieces of work leaves none of them half done.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

_END_WITH_PARENT = """
import os, sys, threading
def end_with_parent():
    os.read(0, 1)
    os._exit(1)
threading.Thread(target=end_with_parent, daemon=True).start()
"""


_GRACE_S = 2
_ending = threading.Event()


@contextmanager
def process_pool(
    workers: int, prepare: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """Processes for a block's work, each prepared by a call, that end with this one.

    Where the block is left by an error or Ctrl-C, which they do not hear themselves, they end too, and what is not
    begun is dropped.
    """
    spawn = multiprocessing.get_context("spawn")
    watched, held = spawn.Pipe(duplex=False)
    with watched, held, ProcessPoolExecutor(workers, spawn, _begin, (watched, prepare, arguments)) as pool:
        try:
            yield pool
        except BaseException:
            held.close()
            pool.shutdown(cancel_futures=True)
            raise


def _begin(watched: Connection, prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_after, args=(watched,), daemon=True).start()
    if prepare is not None:
        prepare(*arguments)


def end_with_parent() -> None:
    """Let this process, which multiprocessing has started, end as soon as its parent has."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def is_ending() -> bool:
    """Whether nobody wants this process's work any more."""
    return _ending.is_set()


def _end_after(other: Any) -> None:
    wait([other])
    _ending.set()
    time.sleep(_GRACE_S)
    os._exit(1)


def run_python(code: str, *arguments: object, python: Path | str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own and wait for it; what it writes is in what is returned.

    Args:
        code: to run; its input is not for it.
        arguments: its ``sys.argv`` from 1 on.
        python: that runs it. One of another environment sees nothing of this one's.

    Raises:
        OSError: there is no such Python. CalledProcessError: the code failed.
    """
    options = () if python == sys.executable else ("-I",)
    watched, held = os.pipe()  # children inherit neither but as their input
    try:
        return subprocess.run(
            [python, *options, "-c", _END_WITH_PARENT + code, *map(str, arguments)],
            stdin=watched,
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        os.close(watched)
        os.close(held)
