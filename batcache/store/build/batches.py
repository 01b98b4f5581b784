"""Recordings to frames on a GPU: threads decode, and recordings of equal length and rate go through together."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from batcache.config.features import FeatureConfig
from batcache.errors import AudioError
from batcache.features.audio import read_blocks
from batcache.features.energy import BandEnergy
from batcache.features.frontend import FrontEnd
from batcache.store.build.compute import Computed, changed, row_of
from batcache.store.build.plan import Placed

_SAMPLES_A_BATCH = 2**26  # thirty-four clips of 5 s at 384 kHz; their spectra take three gigabytes of a GPU
_DECODE_BLOCK = 2**20  # samples


@dataclass(frozen=True)
class _Batch:
    """Recordings of equal length and rate that are being decoded into the rows of ``samples``."""

    recordings: list[Placed]
    samples: Tensor
    energy: BandEnergy
    failures: list[Future[str]]


def compute_in_batches(
    recordings: Iterable[Placed], data_dir: Path, front_end: FrontEnd, pool: ThreadPoolExecutor
) -> Iterator[Computed]:
    """Yield recordings in order, each held whole; ``pool`` decodes the next ones while a batch is computed."""
    decoding: deque[_Batch] = deque()
    for alike in _batches(recordings):
        decoding.append(_begin_decoding(alike, data_dir, front_end.config, pool))
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


def _begin_decoding(batch: list[Placed], data_dir: Path, config: FeatureConfig, pool: ThreadPoolExecutor) -> _Batch:
    header, energy = batch[0].file.header, BandEnergy(config, len(batch))
    dtype = torch.int16 if header.subtype == "PCM_16" else torch.float32
    samples = torch.empty(len(batch), header.samples, dtype=dtype, pin_memory=True)

    def decode(row: int) -> str:
        done, file = 0, batch[row].file
        try:
            for block in read_blocks(data_dir / file.path, file.header, _DECODE_BLOCK, energy.levels[row]):
                samples.numpy()[row, done : done + len(block)] = block
                done += len(block)
        except AudioError as error:
            samples[row] = 0
            return error.reason
        return changed(data_dir, batch[row])

    return _Batch(batch, samples, energy, [pool.submit(decode, row) for row in range(len(batch))])


def _compute_batch(batch: _Batch, front_end: FrontEnd) -> Iterator[Computed]:
    failures = [failure.result() for failure in batch.failures]
    energy, rate = batch.energy, batch.recordings[0].file.true_rate
    step = front_end.block_samples(rate)
    blocks = list(front_end.stream_batch(torch.split(batch.samples, step, 1), rate, energy))
    if not blocks:
        blocks = [torch.zeros(len(failures), 0, front_end.config.n_mels)]
    on_device = torch.cat(blocks, 1)
    frames = torch.empty(on_device.shape, dtype=on_device.dtype, pin_memory=True).copy_(on_device).numpy()
    for i, (placed, failure) in enumerate(zip(batch.recordings, failures, strict=True)):
        row = row_of(placed, front_end, energy, i, failure)
        yield Computed(iter([] if failure else [frames[i]]), row)
