"""Checkpoints: a format number, tensors and plain types, nothing that could run code when loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from batcache.config.features import FeatureConfig
from batcache.config.renamed import rename_keys
from batcache.config.settings import ModelConfig, to_plain
from batcache.errors import BatcacheError, RunError, brief, list_some, shorten
from batcache.model.crnn import BatMILModel
from batcache.model.fit import require_fit
from batcache.model.pretrained import FORMAT as TRUNK
from batcache.model.pretrained import PretrainedMILModel
from batcache.model.provenance import HeldOut, TrainedOn
from batcache.model.torch_file import read_torch, write_torch
from batcache.model.trunk import TrunkConfig

Model = BatMILModel | PretrainedMILModel
"""Frames of bags to scores: trained from chance, or on a trunk that was taught elsewhere."""
FORMAT = "batcache-checkpoint"
FORMAT_VERSION = 1
_REMEDY = "Restore it from a copy, or train again"


@dataclass(frozen=True)
class Checkpoint:
    """A model and what it must be fed: bags of instances, cut from features of these settings.

    Attributes:
        model: the network's settings.
        species: what its scores are of, in their order.
        features: the settings of the features it was trained on.
        fingerprint: of these features: their settings and the front end that computed them.
        frames_per_instance: the length of its instances.
        epoch: after which it was written.
        metric: what ``score`` is: ``val_macro_ap``, ``val_loss`` or, without validation, ``train_loss``.
        score: of that epoch.
        weights: of the network.
        trainer: what only resuming needs.
        taught: the species whose training clips held both labels, or those of the model that it went on from; the
            scores of others mean nothing. None in files of earlier versions, which do not tell: then all count as
            taught.
        trunk: what the model stands on; None where it was trained from chance.
        trained_on: the clips that it was trained on; None in files of earlier versions, which do not tell.
        held_out: what was said of clips that had not been learnt from; None where there were none.
    """

    model: ModelConfig
    species: tuple[str, ...]
    features: FeatureConfig
    fingerprint: str
    frames_per_instance: int
    epoch: int
    metric: str
    score: float
    weights: Mapping[str, Tensor]
    trainer: Mapping[str, Any] = field(default_factory=dict)
    taught: tuple[str, ...] | None = None
    trunk: TrunkConfig | None = None
    trained_on: TrainedOn | None = None
    held_out: HeldOut | None = None

    @property
    def is_taught(self) -> tuple[bool, ...]:
        """Whether each species was taught, in their order."""
        return tuple(self.taught is None or name in self.taught for name in self.species)

    @property
    def hears_bats(self) -> bool:
        """Whether it says of each bag if there is a bat at all."""
        return any(name.startswith("heads.bats.") for name in self.weights)

    @property
    def centres(self) -> int:
        """How many known moments the kernel beside its heads compares with; 0 where there is none."""
        return len(self.weights.get("heads.kernel.moments", ()))

    @property
    def front_end_version(self) -> int | None:
        """Of the front end whose features it was trained on; None where it is not known here."""
        return self.features.find_version(self.fingerprint)

    def restore(self, device: torch.device) -> Model:
        """Return the model, in eval mode."""
        model = self.build()
        model.load_state_dict(dict(self.weights))
        return model.to(device).eval()

    def build(self) -> Model:
        """A model of these settings, with weights of its own."""
        if self.trunk is None:
            return BatMILModel(self.model, self.features.n_mels, len(self.species))
        about = self.model, self.trunk, self.features, len(self.species)
        return PretrainedMILModel(*about, hears_bats=self.hears_bats, centres=self.centres)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, or leave what was there."""
    of_tensors = ("weights", "trainer", "held_out")
    document = {name: to_plain(value) for name, value in vars(checkpoint).items() if name not in of_tensors}
    document |= {"weights": dict(checkpoint.weights), "trainer": dict(checkpoint.trainer)}
    document |= {"held_out": _held_out_as_tensors(checkpoint.held_out) if checkpoint.held_out else None}
    head = {"format": FORMAT, "format_version": FORMAT_VERSION}
    write_torch(path, {**head, **document})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises:
        RunError: missing, not a checkpoint, damaged, of another format version, or trained on features of another front
            end.
    """
    try:
        document, _ = read_torch(path)
    except FileNotFoundError:
        raise RunError(path, "no such checkpoint", "Pass --checkpoint, or train first") from None
    except OSError as error:
        raise RunError.of_disk(path, "not readable as a checkpoint", error, _REMEDY) from None
    except ValueError as error:
        raise RunError(path, f"not readable as a checkpoint ({brief(error)})", _REMEDY) from None
    return parse_checkpoint(path, document)


def parse_checkpoint(path: Path, document: dict[str, Any]) -> Checkpoint:
    """The checkpoint in what was read of ``path``. Raises as ``load_checkpoint``."""
    kind = document.pop("format", None)
    if kind == TRUNK:
        remedy = f"Train heads on it: `batcache train --init {path}`"
        raise RunError(path, "a trunk, which knows no species yet, not a model", remedy)
    if kind != FORMAT:
        raise RunError(path, "not a batcache checkpoint", _REMEDY)
    version = document.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise RunError(
            path, f"format version {shorten(str(version))}, this batcache reads {FORMAT_VERSION}", "Upgrade batcache"
        )
    for part, section in (("model", "model"), ("features", "data")):
        if isinstance(document.get(part), dict):
            document[part] = rename_keys(section, document[part])
    if unknown := _unknown_keys(document):
        finding = f"keys that this batcache does not know: {list_some(unknown)}"
        raise RunError(path, finding, "Upgrade batcache")
    try:
        checkpoint = _read_checkpoint(document)
        require_fit(checkpoint)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError, BatcacheError) as error:
        raise RunError(path, f"a checkpoint that does not fit ({brief(error)})", _REMEDY) from None
    if checkpoint.front_end_version is None:
        finding = "trained on features of a front end that this batcache does not know"
        raise RunError(path, finding, "Upgrade batcache, or train again, on a new cache")
    return checkpoint


def _read_checkpoint(document: Mapping[str, Any]) -> Checkpoint:
    """A checkpoint from plain types and tensors. What does not fit raises an error of any kind."""
    read = {name: value for name, value in document.items() if value is not None}
    kinds: dict[str, Any] = {"model": ModelConfig, "features": FeatureConfig, "trunk": TrunkConfig}
    kinds |= {"trained_on": TrainedOn}
    read |= {name: TypeAdapter(kind).validate_python(read[name]) for name, kind in kinds.items() if name in read}
    read |= {name: tuple(read[name]) for name in ("species", "taught") if name in read}
    if "heads.kernel.centres" in read["weights"]:
        raise ValueError("its kernel compares half seconds, as an earlier version's did")
    if "held_out" in read:
        read["held_out"] = _read_held_out(read["held_out"], len(read["species"]))
    return Checkpoint(**read)


def _held_out_as_tensors(held_out: HeldOut) -> dict[str, Any]:
    named = vars(held_out).items()
    return {name: torch.tensor(value) if isinstance(value, np.ndarray) else value for name, value in named}


def _read_held_out(plain: Mapping[str, Any], species: int) -> HeldOut:
    arrays: dict[str, Any] = {k: value.numpy() if isinstance(value, Tensor) else value for k, value in plain.items()}
    held_out = HeldOut(**arrays)
    if held_out.logits.shape[1] != species:
        raise ValueError(f"held-out scores of {held_out.logits.shape[1]} species, the model knows {species}")
    return held_out


def _unknown_keys(document: Mapping[str, Any]) -> list[str]:
    """What a newer batcache must have written: left out, the model would be another."""
    kinds: dict[str, Any] = {
        "model": ModelConfig,
        "features": FeatureConfig,
        "trained_on": TrainedOn,
        "held_out": HeldOut,
    }
    parts = [(Checkpoint, document), *((kind, document.get(name)) for name, kind in kinds.items())]
    return [
        str(key)
        for kind, part in parts
        if isinstance(part, Mapping)
        for key in part
        if key not in {f.name for f in fields(kind)}
    ]
