"""A checkpoint as a model that judges recordings, by torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from blake3 import blake3
from torch import Tensor

from batcache.config.settings import Engine
from batcache.device import pick_device
from batcache.errors import RunError
from batcache.features.frontend import FrontEnd
from batcache.inference.bag_scores import BagScores
from batcache.inference.model_file import ModelFile
from batcache.inference.recordings.framed import LONGEST_HELD, Framed
from batcache.inference.score import Instances, score_bags
from batcache.model.checkpoint import Checkpoint, load_checkpoint

_RECORDINGS_AT_ONCE = {"cpu": 1, "cuda": 64}
"""A core is as fast with one as with several, and two cores take two."""
_INSTANCES_AT_ONCE = {"cpu": 5, "cuda": LONGEST_HELD}


class TorchJudge:
    """A checkpoint's network and front end on a device; see ``inference.recordings.judge.Judge``."""

    def __init__(self, checkpoint: Checkpoint, engine: Engine, device: torch.device) -> None:
        self.checkpoint, self.engine, self.device = checkpoint, engine, device
        self.network = checkpoint.restore(device)
        self.recordings_at_once = _RECORDINGS_AT_ONCE[device.type]

    def front_end(self) -> FrontEnd:
        """The front end whose features it was trained on."""
        return FrontEnd(self.checkpoint.features, self.device, self.engine)

    def threads(self, workers: int) -> int:
        """One where a GPU takes batches."""
        return 1 if self.device.type == "cuda" else workers

    def score(self, batch: Sequence[Framed], check: Callable[[], None]) -> list[BagScores]:
        """Score recordings together; ``check`` is called before each read."""

        def read(framed: Framed, first: int, count: int) -> Tensor:
            check()
            return torch.from_numpy(framed.read(count))

        bags = [Instances(framed.name, framed.count, partial(read, framed)) for framed in batch]
        return list(score_bags(self.network, bags, len(batch), _INSTANCES_AT_ONCE[self.device.type]))


@dataclass(frozen=True)
class CheckpointFile(ModelFile):
    """A checkpoint's file."""

    checkpoint: Checkpoint

    def judge_on(self, device: str) -> TorchJudge:
        """The model ready to score on ``cpu`` or ``cuda``; ``auto`` takes a GPU where there is one.

        Raises:
            ConfigError: another device, or one that is not there.
        """
        return TorchJudge(self.checkpoint, self.data.engine, pick_device(device))


def open_checkpoint(file: Path) -> CheckpointFile:
    """Read a checkpoint's file.

    Raises:
        RunError: missing, damaged, of another kind or of a newer batcache; or its weights are not finite.
    """
    return of_checkpoint(file, load_checkpoint(file))


def of_checkpoint(file: Path, checkpoint: Checkpoint) -> CheckpointFile:
    """A checkpoint that was read from a file, as a model.

    Raises:
        RunError: its weights are not finite.
    """
    if not all(bool(value.isfinite().all()) for value in checkpoint.weights.values()):
        raise RunError(file, "its weights are not finite", "Train again, with a lower learning_rate")
    return CheckpointFile(file, blake3(file.read_bytes()).hexdigest(), checkpoint)
