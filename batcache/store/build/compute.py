"""Recordings to frames: in order, and ahead of whoever takes them.

On a CPU every thread takes a recording through the whole front end. For a GPU see ``store.build.batches``.
"""

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from batcache.config.features import FeatureConfig
from batcache.device import use_one_thread
from batcache.errors import AudioError
from batcache.features.audio import AudioHeader
from batcache.features.bands import dead_bands
from batcache.features.energy import BandEnergy
from batcache.storage.ahead import map_ahead
from batcache.store.build.plan import Placed
from batcache.store.build.scan import columns_of
from batcache.store.format.commit import CachedRecording

if TYPE_CHECKING:
    from batcache.features.frontend import FrontEnd

Frames = NDArray[np.float16]
GONE = "gone while it was being read. Run it again."


class FrameMaker(Protocol):
    """What turns recordings into frames: ``features.frontend``, or what an ONNX file holds."""

    config: FeatureConfig
    on_gpu: bool
    """Whether recordings of equal length are best computed together."""

    def stream(self, path: Path, header: AudioHeader, true_rate: int, energy: BandEnergy) -> Iterator[Frames]:
        """Yield the frames of one recording, ``[frames, n_mels]`` each. ``energy`` hears what passes."""


@dataclass
class Computed:
    """A recording's frames, to be taken once; then, and only then, ``row`` is what the index says of it."""

    frames: Iterator[Frames]
    row: CachedRecording | None = None


def compute(
    recordings: Iterable[Placed], data_dir: Path, front_end: FrameMaker, workers: int
) -> Generator[Computed, None, None]:
    """Yield recordings in order, each held whole; ``workers`` threads work ahead, on at most two recordings each."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(workers, initializer=use_one_thread))
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        if front_end.on_gpu:
            from batcache.store.build.batches import compute_in_batches

            yield from compute_in_batches(recordings, data_dir, cast("FrontEnd", front_end), pool)
        else:
            yield from map_ahead(pool, lambda placed: _whole(placed, data_dir, front_end), recordings, 2 * workers)


def stream(placed: Placed, data_dir: Path, front_end: FrameMaker) -> Computed:
    """One recording, computed while its frames are taken, so that it is never held whole."""
    computed = Computed(iter(()))
    computed.frames = _stream(computed, placed, data_dir, front_end)
    return computed


def _whole(placed: Placed, data_dir: Path, front_end: FrameMaker) -> Computed:
    computed = stream(placed, data_dir, front_end)
    blocks = list(computed.frames)
    failed = computed.row is not None and computed.row.failure
    return Computed(iter([np.concatenate(blocks)] if blocks and not failed else []), computed.row)


def _stream(computed: Computed, placed: Placed, data_dir: Path, front_end: FrameMaker) -> Iterator[Frames]:
    energy, failure = BandEnergy(front_end.config), ""
    file = placed.file
    try:
        yield from front_end.stream(data_dir / file.path, file.header, file.true_rate, energy)
    except AudioError as error:
        failure = error.reason
    failure = failure or changed(data_dir, placed)
    computed.row = row_of(placed, front_end, energy, 0, failure)


def changed(data_dir: Path, placed: Placed) -> str:
    """Why a recording that has just been read may not be the one that was looked at; empty if it is."""
    file = placed.file
    try:
        stat = (data_dir / file.path).stat()
    except OSError:
        return GONE
    same = (stat.st_size, stat.st_mtime_ns) == (file.size, file.mtime_ns)
    return "" if same else "changed while it was being read. Run it again."


def row_of(placed: Placed, front_end: FrameMaker, energy: BandEnergy, recording: int, failure: str) -> CachedRecording:
    """The row of a recording, which is the n-th of those that ``energy`` heard."""
    file = placed.file
    below, above = energy.shares(recording)
    return CachedRecording(
        **columns_of(file),
        content=file.content,
        true_rate=file.true_rate,
        nyquist_hz=file.true_rate / 2,
        duration_s=round(file.header.samples / file.true_rate, 6),
        first_instance=placed.first_instance,
        instances=placed.instances,
        frames=placed.frames,
        dead_bands=dead_bands(front_end.config, file.true_rate),
        energy_below=below,
        energy_above=above,
        overscale=energy.overscale(recording),
        channel_warning=energy.levels[recording].warning,
        constant=int(energy.levels[recording].is_constant),
        failure=failure,
    )
