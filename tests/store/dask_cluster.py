"""A Dask cluster of real processes on this machine: a scheduler and workers, to be stopped, killed or started anew."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
TTL_S = 3
"""After so long without a word a worker counts as gone."""
_SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{TTL_S}s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
}


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as chosen:
        chosen.bind((host, 0))
        return int(chosen.getsockname()[1])


@dataclass
class DaskCluster:
    """Workers have one thread each; ``prefix`` is put before the command of a worker."""

    folder: Path
    port: int = field(default_factory=free_port)
    host: str = "127.0.0.1"
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"tcp://{self.host}:{self.port}"

    def start_scheduler(self) -> "subprocess.Popen[bytes]":
        where = ("--host", self.host, "--port", str(self.port), "--no-dashboard", "--dashboard-address", ":0")
        scheduler = self._start("distributed.cli.dask_scheduler", where)
        until = time.monotonic() + 60
        while True:
            with suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
                return scheduler
            assert time.monotonic() < until and scheduler.poll() is None, "the scheduler answers"
            time.sleep(0.1)

    def start_worker(self, *prefix: str) -> "subprocess.Popen[bytes]":
        options = ("--nthreads", "1", "--memory-limit", "0", "--local-directory", str(self.folder))
        alone = ("--no-nanny", "--no-dashboard", "--dashboard-address", ":0")
        return self._start("distributed.cli.dask_worker", (self.address, *options, *alone), prefix)

    def _start(self, module: str, options: Sequence[str], prefix: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
        log = (self.folder / f"{len(self.processes)}.log").open("wb")
        command = [*prefix, sys.executable, "-m", module, *options]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | _SETTINGS, cwd=self.folder)
        log.close()
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


@contextmanager
def dask_cluster(folder: Path, workers: int) -> Iterator[tuple[DaskCluster, list["subprocess.Popen[bytes]"]]]:
    """A cluster of so many workers, and these."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = DaskCluster(folder)
    try:
        cluster.start_scheduler()
        yield cluster, [cluster.start_worker() for _ in range(workers)]
    finally:
        cluster.stop()
