"""A report shows the intervals and levels of metrics.json, flags what few hold, and reads older outcomes."""

import json
from typing import Any

import numpy as np
import pytest

from batcache.evaluation.judge import judge
from batcache.evaluation.report.collect import headlines
from batcache.evaluation.report.sure import find_flagged, find_levels, find_sure
from batcache.evaluation.tables import FIGURES
from tests.evaluation.predicted import predicted


@pytest.fixture
def outcome() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    labels = (rng.random((60, 3)) < 0.25).astype(int)
    labels[:, 2] = np.arange(60) % 20 < 3
    made = predicted(list(rng.random((60, 1, 3))), labels.tolist(), groups=[f"night {i % 20}" for i in range(60)])
    return dict(json.loads(json.dumps(judge(made, {}).to_plain())))


def test_intervals_are_those_of_metrics_json_without_flagged_species(outcome: dict[str, Any]) -> None:
    sure, rows = outcome["intervals"], {row.name: row for row in find_sure(outcome)}
    assert list(rows) == ["Low", "High", "macro average", "micro average", "weighted average"]
    for name in ("Low", "High"):
        assert [list(span or ()) for span in rows[name].spans] == [sure["per_species"][name][key] for key in FIGURES]
    assert list(rows["macro average"].spans[3] or ()) == sure["macro_average_precision"]
    assert list(rows["micro average"].spans[1] or ()) == sure["micro"]["recall"]
    assert rows["weighted average"].spans[3:] == (None, None)
    assert find_flagged(outcome) == {"Sweep"}, "in nine clips, but of three nights alone"
    named = {name: interval for name, _, interval in headlines(outcome)}
    assert named["macro F1"] == sure["macro"]["f1"] and named["recall, all cells"] == sure["micro"]["recall"]


def test_levels_are_those_of_metrics_json(outcome: dict[str, Any]) -> None:
    clip, night = find_levels(outcome)
    filed = outcome["levels"]["site-night"]
    assert (clip.name, clip.judged, night.name, night.judged) == ("clip", 60, "site-night", 20)
    value, span = night.figures[0]
    assert (value, list(span or ())) == (
        filed["macro_average_precision"],
        filed["intervals"]["macro_average_precision"],
    )
    assert night.figures[3][0] == filed["any_species"]["f1"]
    assert (night.any_present, night.any_known) == (filed["any_species"]["support"], 20)


def test_an_outcome_of_before_has_neither_and_keeps_its_headlines(outcome: dict[str, Any]) -> None:
    for key in ("levels", "any_species"):
        outcome.pop(key)
    outcome["intervals"] = {
        key: outcome["intervals"][key]
        for key in ("unit", "units", "draws", "macro_average_precision", "macro_roc_auc", "refusal")
    }
    assert find_sure(outcome) == [] and find_levels(outcome) == [] and find_flagged(outcome) == set()
    assert headlines(outcome)[0][2] == outcome["intervals"]["macro_average_precision"]
