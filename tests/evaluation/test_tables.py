"""Metrics as tables and text are the numbers of the metrics."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import ConfigError
from batcache.evaluation.evaluate import choose_clips
from batcache.evaluation.groups import GroupMetrics
from batcache.evaluation.judge import judge as judge_predictions
from batcache.evaluation.metrics import Metrics
from batcache.evaluation.tables import FIGURES, as_csv, as_markdown, columns_of
from batcache.training.runs import BEST
from tests.evaluation.judging import chosen, judge, read_metrics
from tests.evaluation.predicted import predicted
from tests.small_world import SmallWorld


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    rng = np.random.default_rng(1)
    labels = (rng.random((60, 3)) < 0.25).astype(int)
    labels[:, 2] = np.arange(60) % 20 < 3
    made = predicted(list(rng.random((60, 1, 3))), labels.tolist(), groups=[f"night {i % 20}" for i in range(60)])
    return judge_predictions(made, {})


def test_the_table_holds_every_figure_and_interval_of_every_level(metrics: Metrics) -> None:
    columns = columns_of(metrics)
    assert len({len(column) for column in columns.values()}) == 1
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    by_name = {(row["level"], row["name"]): row for row in rows}
    assert len(by_name) == len(rows) == 2 * (3 + 1 + 3)
    for name, level in (("clip", metrics), ("site-night", metrics.levels["site-night"])):
        sure = level.intervals
        assert sure is not None
        for one in level.per_species:
            row, of_row = by_name[name, one.species], sure.per_species[one.species]
            assert (row["present"], row["known"], row["groups"]) == (one.support, one.known, of_row.holding)
            assert row["few"] == of_row.few == (one.species == "Sweep")
            for key in FIGURES:
                assert row[key] == getattr(one, key)
                interval = getattr(of_row, key)
                low, high = (row[f"{key}_low"], row[f"{key}_high"])
                assert (low, high) == interval if interval else np.isnan([low, high]).all()
        macro = by_name[name, "macro average"]
        assert macro["average_precision"] == level.macro_average_precision and macro["f1"] == level.macro.f1
        assert (macro["roc_auc_low"], macro["roc_auc_high"]) == sure.macro_roc_auc


def test_csv_gives_back_every_number(metrics: Metrics) -> None:
    header, *rows = csv.reader(io.StringIO(as_csv(metrics)))
    columns = columns_of(metrics)
    assert header == list(columns)
    for c, (name, values) in enumerate(columns.items()):
        read = [row[c] for row in rows]
        if name in ("level", "kind", "name"):
            assert read == values
        else:
            np.testing.assert_array_equal([float(cell or "nan") for cell in read], values)


def test_no_cell_of_the_csv_is_a_formula() -> None:
    made = predicted(list(np.random.default_rng(1).random((6, 1, 1))), [[i % 2] for i in range(6)])
    made = replace(made, species=np.array(["=1+1"]))
    assert "'=1+1" in as_csv(judge_predictions(made, {}))


def test_markdown_has_a_table_a_level_with_figures_and_intervals(metrics: Metrics) -> None:
    text = as_markdown(metrics)
    assert re.findall(r"^\*\*(.*?)\*\*: (\d+), threshold 0\.5; 95 % of 1,000 draws", text, re.MULTILINE) == [
        ("clip", "60"),
        ("site-night", "20"),
    ]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {9} and len(lines) == 2 * (2 + 7)
    sure = metrics.intervals
    assert sure and sure.macro_average_precision and metrics.macro_average_precision is not None
    low, high = sure.macro_average_precision
    assert f"| {metrics.macro_average_precision:.3f} ({low:.3f} to {high:.3f}) |" in text
    assert "| Sweep † |" in text and "† too few groups hold it, or lack it" in text


def test_markdown_shows_a_name_in_one_line_and_as_no_html_and_few_units_by_their_name() -> None:
    made = predicted(list(np.random.default_rng(1).random((7, 1, 1))), [[i % 2] for i in range(7)])
    text = as_markdown(judge_predictions(replace(made, species=np.array(["a\nb <img src=x>"])), {}))
    assert "\n| a b &lt;img src=x>" in text and "<img" not in text
    assert "draws of 7 recordings, few recordings\n" in text


def test_json_is_what_metrics_json_holds(run: Path, small: SmallWorld) -> None:
    report = judge(chosen(run, small))
    assert json.loads(report.as_text("json")) == read_metrics(run)["test"]
    numbers = report.metrics, report.groups
    assert report.as_text("csv") == as_csv(*numbers) and report.as_text("md") == as_markdown(*numbers)
    assert list(report.table()) == list(columns_of(*numbers))


def test_groups_of_species_stand_in_every_table_with_their_figures(metrics: Metrics) -> None:
    groups = (
        GroupMetrics("Low|High", ("Low", "High"), 60, 20, 0.75, 0.875, 0.5),
        GroupMetrics("none", ("Low", "Sweep"), 0, 0, None, None, None),
    )
    columns = columns_of(metrics, groups)
    both = [{name: column[i] for name, column in columns.items()} for i in (-2, -1)]
    assert [(row["level"], row["kind"], row["name"]) for row in both] == [
        ("clip", "group", "Low|High"),
        ("clip", "group", "none"),
    ]
    assert (both[0]["present"], both[0]["known"], both[0]["average_precision"], both[0]["roc_auc"]) == (
        20,
        60,
        0.75,
        0.875,
    )
    assert np.isnan([both[1]["average_precision"], both[0]["precision"], both[0]["average_precision_low"]]).all()
    assert as_csv(metrics, groups).splitlines()[-2].startswith("clip,group,Low|High,20,60,")
    text = as_markdown(metrics, groups)
    assert r"| Low\|High | 20 | 60 | 0.750 | 0.875 | 0.500 |" in text and "| none | 0 | 0 | - | - | - |" in text
    assert "species groups" not in as_markdown(metrics)


@pytest.mark.parametrize("threshold", [float("nan"), -0.1, 1.1])
def test_a_threshold_that_no_score_can_have_is_refused(run: Path, small: SmallWorld, threshold: float) -> None:
    with pytest.raises(ConfigError, match=r"--threshold: .*, expected 0 to 1"):
        choose_clips(run / BEST, small.store, small.manifest, "test", as_trained=True, threshold=threshold)


def test_another_threshold_is_filed_and_makes_an_evaluation_out_of_date(run: Path, small: SmallWorld) -> None:

    usual = chosen(run, small)
    other = choose_clips(run / BEST, small.store, small.manifest, "test", as_trained=True, threshold=0.01)
    report = judge(other)
    filed = read_metrics(run)["test"]
    assert filed["threshold"] == 0.01 and report.metrics.threshold == 0.01
    assert other.is_done() and not usual.is_done()
    assert filed["micro"]["recall"] == 1.0, "every score reaches so low a threshold"
    assert judge_predictions(report.predictions, {}, threshold=0.01) == replace(report.metrics, evidence=None)
