"""Working ahead in threads, in order, with a bound on what is held."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, repeat
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def map_ahead(pool: ThreadPoolExecutor, work: Callable[[T], U], items: Iterable[T], ahead: int) -> Iterator[U]:
    """``pool.map`` that holds at most ``ahead`` results, however many items there are."""
    rest = iter(items)
    waiting = deque(pool.submit(work, item) for item in islice(rest, ahead))
    while waiting:
        done = waiting.popleft().result()
        waiting.extend(pool.submit(work, item) for item in islice(rest, 1))
        yield done


def take_ahead(pool: ThreadPoolExecutor, items: Iterator[T], ahead: int) -> Iterator[T]:
    """The same items, taken by a pool of one thread, at most ``ahead`` of them before they are asked for."""
    end = object()
    for item in map_ahead(pool, lambda _: next(items, end), repeat(None), ahead):
        if item is end:
            return
        yield item  # type: ignore[misc]
