"""What is said of recordings, site-nights and half seconds follows from their parts, by cases worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from batcache.evaluation.calls import Call
from batcache.evaluation.draws.units import resampling
from batcache.evaluation.judge import judge
from batcache.evaluation.levels import Items, clips_of, instances_of, name_site_nights, wholes_of
from batcache.evaluation.metrics import compute_metrics
from batcache.inference.predictions import Predictions
from tests.evaluation.predicted import predicted

NAN = float("nan")


def clips(scores: list[list[float]], labels: list[list[int]], groups: list[str]) -> Predictions:
    return predicted([np.array([row]) for row in scores], labels, groups=groups)


def nights_of(predictions: Predictions) -> Items:
    return wholes_of(clips_of(predictions, resampling(predictions)), name_site_nights(predictions), unit="site-night")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 0], 0),
        ([0, 1], 1),
        ([1, 1], 1),
        ([0, -1], -1),
        ([1, -1], 1),
        ([-1, -1], -1),
    ],
)
def test_a_species_was_there_if_any_clip_holds_it_and_absent_only_if_all_are_known_to_lack_it(
    labels: list[int], expected: int
) -> None:
    nights = nights_of(clips([[0.2], [0.7]], [[label] for label in labels], ["a", "a"]))
    assert nights.labels.tolist() == [[expected]] and nights.scores.tolist() == [[pytest.approx(0.7)]]


def test_site_nights_are_those_of_clips_worked_out_by_hand() -> None:
    scores = [[0.9, 0.1], [0.3, 0.4], [0.2, 0.8], [0.6, NAN], [0.1, NAN], [0.5, 0.5]]
    labels = [[1, 0], [0, 0], [0, -1], [0, 0], [0, 1], [-1, 0]]
    nights = nights_of(clips(scores, labels, ["b", "a", "a", "b", "c", "c"]))
    np.testing.assert_allclose(nights.scores, [[0.3, 0.8], [0.9, 0.1], [0.5, 0.5]], rtol=1e-6)
    assert nights.labels.tolist() == [[0, -1], [1, -1], [-1, -1]], "a clip without a score counts as unknown"
    assert (nights.drawn.unit, nights.drawn.units, nights.drawn.unit_of.tolist()) == ("site-night", 3, [0, 1, 2])


def test_a_night_is_read_from_the_name_where_no_group_is_known_and_clips_of_no_night_are_left_out() -> None:
    made = clips([[0.1], [0.9], [0.4], [0.3]], [[0], [1], [0], [1]], ["", "", "", ""])
    names = ["x/MEADOW_20240412_221003.wav", "x/MEADOW_20240413_031003.wav", "x/MEADOW_20240413_221003.wav", "y.wav"]
    made = replace(made, filenames=np.array(names))
    assert name_site_nights(made) == ["MEADOW 2024-04-12", "MEADOW 2024-04-12", "MEADOW 2024-04-13", ""]
    nights = nights_of(made)
    assert nights.labels.tolist() == [[1], [0]] and nights.scores.ravel().tolist() == pytest.approx([0.9, 0.4])


def test_any_species_is_the_highest_score_of_those_taught_and_present_where_any_is_taught_or_not() -> None:
    scores = [[0.9, 0.1, NAN], [0.3, 0.4, NAN], [0.2, 0.3, NAN], [NAN, 0.2, NAN]]
    labels = [[0, 1, 0], [0, 0, 1], [0, -1, 0], [0, 0, 0]]
    made = clips(scores, labels, [])
    highest, there = clips_of(made, resampling(made)).any_species()
    assert highest.tolist() == pytest.approx([0.9, 0.4, 0.3, 0.2])
    assert there.tolist() == [1, 1, -1, -1], "a clip of a species never taught is not empty; a missing score is unknown"


def test_a_recording_of_several_clips_is_judged_as_one() -> None:
    made = clips([[0.9], [0.1], [0.3], [0.2]], [[0], [1], [0], [0]], [])
    found = judge(replace(made, filenames=np.array(["a.wav", "a.wav", "b.wav", "c.wav"])), {})
    assert list(found.levels) == ["recording"] and found.levels["recording"].clips == 3
    assert found.levels["recording"].macro_average_precision == 1 and found.macro_average_precision == 0.25
    assert "recording" not in judge(made, {}).levels


def test_an_instance_holds_the_species_whose_call_it_overlaps_and_lacks_it_only_where_that_is_known() -> None:
    """Low: calls marked. High: present, never marked. Sweep: absent from the clip; a call of it contradicts."""
    evidence = [np.tile([0.1, 0.2, 0.3], (4, 1)), np.tile([0.4, 0.5, 0.6], (2, 1))]
    made = predicted(evidence, [[1, 1, 0], [0, -1, 1]])
    calls = {"0.wav": (Call("Low", 0.6, 1.1), Call("Sweep", 0.1, 0.2)), "other.wav": (Call("Low", 0.0, 1.0),)}
    found = instances_of(made, calls, clips_of(made, resampling(made)))
    assert found is not None
    assert found.labels.tolist() == [[0, -1, 0], [1, -1, 0], [1, -1, 0], [0, -1, 0], [0, -1, -1], [0, -1, -1]]
    np.testing.assert_array_equal(found.scores, made.evidence)
    assert found.drawn.unit_of.tolist() == [0, 0, 0, 0, 1, 1]
    assert instances_of(made, {}, clips_of(made, resampling(made))) is None


def test_every_level_is_judged_as_scikit_learn_judges_it_and_has_intervals() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (60, 3))
    evidence = [rng.random((3, 3)) + 0.3 * row for row in labels]
    groups = [f"night {i % 20}" for i in range(60)]
    made = predicted(evidence, labels.tolist(), groups=groups)
    calls = {
        f"{i}.wav": tuple(Call(name, 0.1, 0.4) for name, y in zip(made.species, row, strict=True) if y)
        for i, row in enumerate(labels)
    }
    found = judge(made, calls, threshold=0.9)
    assert list(found.levels) == ["site-night", "instance"]
    first = np.arange(180) % 3 == 0
    truth, score = np.where(first, np.repeat(labels[:, 0], 3), 0), made.evidence[:, 0]
    row = found.levels["instance"].per_species[0]
    assert row.average_precision == pytest.approx(average_precision_score(truth, score))
    nights = nights_of(made)
    expected = compute_metrics(nights.scores, nights.labels, made.species.tolist(), 0.9)
    night = found.levels["site-night"]
    assert (night.per_species, night.macro, night.threshold) == (expected.per_species, expected.macro, 0.9)
    for level in found.levels.values():
        assert level.intervals and level.intervals.macro_average_precision and level.any_species
    assert found.any_species and found.any_species.known == 60
    assert labels.any(1).sum() < 60 and found.any_species.average_precision == pytest.approx(
        average_precision_score(labels.any(1), made.scores.max(1))
    )


def test_a_species_that_was_not_taught_is_counted_at_every_level_and_judged_at_none() -> None:
    made = clips([[0.9, NAN], [0.3, NAN], [0.2, NAN]], [[1, 1], [0, 0], [0, -1]], ["a", "a", "b"])
    found = judge(made, {})
    for level, counts in ((found, (2, 1)), (found.levels["site-night"], (1, 1))):
        row = level.per_species[1]
        assert (row.known, row.support) == counts and row.average_precision is row.f1 is None
    nothing = judge(replace(made, scores=np.full((3, 2), np.nan, np.float32)), {})
    assert nothing.any_species and nothing.any_species.known == 0
