"""Locks of builders that are somewhere else, or gone."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from batcache.store.format.lock import LOCK, hold


def wait_for(there: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not there():
        assert time.monotonic() < limit, "it never came"
        time.sleep(0.005)


def write_lock(store: Path, **changed: object) -> bytes:
    """The lock of this very process, or as changed."""
    store.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder, hold(Path(folder)):
        document = json.loads((Path(folder) / LOCK).read_bytes())
    document["since"] = "2026-05-01T20:15:00+00:00"
    content = json.dumps(document | changed).encode()
    (store / LOCK).write_bytes(content)
    return content


def process_that_is_gone() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid
