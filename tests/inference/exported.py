"""Models whose every part has a say, written as ONNX files, and what torch and onnxruntime say by them."""

import csv
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from batcache.config.features import FeatureConfig
from batcache.config.settings import ModelConfig
from batcache.inference.onnx.export import make_onnx
from batcache.inference.predict import PredictReport
from batcache.inference.torch_model import CheckpointFile, open_checkpoint
from batcache.model.checkpoint import Checkpoint, save_checkpoint
from batcache.model.kernel import KernelHead, scale
from batcache.model.pretrained import PretrainedMILModel
from batcache.model.start import start_model

SPECIES = ("Low", "High", "Sweep")
CPU = torch.device("cpu")


def draw_model(
    path: Path, features: FeatureConfig | None = None, *, hears_bats: bool = True, **settings: Any
) -> CheckpointFile:
    """A model from chance, heads on the trunk that ships unless told otherwise. No weight in it is 0.

    A model with a trunk has a kernel beside its heads, and ``hears_bats`` unless told otherwise.
    """
    features, config = features or FeatureConfig(), ModelConfig(**settings)
    torch.manual_seed(0)
    start = start_model(config, features, SPECIES, hears_bats=hears_bats)
    for name, value in start.model.named_parameters():
        if "trunk." not in name:
            torch.nn.init.normal_(value, std=0.1)  # as large as a training leaves them
    if isinstance(start.model, PretrainedMILModel):
        start.model.heads.kernel = draw_kernel(start.model.trunk.feature_dim)
    weights = start.model.state_dict()
    frames = round(features.frames_per_second / 2)
    given = config, SPECIES, features, features.fingerprint, frames, 1, "train_loss", 0.5, weights
    save_checkpoint(path, Checkpoint(*given, trunk=start.trunk))
    return open_checkpoint(path)


def draw_kernel(feature_dim: int) -> KernelHead:
    """A kernel from chance, with another share for each species."""
    kernel = KernelHead(20, feature_dim, len(SPECIES))
    kernel.moments.copy_(scale(torch.rand(20, feature_dim)))
    kernel.widths.uniform_(0.2, 0.6)
    kernel.strangeness.uniform_(0.8, 0.9)  # some sounds are a little beyond 1
    kernel.weights.normal_()
    kernel.bias.normal_()
    kernel.share.copy_(torch.tensor([0.5, 0.25, 0.0]))
    return kernel


def open_graph(model: CheckpointFile, rate: int) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(make_onnx(model, rate).SerializeToString())


def judge_by_graph(session: onnxruntime.InferenceSession, path: Path) -> list[NDArray[np.float32]]:
    """Scores, logits, evidence and, where the model hears it, the score of a bat, as another program would get them."""
    samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
    made: list[NDArray[np.float32]] = session.run(None, {"samples": samples[None, :, 0]})
    return made


def say_by_torch(model: CheckpointFile, instances: Sequence[NDArray[np.float16]]) -> list[NDArray[np.float32]]:
    """Logits, evidence and, where the model hears it, the logit of a bat; the bag's instances may come in pieces."""
    network = model.checkpoint.restore(CPU)
    output = network.score_pieces([torch.from_numpy(piece).float() for piece in instances])
    bat = [] if output.bat_logits is None else [output.bat_logits.numpy()]
    return [output.bag_logits.numpy(), output.evidence.numpy(), *bat]


def read_cells(path: Path) -> list[dict[str, str | float]]:
    """The rows of a table but for the model's name; what can be is a number."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{k: to_cell(v) for k, v in row.items() if k != "model"} for row in csv.DictReader(file)]


def to_cell(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def assert_alike(made: PredictReport, expected: PredictReport) -> None:
    """Both tables, numbers within 1e-4, and the arrays."""
    for name in ("table_file", "thresholds_file"):
        pairs = zip(read_cells(getattr(made, name)), read_cells(getattr(expected, name)), strict=True)
        for row, there in pairs:
            assert row == {
                key: pytest.approx(cell, rel=0, abs=1e-4, nan_ok=True) if isinstance(cell, float) else cell
                for key, cell in there.items()
            }
    for name, array in vars(made.predictions).items():
        there = vars(expected.predictions)[name]
        if array.dtype.kind == "f":  # evidence is kept in half precision
            np.testing.assert_allclose(array, there, rtol=0, atol=1e-3 if name == "evidence" else 1e-4)
        else:
            np.testing.assert_array_equal(array, there)


WITHOUT = """
import sys
sys.modules.update(dict.fromkeys({blocked}))
from batcache.cli.main import main
sys.argv = ["batcache", *{arguments}]
try:
    main()
finally:
    print("there:", *[name for name in ("torch", "torchaudio", "nnAudio", "zarr.codecs") if sys.modules.get(name)])
"""


def run_without(blocked: tuple[str, ...], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command where these modules cannot be imported."""
    code = WITHOUT.format(blocked=blocked, arguments=list(arguments))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


TORCH = ("torch", "torchaudio", "nnAudio")
