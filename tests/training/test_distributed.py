"""Two processes that train one model, over gloo, beside one process that trains the same."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml
from torch import nn

from batcache.config.load import load_config
from batcache.config.settings import AugmentationConfig
from batcache.model.checkpoint import load_checkpoint
from batcache.training import optimiser
from batcache.training.batch_norm import SharedBatchNorm2d
from batcache.training.clips.augment import augment
from batcache.training.clips.shares import find_span
from batcache.training.loop import resume
from batcache.training.runs import LAST, read_run
from tests.documents import read_lines
from tests.small_world import CPU, SETTINGS, SmallWorld, train_fully, tweak

LIMIT_S = 240
"""After which whatever runs here is ended: nothing waits for ever."""
FLOAT32 = """import batcache.training.optimiser as optimiser
from batcache.cli.main import main
optimiser._half_precision = lambda device: None
main()
"""
"""The command line in float32, also on processors that are fast at bfloat16, whose rounding would hide what differs."""
CLOSE = {"rel": 1e-3}
"""On a CPU torch sums BatchNorm's variance in float32, one number after the other: 1e-4 of it is lost, as a sum in
float64 shows. What ranks put together has not lost it, and Adam makes much of small gradients."""


@contextmanager
def started(processes: int, *arguments: object, cwd: Path, float32: bool = False) -> Iterator["subprocess.Popen[str]"]:
    """``batcache train`` by so many processes, which end with the block."""
    (cwd / "float32.py").write_text(FLOAT32)
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    program = ["float32.py"] if float32 else ["-m", "batcache"]
    command = [sys.executable, *(torchrun if processes > 1 else []), *program, "train", *arguments]
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONUTF8": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    options = {"cwd": cwd, "env": environment, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*map(str, command)], **options) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            for left in (*children_of(process), psutil.Process(process.pid)) if process.poll() is None else ():
                left.kill()


def children_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def train(processes: int, *arguments: object, cwd: Path) -> tuple[str, str]:
    """What the training said on stdout and on stderr, which lasts no longer than the limit."""
    with started(processes, *arguments, cwd=cwd, float32=True) as process:
        out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, err
    return out, err


@pytest.fixture
def world(small: SmallWorld, tmp_path: Path) -> Path:
    """A folder with ``small.yaml``, by whose settings a batch is of one clip alone, which one of two ranks has."""
    chosen: dict[str, dict[str, Any]] = {**SETTINGS, "training": {**SETTINGS["training"], "batch_size": 11}}
    chosen["data"] = {
        **SETTINGS["data"],
        "cache": str(small.store.path),
        "train_csv": str(small.folder / "manifest.csv"),
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(chosen))
    return tmp_path


def run_in(folder: Path) -> Path:
    (run,) = folder.iterdir()
    return run


def assert_close(one: Path, other: Path, epochs: int) -> None:
    """Losses, figures and statistics of two runs, but for rounding."""
    lines, others = (read_lines(run / "logs" / "metrics.jsonl") for run in (one, other))
    assert len(lines) == len(others) == epochs
    for line, beside in zip(lines, others, strict=True):
        for name in ("train_loss", "val_loss", "val_macro_ap", "learning_rate"):
            assert line[name] == pytest.approx(beside[name], **CLOSE), f"epoch {line['epoch']}: {name}"
        assert line["grad_norm"] == pytest.approx(beside["grad_norm"], rel=0.01)
        assert line["improved"] == beside["improved"]
    kept, beside = (load_checkpoint(run / LAST) for run in (one, other))
    for name, value in kept.weights.items():
        if "running" in name:
            torch.testing.assert_close(value, beside.weights[name], rtol=5e-3, atol=5e-3)
    assert kept.held_out is not None and beside.held_out is not None
    np.testing.assert_array_equal(kept.held_out.labels, beside.held_out.labels)
    np.testing.assert_allclose(kept.held_out.logits, beside.held_out.logits, rtol=0.01, atol=0.01)


# Two processes and one


@pytest.mark.slow
def test_what_one_process_trains_two_do_too_and_each_goes_on_with_what_the_other_began(
    world: Path, small: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, augmentation and species whose labels weigh more; some labels are unknown."""
    monkeypatch.setattr(optimiser, "_half_precision", lambda device: None)
    config = load_config(world / "small.yaml")
    assert config.model.dropout and config.augmentation == AugmentationConfig()
    whole, _ = train_fully(tweak(config, training={"epochs": 4}), small.store, small.manifest, world / "whole")

    out, err = train(2, "--config", "small.yaml", "--epochs", 2, "--run-dir", "two", cwd=world)
    assert [line.split()[1] for line in out.splitlines() if line.startswith("epoch ")] == ["1", "2"], "told once"
    assert len([line for line in err.splitlines() if line.startswith("note: ")]) == 1
    run = run_in(world / "two")
    resume(run, small.store, small.manifest, CPU, epochs=4)
    assert_close(whole, run, epochs=4)

    run, _ = train_fully(config, small.store, small.manifest, world / "one")
    train(2, "--resume", run, "--epochs", 4, cwd=world)
    assert_close(whole, run, epochs=4)
    assert read_run(run)["finished"] is True


