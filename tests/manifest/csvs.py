"""CSVs to be read as manifests, or refused."""

from pathlib import Path

import pytest

from batcache.errors import ManifestError
from batcache.manifest.manifest import Manifest, read_manifest


def write(folder: Path, name: str = "clips.csv", *lines: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes("\n".join(lines).encode())
    return path


def read(folder: Path, *lines: str) -> Manifest:
    return read_manifest([write(folder, "clips.csv", *lines)])


def refusal(folder: Path, *lines: str) -> str:
    with pytest.raises(ManifestError) as caught:
        read(folder, *lines)
    return str(caught.value)
