"""Which epoch is the best: by average precision, and where that ties by the loss."""

from pathlib import Path

import pytest
import torch

from batcache.training import trainer
from batcache.training.best import Best
from batcache.training.optimiser import make_scheduler
from tests.small_world import SmallWorld, train_fully, tweak
from tests.training.same_run import epochs_of


def test_average_precision_comes_first_and_the_loss_tells_between_equals() -> None:
    best, outcomes = Best(), [(0.5, 0.9), (0.5, 0.8), (0.5, 0.85), (0.4, 0.1), (0.6, 2.0), (0.6, 2.0)]
    better = [best.update(epoch, *outcome) for epoch, outcome in enumerate(outcomes, 1)]
    assert better == [True, True, False, False, True, False]
    assert (best.epoch, best.ap, best.loss) == (5, 0.6, 2.0)


def test_without_average_precision_the_loss_decides() -> None:
    best = Best()
    assert [best.update(epoch, None, loss) for epoch, loss in enumerate([0.9, 0.95, 0.8], 1)] == [True, False, True]


def test_patience_counts_from_the_best_or_from_where_the_run_was_told_to_go_on() -> None:
    best = Best(epoch=4)
    assert [best.is_spent(3, epoch) for epoch in (6, 7)] == [False, True]
    best.patience_from = 7
    assert [best.is_spent(3, epoch) for epoch in (7, 9, 10)] == [False, False, True]


@pytest.mark.parametrize("best", [Best(), Best(epoch=1), Best(epoch=4), Best(epoch=2, patience_from=5)])
def test_patience_may_end_a_training_that_has_epochs_left_when_it_is_spent(best: Best) -> None:
    """As it does where nothing gets better from now on; the first epoch always does."""
    for patience in (1, 3, 9):
        for epochs in range(1, 15):
            done, later = best.epoch, Best(max(best.epoch, 1), patience_from=best.patience_from)
            while done < epochs and not later.is_spent(patience, done):
                done += 1
            assert best.may_be_spent(patience, epochs) == (done < epochs), (patience, epochs)


def test_the_state_comes_back_also_from_what_earlier_versions_wrote() -> None:
    best = Best(3, 0.7, 0.2, 5)
    assert Best.from_plain(best.to_plain()) == best
    ranked = Best.from_plain({"best_epoch": 2, "best_score": 0.75})
    assert (ranked.epoch, ranked.ap) == (2, 0.75)
    assert ranked.update(3, 0.75, 9.0), "its loss is not known, so the first tie is better"
    unranked = Best.from_plain({"best_epoch": 2, "best_score": -0.4})
    assert not unranked.update(3, None, 0.41)
    assert unranked.update(4, None, 0.39)


@pytest.mark.parametrize(("losses", "rates"), [("falling", 1), ("rising", 1 / 4)])
def test_at_equal_average_precision_a_falling_loss_resets_patience_and_the_scheduler(
    small: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, losses: str, rates: float
) -> None:
    """One species that is ranked right from the first epoch on: the loss alone tells that it still learns."""
    monkeypatch.setattr(trainer, "macro_average_precision", lambda *_: 1.0)
    loss_of, validations = trainer.masked_loss, iter(range(1, 100))

    def masked_loss(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        if logits.requires_grad:
            return loss_of(logits, labels, weights)
        number = next(validations)
        return torch.tensor(1 / number if losses == "falling" else 1.0 * number)

    monkeypatch.setattr(trainer, "masked_loss", masked_loss)
    config = tweak(small.config, training={"epochs": 8, "patience": 5, "scheduler": "plateau"})
    _, events = train_fully(config, small.store, small.manifest, tmp_path)
    epochs = epochs_of(events)
    assert len(epochs) == (8 if losses == "falling" else 6)
    assert [epoch.improved for epoch in epochs[1:]] == [losses == "falling"] * (len(epochs) - 1)
    assert epochs[-1].learning_rate == pytest.approx(0.01 * rates)


@pytest.mark.parametrize("moving", [True, False])
def test_the_plateau_lowers_the_rate_where_the_best_epoch_stands_still(small: SmallWorld, moving: bool) -> None:
    settings = tweak(small.config, training={"scheduler": "plateau", "patience": 6}).training
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(3))], 0.01)
    scheduler = make_scheduler(settings, optimizer, 1)
    for epoch in range(1, 5):
        scheduler.step(epoch if moving else 1)
    assert optimizer.param_groups[0]["lr"] == (0.01 if moving else 0.005)
