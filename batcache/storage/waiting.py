"""Waiting for an object store that does not answer: what is told meanwhile, and what ends it."""

import threading
import time
from collections.abc import Callable

_TELL_AFTER_S = 1.5
_TELL_AGAIN_AFTER_S = 10
"""Where one answer in many fails, not each of them is told."""


class Waiting:
    """Whether a store is being waited for. Threads share one: that a store is away is told once, not by each."""

    def __init__(self) -> None:
        self._tell: Callable[[str], None] | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._away = False
        self._told_at = -float(_TELL_AGAIN_AFTER_S)

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
        now = time.monotonic()
        with self._lock:
            is_news = now + seconds - since >= _TELL_AFTER_S and not self._away
            if is_news:
                self._away = True
                is_news = now - self._told_at >= _TELL_AGAIN_AFTER_S
                self._told_at = now if is_news else self._told_at
        if is_news and self._tell is not None:
            self._tell(why)
        return not self._ended.wait(seconds)

    def is_over(self) -> None:
        """Take note that the store has answered, or was given up."""
        self._away = False

    def end(self) -> None:
        """Give up all that waits, now and later: the process is to end."""
        self._ended.set()


WAITING = Waiting()
