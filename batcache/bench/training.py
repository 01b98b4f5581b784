"""How much of a training's time goes to the network, and how much to waiting for data. The real training code runs."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from msgspec import structs

from batcache.bench.recordings import Sample
from batcache.bench.rows import Mark, Row
from batcache.config.load import load_config
from batcache.config.settings import AugmentationConfig, Config, ConvLayer, ModelConfig, TrainingConfig
from batcache.progress import Progress
from batcache.store.reader import Store
from batcache.training import loop
from batcache.training.events import Epoch, RunStarted

WAITING_MARK = Mark("ours", "<", 3.0)
SMALL = ModelConfig(
    pooling_type="max",
    conv_layers=(ConvLayer(16, (7, 5), (4, 2), (3, 2)), ConvLayer(32), ConvLayer(64)),
    rnn_hidden_size=96,
    rnn_layers=2,
    dropout=0.1,
)
"""A model of which two CPU cores train an epoch in seconds."""
FULL = load_config(flags={"model": {"init": "none"}}).model
NAMES = {SMALL: "small model (16-32-64)", FULL: "full model (64-128-256)"}


@dataclass(frozen=True)
class Measured:
    """Medians over the epochs after the first. ``busy`` is the share of time in which a GPU computes."""

    bags_per_s: float
    waiting: float
    busy: float | None


def measure_training(
    sample: Sample, store: Path, config: Config, model: ModelConfig, device: str, folder: Path, epochs: int
) -> Iterator[Row]:
    """Yield rows of a training of ``epochs`` epochs, after one to warm up, on all clips of the sample."""
    measured = train_briefly(sample, Store(store), config, model, torch.device(device), folder, epochs)
    section, name = f"training on {device}", NAMES[model]
    mark = WAITING_MARK if model == SMALL and device == "cpu" else None
    yield Row(section, name, measured.bags_per_s, "bags/s")
    yield Row(section, f"{name}: waiting for data", 100 * measured.waiting, "% of a step", better="less", mark=mark)
    if measured.busy is not None:
        yield Row(section, f"{name}: GPU computing", 100 * measured.busy, "% of a step")


def train_briefly(
    sample: Sample, store: Store, config: Config, model: ModelConfig, device: torch.device, folder: Path, epochs: int
) -> Measured:
    """Train for ``epochs + 1`` epochs in a folder that is removed afterwards; measure all but the first.

    Every batch is read from the store: bags that stay in a GPU's memory would leave nothing to wait for. Every other
    clip is labelled 0, as labels decide no speed, and those of one kind alone would not be trained on.
    """
    clips = (structs.replace(clip, labels=(i % 2,) * len(clip.labels)) for i, clip in enumerate(sample.manifest.clips))
    manifest = replace(sample.manifest, clips=tuple(clips))
    settings = TrainingConfig(
        epochs=epochs + 1,
        patience=epochs + 1,
        scheduler="none",
        keep_on_gpu="off",
        batch_size=config.training.clips_a_batch(len(sample)),
        workers=config.training.workers,
        run_dir=folder / "runs",
    )
    quiet = AugmentationConfig(time_masking=False, freq_masking=False, noise_injection=False)
    config = replace(config, model=model, training=settings, augmentation=quiet, wandb=Config().wandb)
    results: list[object] = []
    busy = _GpuShare() if device.type == "cuda" else None

    def follow(progress: Progress) -> None:
        results.append(progress.result)
        if progress.stage == "epoch 2" and busy:
            busy.observe(progress)

    try:
        loop.train(config, store, manifest, device, on_progress=follow)
    finally:
        shutil.rmtree(folder / "runs", ignore_errors=True)
    (trained,) = (found.train_clips for found in results if isinstance(found, RunStarted))
    measured = [found for found in results if isinstance(found, Epoch)][1:]
    waiting = median(epoch.waited_s * epoch.bags_per_s / trained for epoch in measured)
    return Measured(median(epoch.bags_per_s for epoch in measured), waiting, busy.share if busy else None)


class _GpuShare:
    """The share of an epoch, from its first step to its last, in which kernels run, as torch's profiler sees it.

    None where the epoch has one step: there is nothing from its first to its last.
    """

    def __init__(self) -> None:
        self.share: float | None = None
        self._began = 0.0
        self._profiler: Any = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA], acc_events=True)

    def observe(self, step: Progress) -> None:
        if step.total == 1:
            return
        if step.done == 1:
            torch.cuda.synchronize()
            self._profiler.start()
            self._began = time.perf_counter()
        elif step.done == step.total:
            torch.cuda.synchronize()
            seconds = time.perf_counter() - self._began
            self._profiler.stop()
            kernels = sum(event.self_device_time_total for event in self._profiler.key_averages())  # microseconds
            self.share = kernels / 1e6 / seconds
