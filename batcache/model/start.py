"""A model before it has learnt anything: from chance, or on the trunk that ``model.init`` names."""

import hashlib
from pathlib import Path

import torch

from batcache.config.features import FeatureConfig, digest
from batcache.config.settings import ModelConfig, to_plain
from batcache.errors import ConfigError
from batcache.model.checkpoint import FORMAT as CHECKPOINT
from batcache.model.checkpoint import Checkpoint, Model, load_checkpoint
from batcache.model.crnn import BatMILModel
from batcache.model.pretrained import SIMULATED, Pretrained, PretrainedMILModel, load_pretrained, pick_trunk
from batcache.model.trunk import TrunkConfig

BEST = Path("checkpoints") / "best_model.pt"
"""Where a run keeps its model."""


def start_model(config: ModelConfig, features: FeatureConfig, num_classes: int) -> tuple[Model, TrunkConfig | None]:
    """A model with weights from torch's generator, but for the trunk's, and what it stands on.

    Raises:
        ConfigError: layers of its own beside a trunk's; features that the trunk cannot read.
        RunError: no trunk there.
    """
    if not config.starts_from_trunk:
        return BatMILModel(config, features.n_mels, num_classes), None
    if config.conv_layers is not None:
        finding = f"given beside init: {config.init}, whose trunk has layers of its own"
        raise ConfigError("model.conv_layers", finding, "Leave them out, or write init: none")
    trunk = find_trunk(config.init)
    model = PretrainedMILModel(config, trunk.config, features, num_classes)
    model.trunk.load_state_dict(dict(trunk.weights))
    return model, trunk.config


def find_trunk(init: str | Path) -> Pretrained:
    """The trunk that ``model.init`` names: the one that ships, or that of a trunk's file, a checkpoint or a run.

    Raises:
        RunError: missing, damaged, or of another kind.
    """
    if init in ("auto", "simulated"):
        return load_pretrained(SIMULATED)
    path = Path(init) / BEST if Path(init).is_dir() else Path(init)
    return extract_trunk(load_checkpoint(path)) if _is_checkpoint(path) else load_pretrained(path)


def describe_trunk(init: str | Path) -> str:
    """Digest of a trunk's layers, features and weights.

    Raises:
        RunError: see ``find_trunk``.
    """
    trunk = find_trunk(init)
    config = trunk.config
    layers = [to_plain(layer) for layer in config.conv_layers]
    text = hashlib.sha256(digest([layers, config.feature_dim, config.features.to_record()]).encode())
    for name, value in sorted(trunk.weights.items()):
        text.update(name.encode() + value.numpy().tobytes())
    return text.hexdigest()


def extract_trunk(checkpoint: Checkpoint, made: str = "") -> Pretrained:
    """The trunk of a trained model."""
    trunk, features = checkpoint.trunk, checkpoint.features
    if trunk is None:
        layers = checkpoint.model.conv_layers or ()
        trunk = TrunkConfig(layers, 2 * checkpoint.model.rnn_hidden_size, features)
    return Pretrained(trunk, pick_trunk(checkpoint.weights), made)


def _is_checkpoint(path: Path) -> bool:
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # told by whoever reads it next
        return False
    return isinstance(document, dict) and document.get("format") == CHECKPOINT
