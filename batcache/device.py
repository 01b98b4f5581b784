"""Where to compute: on the CPU or on a GPU."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batcache.errors import ConfigError

if TYPE_CHECKING:
    import torch


def pick_device(name: str) -> "torch.device":
    """Return the device called ``cpu`` or ``cuda``, or for ``auto`` the GPU where there is one.

    Raises:
        ConfigError: another name, or cuda is asked for and not there.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError("device", f"{name!r}, expected auto, cpu or cuda", "Correct it")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError("--device cuda", "no CUDA device is usable here", "Pass --device cpu, or auto")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and there) else "cpu")


@contextmanager
def limit_threads(count: int) -> Iterator[None]:
    """Let torch compute with so many CPU threads within the block, then with as many as before."""
    torch = sys.modules.get("torch")
    if torch is None:  # nothing that computes here needs it
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def use_one_thread() -> None:
    """Let torch, where it computes at all, take one CPU thread for what this thread asks of it."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
