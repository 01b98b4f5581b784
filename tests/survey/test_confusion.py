"""What held-out clips are counted as, and what their counts leave possible."""

import numpy as np
import pytest
import torch

from batcache.model.provenance import HeldOut
from batcache.survey.confusion import Confusion, count_confusion, identify

SPECIES = ("A", "B", "C")
HALF = np.full(3, 0.5)


def held(rows: list[tuple[list[float], list[int]]]) -> HeldOut:
    """Clips with scores and labels."""
    scores, labels = torch.tensor([row[0] for row in rows]), torch.tensor([row[1] for row in rows])
    return HeldOut("folds", scores.logit(), labels.to(torch.int8), torch.arange(len(rows)))


def counts_of(*rows: tuple[list[float], list[int]]) -> list[list[float]]:
    """Beside one clip of each species and one of none, all of them right."""
    right = [([0.9 if i == k else 0.1 for k in range(3)], [int(i == k) for k in range(3)]) for i in range(4)]
    confusion = count_confusion(held([*right, *rows]), SPECIES, HALF)
    return (confusion.counts - np.eye(4)).tolist()


def test_a_file_has_one_label_the_highest_at_or_above_its_threshold() -> None:
    nan = np.nan
    scores = np.array([[0.2, 0.5, 0.1], [0.6, 0.9, 0.7], [0.6, nan, 0.7], [0.49, 0.1, 0.2], [nan, nan, nan]])
    assert identify(scores, HALF).tolist() == [1, 1, 2, -1, -1]
    assert identify(scores, np.array([0.1, 0.95, 0.8])).tolist() == [0, 0, 0, 0, -1]
    assert identify(scores, np.array([0.5, np.inf, 0.5])).tolist() == [-1, 2, 2, -1, -1]


@pytest.mark.parametrize(
    ("scores", "labels", "where"),
    [
        ([0.1, 0.8, 0.1], [1, 0, 0], {(0, 1): 1.0}),
        ([0.1, 0.2, 0.1], [1, 0, 0], {(0, 3): 1.0}),
        ([0.1, 0.8, 0.1], [0, 0, 0], {(3, 1): 1.0}),
        ([0.6, 0.8, 0.1], [1, 1, 0], {(1, 1): 1.0}),  # of two: it is the one that it was identified as
        ([0.1, 0.1, 0.7], [1, 1, 0], {(0, 2): 0.5, (1, 2): 0.5}),
        ([0.1, 0.1, 0.1], [1, 1, 0], {(0, 3): 0.5, (1, 3): 0.5}),
        ([0.1, 0.8, 0.1], [1, -1, 0], {}),  # may be right: nobody knows
        ([0.8, 0.1, 0.1], [1, -1, 0], {(0, 0): 1.0}),
        ([0.1, 0.1, 0.1], [0, -1, 0], {}),  # may hold B
        ([0.1, 0.1, 0.8], [0, -1, 0], {}),  # whatever it is, no row is its own
    ],
)
def test_a_clip_counts_for_what_it_holds(
    scores: list[float], labels: list[int], where: dict[tuple[int, int], float]
) -> None:
    counts = np.zeros((4, 4))
    for cell, clips in where.items():
        counts[cell] = clips
    assert counts_of((scores, labels)) == counts.tolist()


def test_species_without_a_clip_that_has_their_score_are_left_out() -> None:
    nan = float("nan")
    rows = [([0.9, 0.8, 0.1], [1, 0, 0]), ([0.1, nan, 0.9], [0, 1, 1]), ([0.1, 0.9, 0.1], [0, 0, 0])]
    confusion = count_confusion(held(rows), SPECIES, HALF)
    assert confusion.species == ("A", "C") and confusion.columns.tolist() == [0, 2]
    assert confusion.counts.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]  # the last: B does not count


def test_rows_are_shares_after_half_a_clip_more_everywhere() -> None:
    confusion = Confusion(("A",), np.array([0]), np.array([[8.0, 1.0], [0.0, 3.0]]))
    np.testing.assert_allclose(confusion.matrix(), [[0.85, 0.15], [0.125, 0.875]])


def test_without_clips_of_other_bats_or_noise_these_are_never_identified() -> None:
    confusion = Confusion(("A",), np.array([0]), np.array([[8.0, 1.0], [0.0, 0.0]]))
    assert not confusion.knows_others
    assert confusion.matrix()[1].tolist() == [0, 1]
    assert (confusion.draw(5, np.random.default_rng(0))[:, 1] == [0, 1]).all()


def test_draws_spread_about_the_matrix_as_dirichlet_does() -> None:
    confusion = Confusion(("A",), np.array([0]), np.array([[8.0, 1.0], [2.0, 20.0]]))
    draws = confusion.draw(20_000, np.random.default_rng(0))
    np.testing.assert_allclose(draws.sum(-1), 1)
    mean = confusion.matrix()
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.005)
    np.testing.assert_allclose(draws.var(0), mean * (1 - mean) / (np.array([[10], [23]]) + 1), rtol=0.05)


def test_the_counts_of_many_clips_are_the_confusion_that_made_them() -> None:
    random = np.random.default_rng(0)
    truth = np.array([[0.7, 0.2, 0.0, 0.1], [0.1, 0.6, 0.1, 0.2], [0.0, 0.0, 0.9, 0.1], [0.05, 0.0, 0.05, 0.9]])
    rows = []
    for made_by in range(4):
        rows += [
            ([0.8 if k == said else 0.3 for k in range(3)], [int(k == made_by) for k in range(3)])
            for said in random.choice(4, 2_000, p=truth[made_by])
        ]
    np.testing.assert_allclose(count_confusion(held(rows), SPECIES, HALF).matrix(), truth, atol=0.03)