@pytest.mark.slow
def test_a_trunk_that_learns_is_the_same_to_float32s_rounding(
    world: Path, small: SmallWorld, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No BatchNorm takes statistics of batches there: what remains is the order of sums."""
    monkeypatch.setattr(optimiser, "_half_precision", lambda device: None)
    settings = yaml.safe_load((world / "small.yaml").read_text())
    settings["model"] = {"init": str(trained), "train": "all", "heads": 2, "head_size": 8, "rnn_hidden_size": 4}
    (world / "all.yaml").write_text(yaml.safe_dump(settings))
    one, _ = train_fully(load_config(world / "all.yaml"), small.store, small.manifest, world / "one")
    train(2, "--config", "all.yaml", "--run-dir", "two", cwd=world)
    kept, beside = (load_checkpoint(run / LAST).weights for run in (one, run_in(world / "two")))
    for name, value in kept.items():
        torch.testing.assert_close(beside[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["0", "1"])
def test_a_rank_that_is_killed_ends_all_with_one_line_that_goes_on(world: Path, killed: str) -> None:
    arguments = ("--config", "small.yaml", "--epochs", 9999, "--run-dir", "runs")
    with started(2, *arguments, cwd=world) as process:
        until(lambda: len(lines_of(world / "runs")) > 1, process)
        (rank,) = [child for child in children_of(process) if child.environ().get("RANK") == killed]
        rank.send_signal(signal.SIGKILL)
        _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode != 0
    found = [line for line in err.splitlines() if line.startswith(("stopped", "error"))]
    assert len(found) == 1, err
    (said,) = found
    assert "Traceback" not in err.split("torch/distributed")[0]
    run = run_in(world / "runs")
    kept = load_checkpoint(run / LAST).epoch
    (command,) = re.findall("`torchrun --nproc-per-node 2 -m batcache train (.*?)`", said)
    assert f"one of its 2 processes has ended, after epoch {kept}: " in said
    train(1, *command.split(), "--epochs", kept + 1, cwd=world)
    assert load_checkpoint(run / LAST).epoch == kept + 1


def lines_of(runs: Path) -> list[str]:
    return [line for log in runs.glob("*/logs/metrics.jsonl") for line in log.read_text().splitlines()]


def until(is_so: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    began = time.monotonic()
    while not is_so():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() - began < LIMIT_S
        time.sleep(0.1)


@pytest.mark.slow
def test_heads_on_a_frozen_trunk_are_trained_by_one_of_the_processes(world: Path, trained: Path) -> None:
    settings = yaml.safe_load((world / "small.yaml").read_text())
    settings["model"] = {"init": str(trained), "heads": 1, "head_size": 4, "rnn_hidden_size": 4}
    settings["training"]["simulated_sounds"] = 0
    (world / "heads.yaml").write_text(yaml.safe_dump(settings))
    for name, processes in (("one", 1), ("two", 2)):
        _, err = train(processes, "--config", "heads.yaml", "--run-dir", name, cwd=world)
    assert "note: heads on a frozen trunk are trained by one process, the other has nothing to do" in err
    one, two = (run_in(world / name) / "logs" / "metrics.jsonl" for name in ("one", "two"))
    assert [line["train_loss"] for line in read_lines(one)] == [line["train_loss"] for line in read_lines(two)]


@pytest.mark.slow
def test_what_every_process_meets_is_told_once(world: Path) -> None:
    with started(2, "--config", "small.yaml", "--csv", "nowhere.csv", cwd=world) as process:
        out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode != 0 and not out
    assert len([line for line in err.splitlines() if line.startswith("error: nowhere.csv")]) == 1


# Their parts


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_shared_statistics_of_one_process_are_those_of_batch_norm(memory: torch.memory_format) -> None:
    torch.manual_seed(0)
    x, norms = torch.randn(5, 3, 7, 4) * 2 + 1, (nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    shared, outcomes = SharedBatchNorm2d.of(norms[1]), []
    assert shared.weight is norms[1].weight and shared.state_dict().keys() == norms[1].state_dict().keys()
    for layer in (norms[0], shared):
        given = x.clone(memory_format=memory).requires_grad_()
        y = layer(given)
        (y * torch.linspace(0, 1, y.numel()).view_as(y)).sum().backward()
        outcomes.append((y, given.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var))
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_every_bag_of_a_batch_is_one_ranks_and_they_stand_in_order(ranks: int) -> None:
    for seed in range(20):
        counts = np.random.default_rng(seed).integers(1, 60, seed + 1).tolist()
        spans = [find_span(counts, rank, ranks) for rank in range(ranks)]
        assert [i for span in spans for i in range(len(counts))[span]] == list(range(len(counts)))
        heaviest = max(sum(counts[span]) for span in spans)
        assert heaviest <= sum(counts) / ranks + max(counts), "as even as whole bags allow"
    assert find_span([], 1, 2) == slice(0)


def test_a_part_of_a_batch_is_augmented_as_within_the_whole() -> None:
    features, config = torch.rand(7, 50, 16), AugmentationConfig(bandwidth_masking=0.5)
    whole = augment(features, config, torch.Generator().manual_seed(3))
    parts = [
        augment(features[part], config, torch.Generator().manual_seed(3), part.start, 7)
        for part in (slice(0, 3), slice(3, 3), slice(3, 7))
    ]
    assert torch.equal(torch.cat(parts), whole)
