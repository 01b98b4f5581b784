"""Work spread over a Dask cluster: each item goes to whichever worker is free, and results come home in order.

What a worker had in hand that has gone, Dask gives to another. Where the scheduler goes, all that has not come home is
asked for anew once one answers at its address. So what is spread must come to the same, done once or twice.
"""

import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from importlib.metadata import version
from socket import gethostname
from typing import Any, Self, TypeVar

from batcache.errors import BatcacheError, ClusterError, ConfigError, brief

T = TypeVar("T")
U = TypeVar("U")
PATIENCE_S = 180.0
"""For so long a scheduler that does not answer is waited for."""
_ASK_AGAIN_S = 2.0
_COUNT_AGAIN_S = 5.0
_TTL = "60s"
"""A worker of this machine that has not been heard of for so long counts as gone."""
_UNHEARD = (OSError, TimeoutError, CancelledError, RuntimeError)
"""What is raised where no scheduler answers: whoever asks for a result will hear of it."""


class Cluster:
    """Workers, to be used as a context.

    Args:
        scheduler: the address of a Dask scheduler, such as ``tcp://host:8786``; else processes of this machine work.
        local_workers: how many processes, where no scheduler is named.
        tell: hears in one line what is being waited for.

    Raises:
        ClusterError: ``distributed`` is not installed, or no scheduler answers.
    """

    def __init__(
        self, scheduler: str | None, local_workers: int = 1, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self._address, self._processes, self._tell = scheduler, local_workers, tell
        self._stack = ExitStack()
        self._counted_at, self._threads = 0.0, 1

    @property
    def name(self) -> str:
        """As errors call it."""
        return self._address or "the workers of this machine"

    def __enter__(self) -> Self:
        try:
            dask, self._dask = import_module("dask"), import_module("distributed")
        except ImportError:
            finding = "Dask, which a cluster takes, is not installed"
            raise ClusterError(self.name, finding, "pip install 'batcache[cluster]'") from None
        _silence()
        self._stack.enter_context(dask.config.set({"distributed.scheduler.worker-ttl": _TTL}))
        try:
            self._client = self._connect() if self._address else self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(*_UNHEARD):
            self._client.close(timeout=5)
        self._stack.close()

    def map(self, work: Callable[[T], U], items: Iterable[T]) -> Generator[U, None, None]:
        """Do some work on each item, and yield what came of it, in order.

        Args:
            work: importable by name on the workers. Done twice it must do what it does once.
            items: what is sent; only so many are taken ahead as keep the workers busy.

        Raises:
            ClusterError: workers that cannot do it, or no scheduler for ``PATIENCE_S``. What the work itself raises.
        """
        rest, end = iter(items), object()
        waiting: deque[tuple[Any, Any]] = deque()
        try:
            while True:
                while len(waiting) < self._ahead() and (item := next(rest, end)) is not end:
                    waiting.append((item, None))
                if not waiting:
                    return
                try:
                    waiting = deque((item, future or self._submit(work, item)) for item, future in waiting)
                    done = self._result(waiting[0][1])
                except _LostError:
                    self._reconnect()
                    waiting = deque((item, None) for item, _ in waiting)
                    continue
                waiting.popleft()
                yield done
        finally:
            for _, future in waiting:
                if future is not None and future.client.status == "running":
                    with suppress(*_UNHEARD):
                        future.release()

    def _ahead(self) -> int:
        """How many items are sent before the first of them has come home: two for each thread of the workers."""
        if time.monotonic() > self._counted_at + _COUNT_AGAIN_S and self._client.status == "running":
            with suppress(*_UNHEARD):
                self._threads = sum(self._client.nthreads().values())
            self._counted_at = time.monotonic()
        return 2 * max(1, self._threads) + 1

    def _submit(self, work: Callable[[Any], Any], item: Any) -> Any:
        try:
            return self._client.submit(_do, work, item, version("batcache"), pure=False)
        except Exception:
            if self._client.status == "running":
                raise
            raise _LostError from None  # the scheduler went while this process did something else

    def _result(self, future: Any) -> Any:
        if future.client is not self._client or future.client.status != "running":
            raise _LostError  # of a client before the scheduler went: another map has found that out
        try:
            return future.result()
        except BatcacheError:
            raise
        except self._dask.KilledWorker as error:
            finding = f"a piece of work ended {error.allowed_failures + 1} workers, one after the other"
            raise ClusterError(self.name, finding, "See their logs; give them more memory") from None
        except (CancelledError, self._dask.comm.CommClosedError):  # the scheduler has gone, and what it knew of
            raise _LostError from None
        except (ImportError, AttributeError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "deserializ" not in str(error):
                raise
            finding = f"a worker cannot do the work ({brief(error)})"
            raise ClusterError(self.name, finding, "Install the same batcache on every worker") from None

    def _start(self) -> Any:
        """Processes of this machine, of one thread each, which end with this one."""
        with _ignored_by_children(signal.SIGINT):
            cluster = self._dask.LocalCluster(
                n_workers=self._processes,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )
        return self._dask.Client(self._stack.enter_context(cluster))

    def _connect(self) -> Any:
        began, told, last = time.monotonic(), False, ""
        while (left := began + PATIENCE_S - time.monotonic()) > 0:
            try:
                client = self._dask.Client(self._address, timeout=min(5.0, left))
            except ValueError as error:
                finding = f"no address of a scheduler ({brief(error)})"
                raise ClusterError(self.name, finding, "Pass one like tcp://host:8786") from None
            except (OSError, TimeoutError) as error:
                last = brief(error)
            else:
                if not client.scheduler_info()["workers"]:
                    self._tell(f"{self.name}: no worker yet; waiting for the first")
                return client
            if not told:
                self._tell(f"{self.name}: no scheduler answers; asking again for up to {PATIENCE_S:.0f} s")
            told = True
            time.sleep(_ASK_AGAIN_S)
        finding = f"no scheduler answers ({last})"
        raise ClusterError(self.name, finding, "Start it with `dask scheduler`, then run the same command again")

    def _reconnect(self) -> None:
        """Have a client that is connected; one that is, as another map or Dask itself has seen to it, stays."""
        if self._client.status == "running":
            return
        with suppress(*_UNHEARD):
            self._client.close(timeout=1)
        self._client = self._connect() if self._address else self._start()


@contextmanager
def open_cluster(
    scheduler: str | None, local_workers: int | None, tell: Callable[[str], None] = lambda _: None
) -> Iterator[Cluster | None]:
    """The workers that are asked for; None where none are: then this process does the work itself.

    Raises:
        ConfigError: both a scheduler and local workers. ClusterError: see ``Cluster``.
    """
    if scheduler is not None and local_workers is not None:
        finding = "the scheduler's workers do the work"
        raise ConfigError("--local-workers", finding, "Pass it without --scheduler")
    if scheduler is None and local_workers is None:
        yield None
        return
    with Cluster(scheduler, local_workers or 1, tell) as cluster:
        yield cluster


@contextmanager
def _ignored_by_children(number: int) -> Iterator[None]:
    """Have processes that are started meanwhile ignore a signal: Ctrl-C goes to all, and this one ends the others."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def _silence() -> None:
    """Keep Dask's log of what its processes go through off the terminal: errors here say it in a line."""
    for name in ("distributed", *logging.root.manager.loggerDict):
        if name.split(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


class _LostError(Exception):
    """What was asked for will not come home."""


def _do(work: Callable[[T], U], item: T, wanted: str) -> U:
    """On a worker: the work, where it is done by the same code."""
    if version("batcache") != wanted:
        finding = f"has batcache {version('batcache')}, the machine that asks {wanted}"
        raise ClusterError(f"worker on {gethostname()}", finding, "Install the same on both")
    return work(item)
