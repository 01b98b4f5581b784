"""What work costs in a process of its own: nothing else then counts into its time and its peak memory."""

import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Generic, TypeVar

from batcache.children import end_with_parent
from batcache.errors import BatcacheError

T = TypeVar("T")


@dataclass(frozen=True)
class Cost(Generic[T]):
    """What the work returned, its seconds with the start of its process, and the most bytes that were resident.

    ``peak_bytes`` is None where the system does not tell (Windows).
    """

    result: T
    seconds: float
    peak_bytes: int | None


def run_apart(work: Callable[..., T], *arguments: object) -> Cost[T]:
    """Do this work in a fresh process.

    Raises:
        BatcacheError: the process died.
    """
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_report, args=(there, work, arguments))
    began = time.perf_counter()
    process.start()
    there.close()
    try:
        result, peak = here.recv()
    except EOFError:
        raise BatcacheError(
            "benchmark", f"a process died in {work.__name__}", "Free some memory, or measure less"
        ) from None
    except BaseException:  # Ctrl-C: the work is for nothing now
        process.kill()
        raise
    finally:
        process.join()
    return Cost(result, time.perf_counter() - began, peak)


def _report(there: Connection, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    end_with_parent()
    result = work(*arguments)
    there.send((result, _own_peak()))


def _own_peak() -> int | None:
    """Linux counts its parent's memory in ``ru_maxrss``, as it was when the process was made; ``VmHWM`` is its own."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(lines[0][1]) * 1024 if lines else None
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
