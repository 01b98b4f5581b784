"""Recordings to frames: in order, and ahead of whoever takes them.

On a CPU every thread takes a recording through the whole front end. For a GPU the threads decode, and recordings of
equal length and rate go through the front end together.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batcache.errors import AudioError
from batcache.features.audio import read_blocks
from batcache.features.frontend import FrontEnd
from batcache.features.mel import BandEnergy, dead_bands
from batcache.storage.ahead import map_ahead
from batcache.store.build.plan import Placed
from batcache.store.build.scan import columns_of
from batcache.store.format.commit import CachedRecording

Frames = NDArray[np.float16]
_SAMPLES_A_BATCH = 2**26  # thirty-four clips of 5 s at 384 kHz; their spectra take three gigabytes of a GPU
_DECODE_BLOCK = 2**20  # samples


@dataclass
class Computed:
    """A recording's frames, to be taken once; then, and only then, ``row`` is what the index says of it."""

    frames: Iterator[Frames]
    row: CachedRecording | None = None


def compute(
    recordings: Iterable[Placed], data_dir: Path, front_end: FrontEnd, workers: int
) -> Generator[Computed, None, None]:
    """Yield recordings in order, each held whole; ``workers`` threads work ahead, on at most two recordings each."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)))
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        if front_end.device.type == "cuda":
            yield from _compute_in_batches(recordings, data_dir, front_end, pool)
        else:
            yield from map_ahead(pool, lambda placed: _whole(placed, data_dir, front_end), recordings, 2 * workers)


def stream(placed: Placed, data_dir: Path, front_end: FrontEnd) -> Computed:
    """One recording, computed while its frames are taken, so that it is never held whole."""
    computed = Computed(iter(()))
    computed.frames = _stream(computed, placed, data_dir, front_end)
    return computed


def _whole(placed: Placed, data_dir: Path, front_end: FrontEnd) -> Computed:
    computed = stream(placed, data_dir, front_end)
    blocks = list(computed.frames)
    failed = computed.row is not None and computed.row.failure
    return Computed(iter([np.concatenate(blocks)] if blocks and not failed else []), computed.row)


def _stream(computed: Computed, placed: Placed, data_dir: Path, front_end: FrontEnd) -> Iterator[Frames]:
    energy, failure = BandEnergy(front_end.config), ""
    file = placed.file
    try:
        yield from front_end.stream(data_dir / file.path, file.header, file.true_rate, energy)
    except AudioError as error:
        failure = error.reason
    failure = failure or _changed(data_dir, placed)
    computed.row = _row(placed, front_end, energy, 0, failure)


@dataclass(frozen=True)
class _Batch:
    """Recordings of equal length and rate that are being decoded into the rows of ``samples``."""

    recordings: list[Placed]
    samples: Tensor
    failures: list[Future[str]]


def _compute_in_batches(
    recordings: Iterable[Placed], data_dir: Path, front_end: FrontEnd, pool: ThreadPoolExecutor
) -> Iterator[Computed]:
    decoding: deque[_Batch] = deque()
    for alike in _batches(recordings):
        decoding.append(_begin_decoding(alike, data_dir, pool))
        if len(decoding) > 2:
            yield from _compute_batch(decoding.popleft(), front_end)
    while decoding:
        yield from _compute_batch(decoding.popleft(), front_end)


def _batches(recordings: Iterable[Placed]) -> Iterator[list[Placed]]:
    """Cut into runs of equal length, rate and sample type, none of more samples than a GPU takes at a time."""
    for (_, samples, _), alike in groupby(recordings, key=_kind):
        most, batch = max(1, _SAMPLES_A_BATCH // samples), []
        for placed in alike:
            batch.append(placed)
            if len(batch) == most:
                yield batch
                batch = []
        if batch:
            yield batch


def _kind(placed: Placed) -> tuple[int, int, bool]:
    header = placed.file.header
    return placed.file.true_rate, header.samples, header.subtype == "PCM_16"


def _begin_decoding(batch: list[Placed], data_dir: Path, pool: ThreadPoolExecutor) -> _Batch:
    header = batch[0].file.header
    dtype = torch.int16 if header.subtype == "PCM_16" else torch.float32
    samples = torch.empty(len(batch), header.samples, dtype=dtype, pin_memory=True)

    def decode(row: int) -> str:
        done = 0
        try:
            for block in read_blocks(data_dir / batch[row].file.path, batch[row].file.header, _DECODE_BLOCK):
                samples.numpy()[row, done : done + len(block)] = block
                done += len(block)
        except AudioError as error:
            samples[row] = 0
            return error.reason
        return _changed(data_dir, batch[row])

    return _Batch(batch, samples, [pool.submit(decode, row) for row in range(len(batch))])


def _compute_batch(batch: _Batch, front_end: FrontEnd) -> Iterator[Computed]:
    failures = [failure.result() for failure in batch.failures]
    energy, rate = BandEnergy(front_end.config, len(batch.recordings)), batch.recordings[0].file.true_rate
    step = front_end.block_samples(rate)
    blocks = list(front_end.stream_batch(torch.split(batch.samples, step, 1), rate, energy))
    if not blocks:
        blocks = [torch.zeros(len(failures), 0, front_end.config.n_mels)]
    on_device = torch.cat(blocks, 1)
    frames = torch.empty(on_device.shape, dtype=on_device.dtype, pin_memory=True).copy_(on_device).numpy()
    for i, (placed, failure) in enumerate(zip(batch.recordings, failures, strict=True)):
        row = _row(placed, front_end, energy, i, failure)
        yield Computed(iter([] if failure else [frames[i]]), row)


def _changed(data_dir: Path, placed: Placed) -> str:
    """Why a recording that has just been read may not be the one that was looked at; empty if it is."""
    file = placed.file
    try:
        stat = (data_dir / file.path).stat()
    except OSError:
        return "gone while it was being read. Run it again."
    same = (stat.st_size, stat.st_mtime_ns) == (file.size, file.mtime_ns)
    return "" if same else "changed while it was being read. Run it again."


def _row(placed: Placed, front_end: FrontEnd, energy: BandEnergy, recording: int, failure: str) -> CachedRecording:
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
        failure=failure,
    )
