"""Where the frames and the sound of clips come from: a cache, or the files that were judged.

Frames of files are computed when they are looked at, by the front end's default settings but to 120 kHz: what the model
takes may be others, which a folder of predictions does not tell. No more than ``LONGEST_S`` are read at a time.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
import soundfile
from numpy.typing import NDArray

from batcache.config.features import FeatureConfig
from batcache.errors import AudioError, ReviewError
from batcache.features.audio import content_hash, read_header
from batcache.inference.recordings.journal import NAME
from batcache.store.format.commit import CachedRecording
from batcache.store.reader import Store

LONGEST_S = 10.0
"""True seconds that are looked at, or heard, at a time."""
DRAWN = FeatureConfig(fmax=120_000.0)
_LEAD_S = 0.5
"""Before what is looked at: PCEN has a memory of 0.1 s."""


@dataclass(frozen=True)
class Span:
    """Frames of a part of a recording. Shape: ``[F, n_mels]``; ``start_s`` in true seconds."""

    frames: NDArray[np.float32]
    start_s: float
    features: FeatureConfig

    @property
    def seconds(self) -> float:
        """How long they last."""
        return len(self.frames) / self.features.frames_per_second

    def cut(self, from_s: float, to_s: float) -> "Span":
        """The frames between two times, at least one."""
        per_second = self.features.frames_per_second
        first = min(max(0, round((from_s - self.start_s) * per_second)), len(self.frames) - 1)
        stop = min(max(first + 1, round((to_s - self.start_s) * per_second)), len(self.frames))
        return Span(self.frames[first:stop], self.start_s + first / per_second, self.features)


class Recordings(Protocol):
    """What clips look and sound like."""

    def prepare(self) -> None:
        """Begin to make ready what takes seconds, in the background."""

    def read_span(self, name: str, start_s: float, seconds: float) -> Span:
        """The frames of a part of a recording, less where it ends before.

        Raises:
            AudioError, StoreError, ReviewError: it is not there, or damaged.
        """

    def find_file(self, name: str) -> tuple[Path, CachedRecording]:
        """The file itself, and what is known of it. Raises as ``read_span``."""

    def content_of(self, name: str) -> str:
        """The content hash of a recording; empty where it is not known."""

    def close(self) -> None:
        """Wait for what was begun in the background."""


class CachedRecordings:
    """Recordings whose frames lie in a cache; their sound is in the files below ``data_dir``, where these are known."""

    def __init__(self, store: Store, data_dir: Path | None) -> None:
        self.store, self.data_dir = store, data_dir

    def prepare(self) -> None:
        """As of ``Recordings``: nothing does."""

    def close(self) -> None:
        """As of ``Recordings``."""

    def read_span(self, name: str, start_s: float, seconds: float) -> Span:
        """As of ``Recordings``."""
        row, per_second = self._find(name), self.store.features.frames_per_second
        first = min(max(0, round(start_s * per_second)), max(0, row.frames - 1))
        frames = self.store.read_frames(row, first, first + max(1, round(min(seconds, LONGEST_S) * per_second)))
        return Span(frames.astype(np.float32), first / per_second, self.store.features)

    def find_file(self, name: str) -> tuple[Path, CachedRecording]:
        """As of ``Recordings``."""
        row = self._find(name)
        if self.data_dir is None:
            raise ReviewError(name, "the cache does not tell where its recordings lie", "Pass --data-dir")
        return self.data_dir / name, row

    def content_of(self, name: str) -> str:
        """As of ``Recordings``."""
        return self._find(name).content

    def _find(self, name: str) -> CachedRecording:
        row = self.store.find(name)
        if row is None:
            raise ReviewError(name, f"not in {self.store.path} any more", "Build it again")
        return row


class _Judged(msgspec.Struct, frozen=True, gc=False):
    """What is wanted of a line of ``scored.jsonl``."""

    row: CachedRecording


_Rows = tuple[dict[str, CachedRecording], dict[str, CachedRecording]]


class JudgedFiles:
    """Files below a folder, as ``predict`` has judged them; ``scored.jsonl`` in ``predictions`` tells their rates."""

    def __init__(self, root: Path, predictions: Path) -> None:
        self.root, self._journal = root, predictions / NAME
        self._rows: Future[_Rows] = Future()
        self._front_end: Future[_FrontEnd] = Future()
        self._preparing = Thread(target=self._prepare, name="batcache-review", daemon=True)
        self._lock, self._computing = Lock(), Lock()

    def prepare(self) -> None:
        """As of ``Recordings``: it reads the rows, and imports the front end."""
        with self._lock:
            if self._preparing.ident is None:
                self._preparing.start()

    def _prepare(self) -> None:
        _settle(self._rows, self._read_rows)
        _settle(self._front_end, _FrontEnd)

    def read_span(self, name: str, start_s: float, seconds: float) -> Span:
        """As of ``Recordings``."""
        path, row = self.find_file(name)
        lead_s = min(start_s, _LEAD_S)
        samples = _read_samples(path, row, start_s - lead_s, min(seconds, LONGEST_S) + lead_s)
        front_end = self._front_end.result()  # which was begun for the file
        with self._computing:  # the front end makes its filters by rate when they are first wanted
            frames = front_end.make(samples, row.true_rate)
        skipped = min(round(lead_s * DRAWN.frames_per_second), max(0, len(frames) - 1))
        return Span(frames[skipped:], start_s, DRAWN)

    def find_file(self, name: str) -> tuple[Path, CachedRecording]:
        """As of ``Recordings``: a file that was renamed, or is a copy, is known by its content."""
        self.prepare()
        by_path, by_content = self._rows.result()
        path = self.root / name
        row = by_path.get(name)
        try:
            status = path.stat()
        except OSError:
            raise AudioError(path, "no such file", "Pass --data-dir with the folder of the recordings") from None
        if row is None or (row.size, row.mtime_ns) != (status.st_size, status.st_mtime_ns):
            row = by_content.get(content_hash(path, read_header(path)))
            if row is None:
                raise AudioError(path, "another recording than the one that was judged", "Run `batcache predict` again")
        return path, row

    def content_of(self, name: str) -> str:
        """As of ``Recordings``: of a file that was renamed since it was judged, by what it holds."""
        self.prepare()
        row = self._rows.result()[0].get(name)
        try:
            return row.content if row else self.find_file(name)[1].content
        except AudioError:
            return ""

    def close(self) -> None:
        """As of ``Recordings``: an import that is broken off by the end of the process may abort it."""
        with self._lock:
            if self._preparing.ident is not None:
                self._preparing.join()

    def _read_rows(self) -> _Rows:
        """What is known of each recording, by its path when it was judged, and by its content."""
        decoder, by_path, by_content = msgspec.json.Decoder(_Judged), {}, {}
        with self._journal.open("rb") as file:
            file.readline()
            for line in file:
                try:
                    row = decoder.decode(line).row
                except (msgspec.MsgspecError, ValueError):  # half a line of a call that was killed
                    break
                by_path[row.path], by_content[row.content] = row, row
        return by_path, by_content


def _read_samples(path: Path, row: CachedRecording, start_s: float, seconds: float) -> NDArray[Any]:
    """Samples of the first channel, int16 of a 16-bit file, else float32."""
    header = read_header(path)
    dtype = "int16" if header.subtype == "PCM_16" else "float32"
    try:
        with soundfile.SoundFile(path) as sound:
            sound.seek(min(max(0, round(start_s * row.true_rate)), header.samples - 1))
            read = sound.read(max(1, round(seconds * row.true_rate)), dtype=dtype, always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(path, f"cannot be decoded ({error})", "Copy it again from the recorder") from None
    return np.ascontiguousarray(read[:, 0])


Made = TypeVar("Made")


def _settle(future: "Future[Made]", make: Callable[[], Made]) -> None:
    """Make what a future stands for; whoever asks for it hears what went wrong."""
    try:
        future.set_result(make())
    except Exception as error:
        future.set_exception(error)


class _FrontEnd:
    """The front end, which takes a second to be imported."""

    def __init__(self) -> None:
        from batcache.features.frontend import FrontEnd

        self._front_end = FrontEnd(DRAWN)

    def make(self, samples: NDArray[Any], true_rate: int) -> NDArray[np.float32]:
        """Frames of samples. Shape: ``[samples]`` -> ``[F, n_mels]``"""
        import torch

        block = self._front_end.block_samples(true_rate)
        blocks = (torch.from_numpy(samples[i : i + block])[None] for i in range(0, len(samples), block))
        made = [frames[0].numpy() for frames in self._front_end.stream_batch(blocks, true_rate)]
        return np.concatenate([np.zeros((0, DRAWN.n_mels), np.float16), *made]).astype(np.float32)
