"""Files as they are given by name: read whole, and only where they are files.

A device never ends, and a pipe without a writer lets its reader wait forever.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading.

    Raises:
        OSError: it is not there, no file but a folder, device or pipe, or the disk refuses.
    """
    kind = path.stat().st_mode
    if not stat.S_ISREG(kind):
        number = errno.EISDIR if stat.S_ISDIR(kind) else errno.EINVAL
        said = os.strerror(number) if number == errno.EISDIR else "no regular file, but a device or pipe"
        raise OSError(number, said, str(path))
    return path.open("rb")


def read_regular(path: Path, most: int = -1) -> bytes:
    """The content of a file, or at most so many bytes of it. Raises as ``open_regular``."""
    with open_regular(path) as file:
        return file.read(most)
