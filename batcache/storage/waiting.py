"""Waiting for an object store that does not answer: what is told meanwhile, and what ends it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_TELL_AFTER_S = 1.5
_TELL_AGAIN_AFTER_S = 10
"""Where one answer in many fails, not each of them is told."""
_LOOK_EVERY_S = 0.5


class Waiting:
    """Whether a store is being waited for. Threads share one: that a store is away is told once, not by each."""

    def __init__(self) -> None:
        self._tell: Callable[[str], None] | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._away = False
        self._told_at = -float(_TELL_AGAIN_AFTER_S)
        self._asked: dict[object, tuple[float, str]] = {}
        self._watches = False

    def tell(self, listener: Callable[[str], None]) -> None:
        """Let ``listener`` hear, in any thread, that a store is waited for: one line each time that it goes away."""
        self._tell = listener

    def wait(self, since: float, seconds: float, why: str) -> bool:
        """Wait before a request is repeated, and say ``why`` once that goes on for a while.

        Args:
            since: when the request was first made, of ``time.monotonic``.
            seconds: how long to wait now.
            why: what is wrong, in one line.

        Returns: whether to ask again: not where ``end`` was called, which breaks off the waiting too.
        """
        if time.monotonic() + seconds - since >= _TELL_AFTER_S:
            self._say(why)
        return not self._ended.wait(seconds)

    @contextmanager
    def asking(self, why: str, seconds: float) -> Iterator[None]:
        """Say ``why`` in the midst of the block, a request, where that takes longer than so many seconds."""
        mine = object()
        with self._lock:
            self._asked[mine] = time.monotonic() + seconds, why
            if not self._watches:
                self._watches = True
                threading.Thread(target=self._watch, daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._asked.pop(mine, None)

    def _watch(self) -> None:
        """Look at the requests under way until there are none."""
        while not self._ended.wait(_LOOK_EVERY_S):
            now = time.monotonic()
            with self._lock:
                self._watches = bool(self._asked)
                if not self._watches:
                    return
                late = {mine: why for mine, (due, why) in self._asked.items() if due <= now}
                for mine in late:
                    del self._asked[mine]
            for why in late.values():
                self._say(why)

    def _say(self, why: str) -> None:
        """Tell it where a store was not known to be away, and not each time where it comes and goes."""
        now = time.monotonic()
        with self._lock:
            is_news = not self._away and now - self._told_at >= _TELL_AGAIN_AFTER_S
            self._away = True
            self._told_at = now if is_news else self._told_at
        if is_news and self._tell is not None:
            self._tell(why)

    def is_over(self) -> None:
        """Take note that the store has answered, or was given up."""
        self._away = False

    def end(self) -> None:
        """Give up all that waits, now and later: the process is to end."""
        self._ended.set()


WAITING = Waiting()
