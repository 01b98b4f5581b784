"""What a training tells of itself: as results of its ``Progress``, and at its end as a report."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from batcache.manifest.label_counts import SpeciesCounts

_VALIDATION_COST = 1 / 3  # of a bag's training: the way forward alone


@dataclass(frozen=True)
class RunStarted:
    """A run begins or goes on.

    Attributes:
        run: its folder.
        train_clips: how many clips are trained on.
        val_clips: how many clips judge each epoch.
        parameters: how many numbers are learnt.
        first_epoch: the epoch that comes first: 1, or of a resumed run the one after its last.
        epochs: at most so many in all.
        species: how many clips of each split hold each species.
        notes: what the user should know before hours are spent, in whole sentences.
    """

    run: Path
    train_clips: int
    val_clips: int
    parameters: int
    first_epoch: int
    epochs: int
    species: tuple[SpeciesCounts, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class PassedOver:
    """Folders with a model that are not taken for runs, as their records cannot be read, and what is wrong there."""

    why: Mapping[Path, str]

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each."""
        return tuple(f"passed over {run}: its run.json is {finding}" for run, finding in self.why.items())


@dataclass(frozen=True)
class TimeLeft:
    """How long a training will take, told once, after its first batches.

    Attributes:
        seconds: until the end of all ``epochs``.
        epochs: how many are left, the present one included.
        may_stop_early: whether ``training.patience`` may end it before.
    """

    seconds: float
    epochs: int
    may_stop_early: bool


@dataclass(frozen=True)
class Epoch:
    """One epoch's outcome, as ``metrics.jsonl`` has it.

    Attributes:
        epoch: its number, from 1.
        train_loss: the mean loss of its batches.
        val_loss: the loss of the validation clips after it; None where there are none.
        val_macro_ap: their macro average precision; None where no species has both labels.
        learning_rate: with which its last batch was learnt; of several, that of the heads.
        learning_rates: the same for each part that has one of its own: ``heads`` and ``trunk``, or ``model``.
        grad_norm: the mean norm of its gradients before clipping; None where half precision could hold none of them.
        bags_per_s: the speed of training, without validation.
        waited_s: what of the training's time was spent waiting for batches, in seconds.
        seconds: its whole duration.
        improved: whether it is the best so far; None where the last is kept, as of heads alone.
    """

    epoch: int
    train_loss: float
    val_loss: float | None
    val_macro_ap: float | None
    learning_rate: float
    learning_rates: Mapping[str, float]
    grad_norm: float | None
    bags_per_s: float
    waited_s: float
    seconds: float
    improved: bool | None


@dataclass(frozen=True)
class TrainReport:
    """What a training came to.

    Attributes:
        run: its folder.
        epochs: how many epochs it has now.
        best_epoch: the one whose model is ``checkpoints/best_model.pt``.
        metric: what decided that: ``val_macro_ap``, or ``val_loss`` where no species has both labels. Heads on a frozen
            trunk keep their last epoch: it then only says how they stand, as ``train_loss`` does without validation.
        best_score: that metric of the best epoch.
        stopped_early: whether patience ended it, not the number of epochs.
        notes: what the user should know and could not be told when the run began.
        keeps_last: whether the best epoch is the last, whatever its outcome.
        ranked_species: of how many species the average precision is: those with both labels in split val.
    """

    run: Path
    epochs: int
    best_epoch: int
    metric: str
    best_score: float
    stopped_early: bool
    notes: tuple[str, ...] = ()
    keeps_last: bool = False
    ranked_species: int = 0


def seconds_left(took: float, part: float, epochs: int, val_per_train: float) -> float:
    """How many seconds so many epochs take on, when this part of the first one's batches took so long.

    >>> seconds_left(took=10, part=0.25, epochs=3, val_per_train=0.3)
    122.0
    """
    return took / part * (1 + _VALIDATION_COST * val_per_train) * epochs - took
