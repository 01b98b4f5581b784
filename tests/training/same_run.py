"""Runs stopped on the way, and runs compared number by number."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from batcache.config.settings import Config
from batcache.manifest.manifest import Manifest
from batcache.model.checkpoint import load_checkpoint
from batcache.model.provenance import HeldOut
from batcache.progress import Progress
from batcache.training.events import Epoch, RunStarted
from batcache.training.loop import train
from batcache.training.runs import BEST, LAST
from tests.documents import read_lines
from tests.small_world import CPU, SmallWorld, tweak

TIMES = {"bags_per_s", "waited_s", "seconds"}
ONES = torch.ones(3)


def epochs_of(events: Sequence[object]) -> list[Epoch]:
    return [event for event in events if isinstance(event, Epoch)]


def metrics_of(run: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl`` without what a clock decided."""
    lines = read_lines(run / "logs" / "metrics.jsonl")
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def assert_equal(one: Any, other: Any, place: str = "") -> None:
    """Equal bit for bit, in nested mappings and lists too."""
    if isinstance(one, HeldOut):
        assert_equal(vars(one), vars(other), place)
    elif isinstance(one, Tensor):
        assert one.dtype == other.dtype and one.shape == other.shape, place
        assert torch.allclose(one, other, rtol=0, atol=0, equal_nan=True), place
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype, place
        np.testing.assert_array_equal(one, other, place)
    elif isinstance(one, Mapping):
        assert one.keys() == other.keys(), place
        for key in one:
            assert_equal(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for i, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{place}.{i}")
    else:
        assert one == other, place


def assert_same_run(one: Path, other: Path) -> None:
    assert metrics_of(one) == metrics_of(other)
    for name in (LAST, BEST):
        assert_equal(vars(load_checkpoint(one / name)), vars(load_checkpoint(other / name)), str(name))


def stop_after(config: Config, small: SmallWorld, manifest: Manifest, runs: Path, epochs: int) -> Path:
    """A run in ``runs`` that was stopped after so many epochs, 0 for right at its start."""
    stopped: list[Path] = []

    def listen(progress: Progress) -> None:
        if isinstance(progress.result, RunStarted):
            stopped.append(progress.result.run)
        done = progress.result.epoch if isinstance(progress.result, Epoch) else 0
        if done == epochs:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tweak(config, training={"run_dir": runs}), small.store, manifest, CPU, on_progress=listen)
    return stopped[0]
