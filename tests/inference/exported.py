"""Models whose every part has a say, written as ONNX files, and what torch and onnxruntime say by them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import soundfile
import torch
from numpy.typing import NDArray

from batcache.config.features import FeatureConfig
from batcache.config.settings import ModelConfig
from batcache.inference.onnx.export import make_onnx
from batcache.inference.torch_model import CheckpointFile, open_checkpoint
from batcache.model.checkpoint import Checkpoint, save_checkpoint
from batcache.model.start import start_model

SPECIES = ("Low", "High", "Sweep")
CPU = torch.device("cpu")


def draw_model(
    path: Path, features: FeatureConfig | None = None, *, hears_bats: bool = True, **settings: Any
) -> CheckpointFile:
    """A model from chance, heads on the trunk that ships unless told otherwise. No weight in it is 0.

    A model with a trunk ``hears_bats`` unless told otherwise.
    """
    features, config = features or FeatureConfig(), ModelConfig(**settings)
    torch.manual_seed(0)
    start = start_model(config, features, SPECIES, hears_bats=hears_bats)
    for name, value in start.model.named_parameters():
        if "trunk." not in name:
            torch.nn.init.normal_(value, std=0.1)  # as large as a training leaves them
    weights = start.model.state_dict()
    frames = round(features.frames_per_second / 2)
    given = config, SPECIES, features, features.fingerprint, frames, 1, "train_loss", 0.5, weights
    save_checkpoint(path, Checkpoint(*given, trunk=start.trunk))
    return open_checkpoint(path)


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
