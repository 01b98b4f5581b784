"""The numbers of a report are those of the metrics: at every threshold, under every curve, in every cell."""

import re
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from batcache.evaluation.metrics import compute_metrics
from batcache.evaluation.report.choose import choose_shown
from batcache.evaluation.report.collect import STEPS, count_at_thresholds, describe_judged, find_taken
from batcache.evaluation.report.curves import LEFT, SIDE, TOP, draw_curves, draw_reliability
from batcache.inference.predictions import Predictions
from tests.evaluation.predicted import predicted

CLIPS = 80
PIXEL = 0.05 / SIDE  # paths are rounded to a tenth of a pixel


@pytest.fixture
def some() -> Predictions:
    """80 clips, three species; labels unknown here and there, scores that often lie on a threshold."""
    random = np.random.default_rng(3)
    labels = random.choice([-1, 0, 1], (CLIPS, 3), p=[0.1, 0.5, 0.4])
    scores = np.clip(0.5 * random.random((CLIPS, 3)) + 0.35 * (labels == 1), 0, 1).round(2)
    return predicted(list(scores[:, None]), labels.tolist())


def untaught(predictions: Predictions, species: int) -> Predictions:
    scores = predictions.scores.copy()
    scores[:, species] = np.nan
    return replace(predictions, scores=scores)


@pytest.mark.parametrize("of_untaught", [False, True])
def test_counts_at_every_threshold_are_what_the_metrics_find_there(some: Predictions, of_untaught: bool) -> None:
    predictions = untaught(some, 1) if of_untaught else some
    names = [str(name) for name in predictions.species]
    pool, *each = count_at_thresholds(predictions)
    assert [one.name for one in each] == (["Low", "Sweep"] if of_untaught else names)
    for step in range(STEPS + 1):
        metrics = compute_metrics(predictions.scores, predictions.labels, names, step / STEPS)
        rows = {row.species: row for row in metrics.per_species}
        for counts, expected in [(pool, metrics.micro), *((one, rows[one.name]) for one in each)]:
            precision, recall = counts.at(step)
            assert (precision or 0.0) == expected.precision, "nothing reported of what is there counts as 0 there"
            assert recall == expected.recall


