"""A model as it is given: a checkpoint's file, which carries all that is needed to judge recordings."""

from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from batcache.config.features import FRONT_END_VERSION
from batcache.config.settings import BEST_MODEL, DataConfig
from batcache.errors import RunError, StoreError
from batcache.model.checkpoint import Checkpoint, load_checkpoint
from batcache.store.reader import Store


@dataclass(frozen=True)
class ModelFile:
    """A checkpoint, where it lies, and the BLAKE3 of its file."""

    path: Path
    digest: str
    checkpoint: Checkpoint

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


def open_model(path: Path) -> ModelFile:
    """Read a checkpoint; of a run's folder, its best model.

    Raises:
        RunError: missing, damaged, of another kind or of a newer batcache; or its weights are not finite.
    """
    file = path / BEST_MODEL if path.is_dir() else path
    if not file.is_file():
        raise RunError(file, "no such model", "Pass a run's folder or a checkpoint's file (.pt)")
    checkpoint = load_checkpoint(file)
    if not all(bool(value.isfinite().all()) for value in checkpoint.weights.values()):
        raise RunError(file, "its weights are not finite", "Train again, with a lower learning_rate")
    return ModelFile(file, blake3(file.read_bytes()).hexdigest(), checkpoint)


def require_its_features(checkpoint: Checkpoint, store: Store) -> None:
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
