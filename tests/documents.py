"""JSON that carries its digest, as tests read and change it."""

import json
from pathlib import Path
from typing import Any

from batcache.storage.sealed import open_json, seal_json


def read_document(path: Path) -> dict[str, Any]:
    """What a file holds, without its digest, which must be right."""
    return open_json(path.read_bytes())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The same of each line of a file."""
    return [open_json(line) for line in path.read_bytes().splitlines()]


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Write what somebody made who knows of digests, so that all else about it is looked at."""
    path.write_bytes(seal_json(json.dumps(document).encode()))
