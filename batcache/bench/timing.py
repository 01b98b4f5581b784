"""Fair timing: the contestants take turns, round after round, and the median counts.

Whatever else the machine does in the meantime then hits all of them alike.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median

import threadpoolctl

from batcache.device import limit_threads

_MOST_ROUNDS = 200


def time_once(task: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


def take_turns(
    tasks: Mapping[str, Callable[[], object]],
    rounds: int,
    seconds: float = 0.0,
    before: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, float]:
    """Median seconds of each task, over at least ``rounds`` rounds A B C, A B C, … and ``seconds`` in all.

    Nothing is run before the clock starts but what ``before`` has under the task's name: warm up first.
    """
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    done, spent = 0, 0.0
    while done < rounds or (spent < seconds and done < _MOST_ROUNDS):
        for name, task in tasks.items():
            if before and name in before:
                before[name]()
            taken[name].append(time_once(task))
            spent += taken[name][-1]
        done += 1
    return {name: median(times) for name, times in taken.items()}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch, and the linear algebra of numpy and scipy, compute with so many threads within the block."""
    with limit_threads(count), threadpoolctl.threadpool_limits(count):
        yield
