"""Which epoch is the best so far, and whether it is time to stop."""

from dataclasses import dataclass
from typing import Any

from numpy import inf


@dataclass
class Best:
    """The best epoch so far: of the highest average precision and, where that ties, of the least validation loss.

    Few validation clips leave average precision only a few values; the loss tells between epochs that share one.

    Attributes:
        epoch: its number, 0 before there is one.
        ap: its macro average precision on the validation clips; 0 throughout where no species has both labels.
        loss: its loss on them.
        patience_from: the epoch from which patience counts, if that is later than the best: where a run that had
            stopped was told to go on.
    """

    epoch: int = 0
    ap: float = -inf
    loss: float = inf
    patience_from: int = 0

    def update(self, epoch: int, ap: float | None, loss: float) -> bool:
        """Take note of an epoch's outcome; returns whether it is the best now. A loss that ties too is not better."""
        if (ap or 0.0, -loss) <= (self.ap, -self.loss):
            return False
        self.epoch, self.ap, self.loss = epoch, ap or 0.0, loss
        return True

    def take(self, epoch: int, ap: float | None, loss: float) -> None:
        """Take an epoch for the best, whatever its outcome: where the last one is kept and none is chosen."""
        self.epoch, self.ap, self.loss = epoch, ap or 0.0, loss

    def is_spent(self, patience: int, epoch: int) -> bool:
        """Whether ``patience`` epochs have brought nothing better."""
        return epoch - max(self.epoch, self.patience_from) >= patience

    def may_be_spent(self, patience: int, epochs: int) -> bool:
        """Whether patience may still end a training before it has so many epochs."""
        return max(1, self.epoch, self.patience_from) + patience < epochs

    def to_plain(self) -> dict[str, Any]:
        """The state as numbers, for ``last.pt``."""
        return {
            "best_epoch": self.epoch,
            "best_ap": self.ap,
            "best_loss": self.loss,
            "patience_from": self.patience_from,
        }

    @classmethod
    def from_plain(cls, state: dict[str, Any]) -> "Best":
        """What ``to_plain`` gave, or what earlier versions wrote: one ``best_score``, an AP or a negative loss.

        Such a run's best loss is not known beside its best AP: the first tie then counts as better.
        """
        if "best_score" not in state:
            return cls(state["best_epoch"], state["best_ap"], state["best_loss"], state["patience_from"])
        score = state["best_score"]
        return cls(state["best_epoch"], score, inf) if score >= 0 else cls(state["best_epoch"], 0.0, -score)
