"""What a model has said of each recording so far, kept so that a call that is stopped goes on.

``scored.jsonl``, a line a recording in the order in which they were done; the first line says whose scores these are.
Lines are only ever added, each with its digest. A process that is killed may leave half a line at the end, and a power
cut several that are none: what is not whole behind the last line that is is dropped, and scored again. A line before it
that is not whole is damage. Lines reach the disk itself every ten seconds, and at the end: no more is lost where the
power fails.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from batcache.errors import PredictError, brief, shorten
from batcache.inference.bag_scores import BagScores
from batcache.storage.disk import write_file
from batcache.storage.listing import is_there
from batcache.storage.regular import open_regular
from batcache.storage.sealed import DAMAGED, check_json, open_json, seal_json
from batcache.store.format.commit import CachedRecording

NAME = "scored.jsonl"
FORMAT = "batcache-scored"
FORMAT_VERSION = 1
_SYNC_EVERY_S = 10.0
_LONGEST_HEADER = 1 << 16


@dataclass(frozen=True)
class Header:
    """Whose scores a journal holds: the ``model``'s digest, and the ``root`` that paths start from."""

    model: str
    root: str


class Scored(msgspec.Struct, frozen=True, gc=False):
    """A recording and what the model says of it: a logit a species, and the evidence ``[N, C]`` as float16 bytes.

    ``bat`` is the logit that there is one, ``pulses`` count what is short and stands out; None where it is not known.
    """

    row: CachedRecording
    logits: tuple[float, ...]
    evidence: bytes
    bat: float | None = None
    pulses: int | None = None

    @classmethod
    def of(cls, row: CachedRecording, scores: BagScores, pulses: int | None = None) -> Self:
        """What the journal keeps of a recording's scores."""
        evidence = scores.evidence.astype("<f2").tobytes()
        return cls(row, tuple(scores.logits.tolist()), evidence, scores.bat, pulses)

    @property
    def scores(self) -> BagScores:
        """The scores again, the evidence in half precision."""
        evidence: NDArray[np.float16] = np.frombuffer(self.evidence, "<f2").astype(np.float16)
        said = np.array(self.logits, np.float32), evidence.reshape(-1, len(self.logits))
        return BagScores(*said, self.bat)


class Journal:
    """The journal in a folder, begun where there is none. One process at a time may have it open.

    Raises:
        PredictError: it holds the scores of another model, or of recordings under another root that is still there; it
            is of another format, or damaged.
        OSError: the disk refuses.
    """

    def __init__(self, folder: Path, header: Header) -> None:
        self.path = folder / NAME
        self.scored: dict[tuple[str, int], Scored] = {}
        """By content hash and true rate."""
        if is_there(self.path):
            self._read(header)
        else:
            write_file(self.path, _encode_header(header))
        self._file = self.path.open("ab", buffering=0)
        self._synced = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self._file:
            self._sync()

    def add(self, scored: Sequence[Scored]) -> None:
        """Keep what was scored.

        Raises:
            OSError: the disk refuses or is full; it names the file.
        """
        if not scored:
            return
        left = memoryview(b"".join(seal_json(msgspec.json.encode(one)) + b"\n" for one in scored))
        try:
            while left:  # a disk that is nearly full takes a part
                left = left[self._file.write(left) :]
            if time.monotonic() > self._synced + _SYNC_EVERY_S:
                self._sync()
        except OSError as error:
            error.filename = error.filename or str(self.path)
            raise
        self.scored.update((one.row.key, one) for one in scored)

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def _read(self, header: Header) -> None:
        with open_regular(self.path) as file:
            first = file.readline()
            _check_header(self.path, _decode_header(self.path, first), header)
            whole, at, torn, decoder = len(first), len(first), 0, msgspec.json.Decoder(Scored)
            for number, line in enumerate(file, 2):
                at += len(line)
                if (one := _decode_line(decoder, line)) is None:
                    torn = torn or number
                    continue
                if torn:
                    finding = f"{DAMAGED} (line {torn})"
                    raise PredictError(self.path, finding, "Delete that line: what it says is scored again")
                self.scored[one.row.key] = one
                whole = at
        if whole < self.path.stat().st_size:
            with self.path.open("r+b") as file:
                file.truncate(whole)


def _decode_line(decoder: "msgspec.json.Decoder[Scored]", line: bytes) -> Scored | None:
    """What a line says; None where it is not whole, or not as it was written."""
    try:
        check_json(line.removesuffix(b"\n"))
        one = decoder.decode(line)
        if not line.endswith(b"\n") or not one.evidence or len(one.evidence) % (2 * len(one.logits)):
            return None
    except (msgspec.MsgspecError, ValueError, ZeroDivisionError, RecursionError):
        return None
    return one


def _encode_header(header: Header) -> bytes:
    document = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(header)}
    return seal_json(json.dumps(document).encode()) + b"\n"


def _decode_header(path: Path, line: bytes) -> Header:
    remedy = "Delete it, and all is scored again; or pass another --out"
    try:
        document = open_json(line.removesuffix(b"\n"))
        kind, version = document.pop("format"), document.pop("format_version")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise PredictError(path, f"not readable ({brief(error)})", remedy) from None
    if kind != FORMAT or version != FORMAT_VERSION:
        there = f"{shorten(str(kind))}, version {shorten(str(version))}"
        finding = f"{there}, this batcache reads {FORMAT}, version {FORMAT_VERSION}"
        raise PredictError(path, finding, "Upgrade batcache, or pass another --out")
    try:
        if not all(isinstance(text, str) for text in document.values()):
            raise TypeError("a model or root that is no text")
        return Header(**document)
    except TypeError as error:
        raise PredictError(path, f"not readable ({brief(error)})", remedy) from None


def _check_header(path: Path, there: Header, wanted: Header) -> None:
    """A root that is gone was moved: its recordings are known by their content."""
    if there.model != wanted.model:
        raise PredictError(path, "holds the scores of another model", "Pass another --out, or delete it")
    if there.root != wanted.root and is_there(Path(there.root)):
        finding = f"holds the scores of recordings under {there.root}, not under {wanted.root}"
        raise PredictError(path, finding, "Pass another --out, or delete it")


def read_header(folder: Path) -> Header:
    """Whose scores the journal in a folder holds.

    Raises:
        PredictError: there is none, or it is damaged or of another format.
    """
    path = folder / NAME
    try:
        with open_regular(path) as file:
            return _decode_header(path, file.readline(_LONGEST_HEADER))
    except OSError as error:
        raise PredictError(path, f"cannot be read ({brief(error)})", "Pass a folder of `batcache predict`") from None


def count_scored(folder: Path) -> int:
    """How many recordings were scored into a folder so far; none where there is no journal."""
    try:
        with (folder / NAME).open("rb") as file:
            return max(0, sum(1 for _ in file) - 1)
    except OSError:
        return 0