def test_recordings_to_check_are_counted_once_however_many_clips_and_species_reach_the_score(
    some: Predictions,
) -> None:
    twice = replace(some, filenames=np.array([f"{i // 2}.wav" for i in range(CLIPS)]))
    pool, *each = count_at_thresholds(twice)
    highest = twice.scores.astype(np.float64).reshape(CLIPS // 2, 2, 3).max(1)
    for step in (0, 30, 50, 57, 80, 100):
        assert pool.to_check[step] == (highest >= step / STEPS).any(1).sum()
        assert [one.to_check[step] for one in each] == (highest >= step / STEPS).sum(0).tolist()


def test_a_cell_of_the_matrix_is_the_share_of_clips_with_the_row_and_without_the_column(some: Predictions) -> None:
    taken = find_taken(some, 0.5)
    assert taken.rows == taken.columns == ("Low", "High", "Sweep")
    reported = some.scores.astype(np.float64) >= 0.5
    for r in range(3):
        there = some.labels[:, r] == 1
        assert taken.clips_of_row[r] == there.sum()
        assert taken.silent[r] == pytest.approx((~reported[there].any(1)).mean())
        for c in range(3):
            tells = there if r == c else there & (some.labels[:, c] == 0)
            assert taken.clips[r][c] == tells.sum()
            assert taken.shares[r][c] == pytest.approx(reported[tells, c].mean())


def test_the_matrix_leaves_out_what_is_not_there_and_not_reported() -> None:
    evidence = [np.array([[0.9, 0.8, 0.1]]), np.array([[0.2, 0.1, 0.1]])]
    taken = find_taken(predicted(evidence, [[1, 0, 0], [1, 0, 0]]), 0.5)
    assert taken.rows == ("Low",) and taken.columns == ("Low", "High")
    assert taken.shares == [[0.5, 0.5]] and taken.silent == [0.5]


def corners(path: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The points of an SVG path, as shares of the unit square."""
    x = y = 0.0
    points = []
    for letter, numbers in re.findall(r"([MLHV])([^MLHV]*)", path):
        values = [float(number) for number in numbers.split()]
        x = values[0] if letter in "MLH" else x
        y = values[-1] if letter in "MLV" else y
        points.append((x, y))
    xs, ys = np.array(points).T
    return (xs - LEFT) / SIDE, 1 - (ys - TOP) / SIDE


def test_the_area_under_each_curve_is_scikit_learns_average_precision_and_roc_auc(some: Predictions) -> None:
    precision_recall, roc = draw_curves(some)
    assert [line.name for line in precision_recall] == [line.name for line in roc] == ["", "Low", "High", "Sweep"]
    for ap_line, roc_line in zip(precision_recall, roc, strict=True):
        column = slice(None) if not ap_line.name else [some.species.tolist().index(ap_line.name)]
        labels, scores = some.labels[:, column], some.scores[:, column]
        known = labels >= 0
        for line, expected in (
            (ap_line, average_precision_score(labels[known], scores[known])),
            (roc_line, roc_auc_score(labels[known], scores[known])),
        ):
            x, y = corners(line.path)
            area = float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())
            assert area == pytest.approx(expected, abs=4 * PIXEL)


def test_a_species_with_one_label_alone_has_no_curve(some: Predictions) -> None:
    labels = some.labels.copy()
    labels[:, 1] = np.where(labels[:, 1] == 1, 1, -1)
    precision_recall, roc = draw_curves(replace(some, labels=labels))
    assert [line.name for line in precision_recall] == [line.name for line in roc] == ["", "Low", "Sweep"]


def test_reliability_is_the_share_present_among_cells_of_like_scores() -> None:
    evidence = [np.array([[score]]) for score in (0.15, 0.15, 0.15, 0.15, 0.85, 0.85)]
    reliability = draw_reliability(predicted(evidence, [[1], [0], [0], [0], [1], [1]]))
    low, high = reliability.dots
    assert (low.x, low.y) == (LEFT + SIDE * 0.15, TOP + SIDE * 0.75)
    assert (high.x, high.y) == (LEFT + SIDE * 0.85, TOP)
    assert reliability.error == pytest.approx(4 / 6 * 0.1 + 2 / 6 * 0.15)
    assert low.radius > high.radius and "4 cells, present in 25.0%" in low.text


def test_facts_count_clips_groups_and_labels() -> None:
    evidence = [np.ones((4, 2))] * 3
    facts = describe_judged(predicted(evidence, [[1, 1], [0, 0], [-1, 1]], groups=["a", "a", ""]))
    assert facts["clips"] == "3 of 3 recordings, 6.0 s" and facts["groups"] == "1"
    assert facts["labels"].startswith("3 present, 2 absent, 1 unknown, of 6 cells")
    assert facts["to a clip"] == "several species are present in 1, none at all in 1"


def test_clips_are_shown_under_what_they_are_and_no_clip_twice(some: Predictions) -> None:
    shown = choose_shown(some, 0.5, each=4)
    assert len({one.clip for one in shown}) == len(shown) == 12
    for one in shown:
        score, label = some.scores[one.clip, one.species], some.labels[one.clip, one.species]
        assert label >= 0
        if one.kind == "right":
            assert label == 1 and score >= 0.5
        elif one.kind == "wrong":
            assert (score >= 0.5) != (label == 1)
    right = [one for one in shown if one.kind == "right"]
    assert {one.species for one in right[:3]} == {0, 1, 2}, "each species once before any again"
    doubts = [abs(float(some.scores[one.clip, one.species]) - 0.5) for one in shown if one.kind == "doubtful"]
    assert doubts == sorted(doubts)


@pytest.mark.parametrize("seed", range(30))
def test_what_is_shown_is_what_walking_through_all_cells_in_order_would_show(seed: int) -> None:
    """Scores of one digit tie; few clips, or few of a kind, leave species without a clip that is not shown yet."""
    rng = np.random.default_rng(seed)
    clips, each = int(rng.integers(1, 40)), int(rng.integers(1, 7))
    some = predicted(list(rng.random((clips, 1, 3)).round(1)), rng.integers(-1, 2, (clips, 3)).tolist())
    expected: list[tuple[str, int, int]] = []
    cells = [(r, c) for r in range(clips) for c in range(3)]
    p, y = some.scores.astype(float), some.labels
    known = (y >= 0).any()
    for kind, belongs, rank in (
        ("likely", lambda r, c: not known, lambda r, c: -p[r, c]),
        ("right", lambda r, c: y[r, c] == 1 and p[r, c] >= 0.5, lambda r, c: -p[r, c]),
        ("wrong", lambda r, c: y[r, c] == (p[r, c] < 0.5), lambda r, c: -abs(p[r, c] - y[r, c])),
        ("doubtful", lambda r, c: y[r, c] >= 0, lambda r, c: abs(p[r, c] - 0.5)),
    ):
        ranked = sorted((cell for cell in cells if belongs(*cell)), key=lambda cell: rank(*cell))
        for again in (False, True)[kind == "doubtful" :]:
            for r, c in ranked:
                of_kind = [one for one in expected if one[0] == kind]
                is_new = r not in {one[1] for one in expected} and (again or c not in {one[2] for one in of_kind})
                if is_new and len(of_kind) < each:
                    expected.append((kind, r, c))
    assert [(one.kind, one.clip, one.species) for one in choose_shown(some, 0.5, each)] == expected


def test_the_surest_and_the_worst_are_shown() -> None:
    evidence = [np.array([[score]]) for score in (0.9, 0.99, 0.6, 0.01, 0.3, 0.52)]
    shown = choose_shown(predicted(evidence, [[1], [1], [1], [1], [1], [0]]), 0.5, each=1)
    assert [(one.kind, one.clip) for one in shown] == [("right", 1), ("wrong", 3), ("doubtful", 5)]


def test_a_species_without_scores_and_an_unknown_label_are_never_shown(some: Predictions) -> None:
    assert all(one.species != 1 for one in choose_shown(untaught(some, 1), 0.5))
    nothing = replace(some, labels=np.full_like(some.labels, -1))
    likely = choose_shown(nothing, 0.5, each=2)
    assert [one.kind for one in likely] == ["likely", "likely"]
    assert some.scores[likely[0].clip, likely[0].species] == some.scores.max()
