"""Two runs beside each other: the same draws for both, and only where both were judged on the same."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batcache.cli.tables import describe
from batcache.cli.terminal import Table
from batcache.errors import RunError
from batcache.evaluation.compare import Comparison, compare
from batcache.evaluation.draws.units import FEWEST_UNITS
from batcache.evaluation.outcomes import file_outcome
from batcache.inference.predictions import Predictions, write_predictions
from tests.evaluation.judging import chosen, judge
from tests.evaluation.predicted import predicted
from tests.small_world import SmallWorld

CLIPS = 60


def some(noise: float, seed: int) -> Predictions:
    """Clips of 12 groups whose scores tell the labels of three species, but for this noise."""
    labels = np.random.default_rng(0).integers(0, 2, (CLIPS, 3)).astype(np.int8)
    logits = 2.0 * labels - 1 + noise * np.random.default_rng(seed).normal(0, 1, labels.shape)
    return predicted(
        list((1 / (1 + np.exp(-logits)))[:, None]), labels.tolist(), groups=[f"n{i % 12}" for i in range(CLIPS)]
    )


def filed(folder: Path, predictions: Predictions) -> Path:
    """A run that was judged so."""
    (folder / "logs").mkdir(parents=True)
    write_predictions(folder / "logs" / "test_predictions.npz", predictions)
    file_outcome(folder, "test", {"csvs": [], "split_of": {}, "data_dir": "."})
    return folder


def compared(tmp_path: Path, a: Predictions, b: Predictions) -> Comparison:
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    return compare(filed(folder / "a", a), filed(folder / "b", b))


def test_a_run_beside_itself_differs_by_nothing(tmp_path: Path) -> None:
    for found in (same := compared(tmp_path, some(2, 1), some(2, 1))).per_species.values():
        assert (found.difference, found.interval, found.a_is_better) == (0, (0, 0), 0.5)
    assert (same.macro.difference, same.macro.interval, same.macro.a_is_better) == (0, (0, 0), 0.5)
    assert (same.unit, same.units, same.clips) == ("group", 12, CLIPS)


def test_exchanged_runs_give_the_opposite(tmp_path: Path) -> None:
    one, other = compared(tmp_path, some(2, 1), some(2, 2)).macro, compared(tmp_path, some(2, 2), some(2, 1)).macro
    assert (one.a, one.b) == (other.b, other.a)
    assert one.difference is not None and one.interval and other.interval and one.a_is_better is not None
    assert one.difference == -(other.difference or 0)
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    assert one.a_is_better == pytest.approx(1 - (other.a_is_better or 0))


def test_a_model_that_knows_more_is_better_in_nearly_all_draws(tmp_path: Path) -> None:
    report = compared(tmp_path, some(0.3, 1), some(5, 2))
    for found in (report.macro, *report.per_species.values()):
        assert found.interval and found.interval[0] > 0 and found.a_is_better is not None and found.a_is_better > 0.97


def test_what_is_hard_for_both_makes_their_difference_no_less_sure(tmp_path: Path) -> None:
    """B is A with one clip's score worse: the difference's interval is much narrower than either figure's."""
    from batcache.evaluation.judge import judge as judge_predictions

    a = some(2, 1)
    scores = a.scores.copy()
    scores[np.flatnonzero(a.labels[:, 0] == 1)[0], 0] = 0
    low, high = compared(tmp_path, a, replace(a, scores=scores)).macro.interval or (0, 1)
    sure = judge_predictions(a, {}).intervals
    assert sure and sure.macro_average_precision
    assert high - low < 0.5 * (sure.macro_average_precision[1] - sure.macro_average_precision[0])


def test_a_species_that_few_groups_hold_has_no_interval(tmp_path: Path) -> None:
    a, b = some(2, 1), some(2, 2)
    labels = a.labels.copy()
    labels[np.arange(CLIPS) % 12 > 3, 0] = 0
    report = compared(tmp_path, replace(a, labels=labels), replace(b, labels=labels))
    rare = report.per_species["Low"]
    assert rare.difference is not None and rare.interval is None and rare.a_is_better is None
    assert report.per_species["High"].interval and report.macro.interval


