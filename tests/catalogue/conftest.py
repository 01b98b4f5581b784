"""A card of small recordings, and a manifest made of it."""

import csv
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from batcache.catalogue.make import Wishes, make_manifest
from batcache.catalogue.report import ManifestReport


def riff(samples: bytes, rate: int, chunks: dict[str, bytes]) -> bytes:
    """A WAV of one channel and 16 bits, with further chunks behind the samples."""
    form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    parts = [(b"fmt ", form), (b"data", samples), *((name.encode(), content) for name, content in chunks.items())]
    body = b"".join(struct.pack("<4sI", name, len(part)) + part + b"\0" * (len(part) % 2) for name, part in parts)
    return struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WAVE") + body


@pytest.fixture
def card(tmp_path: Path) -> Callable[..., Path]:
    """Write recordings of 10 ms below ``tmp_path/card``; each name may have chunks, as ``guan`` or ``wamd``."""

    def write(*names: str, rate: int = 256_000, seconds: float = 0.01, **chunks: bytes) -> Path:
        for name in names:
            path = tmp_path / "card" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            samples = np.random.default_rng(len(name)).integers(-99, 99, round(rate * seconds))
            path.write_bytes(riff(samples.astype("<i2").tobytes(), rate, chunks))
        return tmp_path / "card"

    return write


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., ManifestReport]:
    """Make ``tmp_path/data.csv`` of the card."""

    def make_it(*labels: object, out: str = "data.csv", **wishes: object) -> ManifestReport:
        given = {"labels": tuple(map(str, labels))} if labels else {}
        return make_manifest([tmp_path / "card"], tmp_path / out, Wishes(**given, **wishes))  # type: ignore[arg-type]

    return make_it


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., dict[str, dict[str, str]]]:
    """The rows of ``tmp_path/data.csv`` by the recording's path on the card."""

    def read(out: str = "data.csv") -> dict[str, dict[str, str]]:
        with (tmp_path / out).open(encoding="utf-8", newline="") as file:
            return {row["filename"].removeprefix("card/"): row for row in csv.DictReader(file)}

    return read
