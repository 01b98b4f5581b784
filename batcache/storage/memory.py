"""How the process holds on to memory that it has freed."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's mallopt(3)


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks of up to 32 MB for the next allocation. Elsewhere this does nothing.

    It gives them back by default, and gets each anew as pages of zeros: that takes longer than most of what the front
    end and a small model do with them.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 32 << 20)
        mallopt(_TRIM_THRESHOLD, 512 << 20)


@contextmanager
def no_garbage() -> Iterator[None]:
    """Look for no garbage in cycles while many objects are made that are kept: among a million clips that takes a fifth
    of the time, and finds none."""
    was_looking = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_looking:
            gc.enable()


def give_back_freed_memory() -> None:
    """Let glibc give all freed memory back to the system, also between blocks in use. Elsewhere this does nothing.

    What is kept falls apart into pieces in which large blocks find no room: half a gigabyte in an hour of recording.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