def test_the_order_of_clips_and_species_does_not_matter(tmp_path: Path) -> None:
    a, b = some(2, 1), some(2, 2)
    rows, columns = np.random.default_rng(3).permutation(CLIPS), [2, 0, 1]
    per_clip = {name: getattr(b, name)[rows] for name in ("filenames", "start_s", "duration_s", "groups")}
    tables = {name: getattr(b, name)[rows][:, columns] for name in ("scores", "labels")}
    moved = replace(b, species=b.species[columns], **per_clip, **tables)
    one, other = compared(tmp_path, a, b), compared(tmp_path, a, moved)
    assert one.per_species == other.per_species and one.macro == other.macro


def test_a_clip_that_one_model_has_no_score_for_counts_for_neither(tmp_path: Path) -> None:
    a, b = some(2, 1), some(2, 2)
    scores, labels = b.scores.copy(), b.labels.copy()
    scores[:20, 0], labels[:20, 0] = np.nan, -1  # as a fold leaves it
    scores[:, 2] = np.nan  # not taught at all
    found = compared(tmp_path, a, replace(b, scores=scores, labels=labels))
    cut = slice(20, None)
    kept = {
        name: getattr(a, name)[cut] for name in ("filenames", "start_s", "duration_s", "scores", "labels", "groups")
    }
    kept |= {name: getattr(a, name)[20:] for name in ("evidence", "evidence_start_s", "evidence_end_s")}
    kept["offsets"] = a.offsets[:-20]  # one instance a clip
    alone = compared(tmp_path, replace(a, **kept), replace(a, **kept))
    assert found.known == {"Low": 40, "High": CLIPS, "Sweep": 0}
    assert found.per_species["Low"].a == alone.per_species["Low"].a
    nothing = found.per_species["Sweep"]
    assert (nothing.a, nothing.difference, nothing.interval, nothing.a_is_better) == (None, None, None, None)
    assert found.macro.a == pytest.approx(np.mean([found.per_species[name].a for name in ("Low", "High")]))


def test_a_species_that_few_groups_lack_has_no_interval_either(tmp_path: Path) -> None:
    a, b = some(2, 1), some(2, 2)
    labels = a.labels.copy()
    labels[np.arange(CLIPS) % 12 > 3, 0] = 1
    report = compared(tmp_path, replace(a, labels=labels), replace(b, labels=labels))
    assert report.per_species["Low"].difference is not None and report.per_species["Low"].interval is None
    assert report.of_few_groups == ("Low",) and report.per_species["High"].interval
    (table,) = (block for block in describe(report) if isinstance(block, Table))
    assert table.rows[-1][0] == "macro average, 1 species of few groups"
    assert describe(report)[-1] == (
        f"of few groups: fewer than {FEWEST_UNITS} hold the species, or lack it; it has no interval"
    )


@pytest.mark.parametrize("old", ["a", "b", "both"])
def test_files_without_groups_take_those_of_the_other_else_recordings(tmp_path: Path, old: str) -> None:
    a, b = (
        replace(made, groups=np.array([], str)) if old in (name, "both") else made
        for name, made in (("a", some(2, 1)), ("b", some(2, 2)))
    )
    report = compared(tmp_path, a, b)
    assert (report.unit, report.units) == (("recording", CLIPS) if old == "both" else ("group", 12))


def test_other_clips_species_or_labels_are_refused_in_one_line(tmp_path: Path) -> None:
    a, b = some(2, 1), some(2, 2)
    labels = b.labels.copy()
    labels[7, 1] ^= 1
    for other, said in (
        (replace(b, filenames=np.char.replace(b.filenames, "7.wav", "x.wav")), r"others than .*12 clips in one alone"),
        (replace(b, start_s=b.start_s + 1), "in one alone, 0.wav, 0.wav from 1.0 s"),
        (replace(b, species=np.array(["Low", "High", "Other"])), "2 species columns in one alone, Other, Sweep"),
        (replace(b, labels=labels), r"other labels than .* in 1 clip: 7\.wav"),
    ):
        with pytest.raises(RunError, match=said) as caught:
            compared(tmp_path, a, other)
        assert "\n" not in str(caught.value)


def test_two_models_of_the_same_clips_are_compared_and_shown(run: Path, small: SmallWorld, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    for judged in (run, other):
        judge(chosen(judged, small))
    report = compare(run, other)
    assert report.macro.a is not None and report.macro.difference == 0
    assert report.refusal == "2 groups, expected at least 5" and report.macro.interval is None and report.draws == 0
    assert describe(report)[-1] == "no intervals: 2 groups, expected at least 5"
    said = r"folds has not been judged \(there is: test\)\. Run `batcache train --folds 5` first"
    with pytest.raises(RunError, match=said):
        compare(run, other, "folds")
