"""What a training tells of itself while it runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class RunStarted:
    """A run begins or goes on. ``notes`` say what the user should know before it does."""

    run: Path
    train_clips: int
    val_clips: int
    parameters: int
    first_epoch: int
    epochs: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """So many batches of an epoch are trained on, or so many validation clips are judged."""

    epoch: int
    stage: Literal["train", "validate"]
    done: int
    total: int


@dataclass(frozen=True)
class Epoch:
    """One epoch's outcome, as ``metrics.jsonl`` has it. ``val_macro_ap`` is None where no species has both labels.

    ``bags_per_s`` is of training alone, and ``waited_s`` what of it was spent waiting for batches.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_macro_ap: float | None
    learning_rate: float
    bags_per_s: float
    waited_s: float
    seconds: float
    improved: bool


@dataclass(frozen=True)
class TrainReport:
    """``notes`` say what the user should know and could not be told when the run began."""

    run: Path
    epochs: int
    best_epoch: int
    metric: str
    best_score: float
    stopped_early: bool
    notes: tuple[str, ...] = ()


Event = RunStarted | Step | Epoch | TrainReport
