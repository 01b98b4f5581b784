"""A checkpoint written as an ONNX file: samples of a recording in, scores out, at one rate and of any length.

The graph is that of ``recording``. It calls the file's functions (domain ``batcache``), of which ``predict`` needs each
but the first by itself:

magnitudes   samples ``[B, (frames - 1) * hop + size]`` in 16-bit steps -> ``[B, frames, bins]``; alone knows the rate
start        magnitudes of the first half second, or of more -> the smoother's level ``[B, bands]``
compress     magnitudes, level -> features ``[B, frames, bands]``, with dead bands as they come; the last level
embed        instances ``[K, frames, bands]`` -> embeddings ``[K, feature_dim]`` and, of a model with a kernel, what its
             regressions say ``[K, 2 * C]`` and how strange each is ``[K, 1]``
score        these ``[B, N, …]`` -> logits ``[B, C]``, evidence ``[B, N, C]`` and, of a model that hears
             whether there is a bat at all, the logit of that, ``[B]``

What the file says of its model stands in its metadata, see ``facts``.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from onnx import ModelProto, checker, helper

from batcache.config.features import FeatureConfig
from batcache.config.settings import to_plain
from batcache.errors import ConfigError
from batcache.inference.onnx.facts import FORMAT_VERSION, KEY, pack_held_out
from batcache.inference.onnx.file import SEAL, digest_of
from batcache.inference.onnx.front_end import FrontEndNodes
from batcache.inference.onnx.network import embed, score
from batcache.inference.onnx.nodes import DOMAIN, IR_VERSION, OPSET, make_function
from batcache.inference.onnx.recording import Parts, RecordingGraph
from batcache.inference.torch_model import CheckpointFile
from batcache.model.checkpoint import Checkpoint
from batcache.model.crnn import BatMILModel
from batcache.model.summary import SEALED, summarise_model
from batcache.storage.disk import write_file
from batcache.storage.sealed import seal_binary

RATE = 384_000
_WEIGHTS = ("weights", "trainer", "held_out")


@dataclass(frozen=True)
class ExportedModel:
    """A file that was written, for recordings of ``rate`` in Hz, and its size in bytes."""

    target: Path
    rate: int
    size: int


def export_model(model: CheckpointFile, target: Path, true_rate: int = RATE) -> ExportedModel:
    """Write a checkpoint as an ONNX file, or leave what was there.

    Raises:
        ConfigError: a rate at which windows are no whole numbers of samples.
        RunError: features that are not computed any more.
        OSError: the disk refuses.
    """
    content = seal_binary(make_onnx(model, true_rate).SerializeToString(), SEAL)
    write_file(target, content)
    return ExportedModel(target, true_rate, len(content))


def make_onnx(model: CheckpointFile, true_rate: int = RATE) -> ModelProto:
    """The model for recordings of a true rate. Raises as ``export_model`` does."""
    checkpoint = model.checkpoint
    model.require_present_front_end()
    _require_rate(checkpoint.features, true_rate)
    front_end = FrontEndNodes(checkpoint.features, true_rate)
    parts = _write_functions(front_end, checkpoint)
    about = checkpoint.features, true_rate, checkpoint.frames_per_instance, checkpoint.is_taught
    graph = RecordingGraph(*about, parts).build()
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    functions = list(vars(parts).values())
    made = helper.make_model(
        graph, functions=functions, opset_imports=opsets, ir_version=IR_VERSION, producer_name="batcache"
    )
    document = {
        "format_version": FORMAT_VERSION,
        "rate": true_rate,
        "bins": front_end.bins,
        "checkpoint": _describe(checkpoint),
        "summary": summarise_model(model.path, checkpoint)
        | {"kind": f"ONNX file for recordings of {true_rate:,} Hz", "checked by": SEALED},
        "digest": digest_of(made),
    }
    helper.set_model_props(made, {KEY: json.dumps(document, allow_nan=False)})
    checker.check_model(made, full_check=True)
    return made


def _require_rate(features: FeatureConfig, true_rate: int) -> None:
    if true_rate < 2 * features.fmin or features.stft_window(true_rate).rate != true_rate:
        window_ms = features.n_fft / features.target_sample_rate * 1e3
        finding = f"{true_rate:,} Hz, at which windows of {window_ms:g} ms are no whole number of samples"
        if true_rate < 2 * features.fmin:
            finding = f"{true_rate:,} Hz, below 2 x fmin = {2 * features.fmin:,.0f} Hz"
        raise ConfigError("--rate", finding, f"Pass another, such as {features.target_sample_rate}")


def _write_functions(front_end: FrontEndNodes, checkpoint: Checkpoint) -> Parts:
    network = checkpoint.restore(torch.device("cpu"))
    said = ["logits", "evidence", *(["bat"] if checkpoint.hears_bats else [])]
    trunk = network.crnn if isinstance(network, BatMILModel) else network.trunk
    kernel = None if isinstance(network, BatMILModel) else network.heads.kernel
    held = ["embeddings", *([] if kernel is None else ["regressed", "strangeness"])]
    return Parts(
        make_function("magnitudes", ["samples"], ["magnitudes"], front_end.magnitudes),
        make_function("start", ["magnitudes"], ["level"], front_end.start),
        make_function("compress", ["magnitudes", "level"], ["features", "last_level"], front_end.compress),
        make_function("embed", ["instances"], held, lambda nodes, given: embed(nodes, given, trunk, kernel)),
        make_function("score", held, said, lambda nodes, *given: score(nodes, given, network)),
    )


def _describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a checkpoint says of itself, as JSON takes it."""
    plain = {name: to_plain(value) for name, value in vars(checkpoint).items() if name not in _WEIGHTS}
    return plain | {"held_out": checkpoint.held_out and pack_held_out(checkpoint.held_out)}
