"""Groups of species are judged as species are."""

import json
from dataclasses import replace

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from batcache.evaluation.groups import find_scored_groups, groups_to_plain, judge_groups
from batcache.evaluation.metrics import compute_metrics
from batcache.inference.groups import SpeciesGroup, group_labels, group_scores
from batcache.inference.predictions import Predictions
from tests.evaluation.predicted import predicted

PAIR = SpeciesGroup("pair", (0, 2))


def drawn(clips: int, seed: int = 0) -> Predictions:
    random = np.random.default_rng(seed)
    labels = random.integers(-1, 2, (clips, 3))
    evidence = np.clip(0.4 + 0.15 * labels + 0.2 * random.standard_normal((clips, 3)), 0, 1)
    return predicted(list(evidence[:, None]), labels.tolist())


def test_a_group_has_the_metrics_of_its_highest_scores() -> None:
    says = drawn(300)
    (row,) = judge_groups(says, [PAIR])
    scores, truth = group_scores(says.scores, [PAIR])[:, 0], group_labels(says.labels, [PAIR])[:, 0]
    known = truth >= 0
    assert (row.known, row.support) == (known.sum(), (truth == 1).sum())
    assert row.average_precision is not None and row.roc_auc is not None
    np.testing.assert_allclose(row.average_precision, average_precision_score(truth[known], scores[known]))
    np.testing.assert_allclose(row.roc_auc, roc_auc_score(truth[known], scores[known]))
    own = compute_metrics(says.scores, says.labels, ["Low", "High", "Sweep"]).per_species
    pair = [own[i].average_precision for i in PAIR.members]
    np.testing.assert_allclose(row.members_average_precision, np.mean([value for value in pair if value is not None]))
    assert json.loads(json.dumps(groups_to_plain([row])))[0]["members"] == ["Low", "Sweep"]


def test_clips_in_which_a_member_has_no_score_do_not_count() -> None:
    says = drawn(300)
    says.scores[:100, 0] = np.nan
    kept = {name: value[100:] for name, value in vars(says).items() if name in ("filenames", "scores", "labels")}
    (row,) = judge_groups(says, [PAIR])
    (of_rest,) = judge_groups(Predictions(**{**vars(says), **kept}), [PAIR])
    assert (row.known, row.average_precision, row.roc_auc) == (
        of_rest.known,
        of_rest.average_precision,
        of_rest.roc_auc,
    )


def test_a_species_that_no_model_was_taught_does_not_silence_its_genus() -> None:
    says = replace(drawn(300), species=np.array(["Myotis myotis", "Myotis brandtii", "Myotis nattereri"]))
    says.scores[:, 1] = np.nan
    (genus,) = find_scored_groups(says, {})
    assert genus == SpeciesGroup("Myotis sp.", (0, 2))
    (row,) = judge_groups(says, [genus])
    assert row.known > 0 and row.average_precision is not None


def test_without_groups_there_is_nothing_to_judge() -> None:
    assert judge_groups(drawn(10), []) == ()


def test_species_that_are_taken_for_each_other_alone_make_a_group_that_is_told() -> None:
    random = np.random.default_rng(1)
    bat = random.integers(0, 3, 300)
    alike = np.where(bat != 1, 0.8, 0.2) + 0.05 * random.standard_normal(300)
    evidence = np.stack([alike, np.full(300, 0.5), alike + 0.01 * random.standard_normal(300)], 1).clip(0, 1)
    labels = (bat[:, None] == [0, 1, 2]).astype(int)
    (row,) = judge_groups(predicted(list(evidence[:, None]), labels.tolist()), [PAIR])
    assert row.average_precision == 1.0
    assert row.members_average_precision is not None and row.members_average_precision < 0.7
