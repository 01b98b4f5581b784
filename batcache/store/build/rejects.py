"""What earlier builds rejected, so that a file that is as it was then need not be opened to be rejected again.

A reason holds as long as the file has the size and time that it had, the manifest says the same of it, and files are
looked at by the same code.
"""

import errno
import hashlib
import os
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from batcache.errors import Seen
from batcache.storage.listing import walk_folder

Rejects = Mapping[str, tuple[Seen, str]]
"""By path what was seen of a file before it was opened, and why it was rejected."""
_OF_THE_SYSTEM = ("cannot be read", "System error", "changed", *(os.strerror(number) for number in errno.errorcode))
"""What a reason says that may be another one next time."""


@cache
def describe_reader() -> str:
    """A digest of the code that looks at files, and the version of what decodes FLAC, which rejects some too."""
    digest = hashlib.sha256(version("soundfile").encode())
    for room in ("batcache.features", "batcache.store.build"):
        for source in walk_folder(Path(str(files(room)))):
            if source.suffix == ".py":
                digest.update(source.read_bytes())
    return digest.hexdigest()


def is_lasting(reason: str) -> bool:
    """Whether a reason to reject a file lies in the file, not in the disk or the moment."""
    return not any(said in reason for said in _OF_THE_SYSTEM)
