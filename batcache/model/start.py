"""A model before its training: from chance, on the trunk that ``model.init`` names, or where an earlier model stood."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batcache.config.features import FeatureConfig, digest
from batcache.config.settings import BEST_MODEL, ModelConfig, to_plain
from batcache.errors import ConfigError
from batcache.model.checkpoint import FORMAT as CHECKPOINT
from batcache.model.checkpoint import Checkpoint, Model, parse_checkpoint
from batcache.model.crnn import BatMILModel
from batcache.model.pretrained import (
    SIMULATED,
    Pretrained,
    PretrainedMILModel,
    load_pretrained,
    parse_pretrained,
    pick_trunk,
)
from batcache.model.torch_file import read_torch
from batcache.model.transfer import Transfer, plan_transfer
from batcache.model.trunk import TrunkConfig
from batcache.storage.listing import is_folder


@dataclass(frozen=True)
class Start:
    """A model before its training.

    Attributes:
        model: with weights from torch's generator, but for those that are taken from elsewhere.
        trunk: what it stands on; None where it starts from chance.
        transfer: what it takes of an earlier model; None where it starts from chance, or from a trunk's file.
        digest: of all that is taken; None where it starts from chance.
    """

    model: Model
    trunk: TrunkConfig | None = None
    transfer: Transfer | None = None
    digest: str | None = None

    @property
    def kept(self) -> tuple[str, ...]:
        """The species whose heads are taken from an earlier model."""
        return self.transfer.kept if self.transfer else ()


def start_model(
    config: ModelConfig, features: FeatureConfig, species: Sequence[str], *, hears_bats: bool = False
) -> Start:
    """Make the model that ``model.init`` asks for: from chance, on a trunk, or from where an earlier model stood.

    On a trunk it ``hears_bats`` if asked to: says whether there is a bat at all.

    Raises:
        ConfigError: layers of its own beside a trunk's; features that the trunk cannot read.
        RunError: no trunk there.
    """
    if not config.starts_from_trunk:
        return Start(BatMILModel(config, features.n_mels, len(species)))
    if config.conv_layers is not None:
        finding = f"given beside init: {config.init}, whose trunk has layers of its own"
        raise ConfigError("model.conv_layers", finding, "Leave them out, or write init: none")
    trunk, transfer = _find_start(config, species)
    centres = transfer.centres if transfer else 0
    about = config, trunk.config, features, len(species)
    model = PretrainedMILModel(*about, hears_bats=hears_bats, centres=centres)
    model.trunk.load_state_dict(dict(trunk.weights))
    if transfer is not None:
        transfer.load_into(model.heads)
    return Start(model, trunk.config, transfer, digest_start(trunk, transfer))


def describe_start(config: ModelConfig, species: Sequence[str]) -> str:
    """Digest of what ``start_model`` takes from elsewhere: the trunk's layers, features and weights, and taken heads.

    Raises:
        RunError: no trunk there.
    """
    return digest_start(*_find_start(config, species))


def find_trunk(init: str | Path) -> Pretrained:
    """The trunk that ``model.init`` names: the one that ships, or that of a trunk's file, a checkpoint or a run.

    Raises:
        RunError: missing, damaged, or of another kind.
    """
    found = load_source(init)
    return extract_trunk(found) if isinstance(found, Checkpoint) else found


def extract_trunk(checkpoint: Checkpoint, made: str = "") -> Pretrained:
    """The trunk of a trained model."""
    trunk, features = checkpoint.trunk, checkpoint.features
    if trunk is None:
        layers = checkpoint.model.conv_layers or ()
        trunk = TrunkConfig(layers, 2 * checkpoint.model.rnn_hidden_size, features)
    return Pretrained(trunk, pick_trunk(checkpoint.weights), made)


def _find_start(config: ModelConfig, species: Sequence[str]) -> tuple[Pretrained, Transfer | None]:
    found = load_source(config.init)
    if isinstance(found, Pretrained):
        return found, None
    return extract_trunk(found), plan_transfer(found, config, species)


def load_source(init: str | Path) -> Pretrained | Checkpoint:
    """What ``model.init`` names: a trunk's file, or a checkpoint, which of a run is its best.

    Raises:
        RunError: missing, damaged, or of another kind.
    """
    if init in ("auto", "simulated"):
        return load_pretrained(SIMULATED)
    path = Path(init) / BEST_MODEL if is_folder(Path(init)) else Path(init)
    try:
        document, _ = read_torch(path)
    except (OSError, ValueError):
        return load_pretrained(path)  # which says what is wrong
    return (
        parse_checkpoint(path, document) if document.get("format") == CHECKPOINT else parse_pretrained(path, document)
    )


def digest_start(trunk: Pretrained, transfer: Transfer | None = None) -> str:
    """Digest of a trunk's layers, features and weights, and of the heads that are taken with it."""
    config = trunk.config
    layers = [to_plain(layer) for layer in config.conv_layers]
    text = hashlib.sha256(digest([layers, config.feature_dim, config.features.to_record()]).encode())
    taken = dict(trunk.weights)
    if transfer is not None and transfer.takes_heads:
        text.update(repr(transfer.kept).encode())
        taken |= {f"heads.{name}": value for name, value in (transfer.whole | transfer.rows).items()}
    for name, value in sorted(taken.items()):
        text.update(name.encode() + value.numpy().tobytes())
    return text.hexdigest()
