"""A model as it is given: a file that carries all that is needed to judge recordings, a checkpoint or an ONNX file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from batcache.config.features import FRONT_END_VERSION, FeatureConfig
from batcache.config.settings import BEST_MODEL, DataConfig, ModelConfig
from batcache.errors import RunError, StoreError
from batcache.model.provenance import HeldOut, TrainedOn
from batcache.storage.listing import is_file, is_folder
from batcache.store.reader import Store

if TYPE_CHECKING:  # an ONNX file is judged by without torch
    from batcache.inference.recordings.judge import Judge

ONNX = ".onnx"
"""What the name of an ONNX file ends in."""


class Known(Protocol):
    """What a model says of itself; see ``Checkpoint``."""

    @property
    def species(self) -> tuple[str, ...]:
        """What its scores are of, in their order."""

    @property
    def is_taught(self) -> tuple[bool, ...]:
        """Whether each species was taught, in their order."""

    @property
    def features(self) -> FeatureConfig:
        """The settings of the features it was trained on."""

    @property
    def fingerprint(self) -> str:
        """Of these features."""

    @property
    def front_end_version(self) -> int | None:
        """Of the front end that computed them."""

    @property
    def frames_per_instance(self) -> int:
        """The length of its instances."""

    @property
    def model(self) -> ModelConfig:
        """The network's settings."""

    @property
    def trained_on(self) -> TrainedOn | None:
        """The clips that it was trained on; None where that is not known."""

    @property
    def held_out(self) -> HeldOut | None:
        """What was said of clips that had not been learnt from; None where there were none."""


@dataclass(frozen=True)
class ModelFile:
    """A model, where it lies, and the BLAKE3 of its file."""

    path: Path
    digest: str
    checkpoint: Known

    @property
    def data(self) -> DataConfig:
        """The settings by which ``build`` makes what it was trained on."""
        checkpoint, features = self.checkpoint, vars(self.checkpoint.features)
        return DataConfig(**features, instance_s=checkpoint.frames_per_instance / checkpoint.features.frames_per_second)

    @property
    def name(self) -> str:
        """Its file's name and the beginning of its digest: tells it from others of that name."""
        return f"{self.path.name} {self.digest[:8]}"

    def require_present_front_end(self) -> None:
        """Check that the features it was trained on are those which are computed now.

        Raises:
            RunError: an earlier front end computed them.
        """
        version = self.checkpoint.front_end_version
        if version != FRONT_END_VERSION:
            finding = f"trained on features of front end {version}, this batcache computes those of {FRONT_END_VERSION}"
            raise RunError(self.path, finding, "Judge a cache of that front end, or train again on a new one")

    @property
    def untaught(self) -> tuple[str, ...]:
        """The species that have no scores."""
        checkpoint = self.checkpoint
        return tuple(name for name, taught in zip(checkpoint.species, checkpoint.is_taught, strict=True) if not taught)

    def judge_on(self, device: str) -> "Judge":
        """The model ready to score on ``cpu`` or ``cuda``; ``auto`` takes a GPU where there is one.

        Raises:
            ConfigError: another device, or one that is not there.
        """
        raise NotImplementedError


def open_model(path: Path) -> ModelFile:
    """Read a checkpoint or an ONNX file; of a run's folder, its best model.

    Raises:
        RunError: missing, damaged, of another kind or of a newer batcache; its weights are not finite; or an ONNX file
            without what reads it.
    """
    file = path / BEST_MODEL if is_folder(path) else path
    if not is_file(file):
        raise RunError(file, "no such model", "Pass a run's folder or a model's file (.pt, .onnx)")
    if file.suffix.lower() == ONNX:
        from batcache.inference.onnx.model import open_onnx

        return open_onnx(file)
    from batcache.inference.torch_model import open_checkpoint

    return open_checkpoint(file)


def require_its_features(checkpoint: Known, store: Store) -> None:
    """Check that a store holds features such as a model was trained on.

    Raises:
        StoreError: it does not; says in what they differ.
    """
    if checkpoint.fingerprint == store.fingerprint:
        return
    wanted, there = vars(checkpoint.features), vars(store.features)
    pairs = [(name, there[name], wanted[name]) for name in checkpoint.features.differing(store.features)]
    if checkpoint.front_end_version != store.front_end_version:
        pairs.append(("front end", store.front_end_version, checkpoint.front_end_version))
    differ = "; ".join(f"{name} {here!r}, trained on {known!r}" for name, here, known in pairs)
    raise StoreError(
        store.path,
        f"holds other features than the model knows: {differ}",
        "Pass another cache, or a model of its features",
    )
