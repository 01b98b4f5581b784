"""Torch's files as batcache writes them: a zip of tensors and plain types that carries its digest, one file alone.

``torch.load`` reads them too. Nothing in them could run code when loaded.
"""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from batcache.storage.disk import write_file
from batcache.storage.regular import open_regular, read_regular
from batcache.storage.sealed import SEAL_BYTES, check_zip, ends_sealed, seal_zip

_MOST_TIMES = 1.5  # torch compresses nothing


def write_torch(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document with its digest, or leave what was there.

    Raises:
        OSError: the disk refuses.
    """
    made = io.BytesIO()
    torch.save(dict(document), made)
    write_file(path, seal_zip(made.getvalue()))


def read_torch(path: Path) -> tuple[dict[str, Any], bool]:
    """Read a document onto the CPU, and whether it carried a digest: files of earlier versions do not.

    Raises:
        OSError: it is not there, or the disk refuses.
        ValueError: it does not match its digest, is cut short, or of another kind.
    """
    content = read_regular(path)
    sealed = check_zip(content, _MOST_TIMES)
    try:
        document = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception:  # torch raises whatever the damage leads to
        raise ValueError("damaged, or of another kind") from None
    return document if isinstance(document, dict) else {}, sealed


def has_digest(path: Path) -> bool:
    """Whether a file that was read carries a digest. Raises OSError where the disk refuses."""
    with open_regular(path) as file:
        file.seek(-SEAL_BYTES, os.SEEK_END)
        return ends_sealed(file.read())
