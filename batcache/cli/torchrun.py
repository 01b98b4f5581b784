"""The command line as one of the processes that ``torchrun`` has started: one of them tells, and all end together.

The first of them shows what there is to show. How it all ends is told by whichever has to tell it first, in one line.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batcache.device import pick_device
from batcache.errors import visible

if TYPE_CHECKING:
    import torch

_GRACE_S = 2
"""How long the main thread may take to tell what it has begun to."""


def processes() -> int:
    """How many processes ``torchrun`` has started, this one included; 1 where it did not start this one."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def launcher() -> str:
    """What a command is to begin with, that as many processes may go on."""
    return f"torchrun --nproc-per-node {os.environ['LOCAL_WORLD_SIZE']} -m " if processes() > 1 else ""


def _is_first() -> bool:
    return processes() == 1 or os.environ["RANK"] == "0"


_claims = [_is_first]
"""The last of them says whether this process is to tell how it ends. Before they have joined, that is the first one."""


def silence_others() -> None:
    """Let none but the first process show anything."""
    if not _is_first():
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def tell_end(message: str) -> None:
    """Write the line with which this process ends to stderr, unless another has told already."""
    if _claims[-1]():
        _write(message)


def _write(message: str) -> None:
    stream = sys.stderr if _is_first() else sys.__stderr__
    assert stream is not None
    stream.write(f"{message}\n")
    stream.flush()


def let_traceback_be_shown() -> None:
    """A mistake of ours is to be seen whichever process meets it."""
    if not _is_first() and _claims[-1]() and sys.__stderr__ is not None:
        sys.stderr = sys.__stderr__


@contextmanager
def joined(device: str) -> "Iterator[Callable[[], torch.device]]":
    """Join the others, where there are any, until the block ends; gives what picks the device of this process.

    Raises:
        ConfigError, RanksError: see ``ranks.joined``.
    """
    if processes() == 1:
        yield lambda: pick_device(device)
        return
    from batcache.training import ranks

    with ranks.joined(pick_device(device)) as (here, claim):
        _claims.append(claim)
        yield lambda: here


def has_nothing_to_do() -> bool:
    """Leave what takes one process to the first; whether this one is another."""
    if processes() == 1:
        return False
    from batcache.cli.terminal import warn
    from batcache.training import ranks

    ranks.leave()
    _claims.append(_is_first)
    others = "the other has" if processes() == 2 else f"the other {processes() - 1} have"
    warn(f"heads on a frozen trunk are trained by one process, {others} nothing to do")
    return not _is_first()


@contextmanager
def told_when_ended(how: Callable[[], str]) -> Iterator[None]:
    """Within the block, where ``torchrun`` ends this process as it does when another has ended, tell ``how`` it stands.

    A thread does so: the main one may be waiting for the other process, within torch, for ever.
    """
    if processes() == 1:
        yield
        return
    heard, tell = os.pipe()
    os.set_blocking(tell, False)

    def listen() -> None:
        while os.read(heard, 1) != bytes([signal.SIGTERM]):
            pass
        line = visible(how())  # before it is claimed: the main thread may end the process meanwhile
        if _claims[-1]():
            _write(line)
        else:
            time.sleep(_GRACE_S)
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    yield  # to the end of the process: it may be told while it ends
