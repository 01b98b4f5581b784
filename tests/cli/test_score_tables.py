"""What is shown of metrics says how sure they are, whom it leaves out and what they come to at other levels."""

from collections.abc import Iterator

import numpy as np
import pytest

from batcache.cli.calibration_tables import of_basis
from batcache.cli.score_tables import FEW_UNITS, FEWEST_UNITS, of_intervals, of_levels
from batcache.cli.terminal import Block, Table
from batcache.evaluation.draws import units
from batcache.evaluation.judge import judge
from batcache.evaluation.metrics import Metrics
from batcache.inference.calibration.calibrate import Calibration
from batcache.inference.calibration.thresholds import BEST_F1, PROMISED, Threshold
from tests.evaluation.predicted import predicted


def metrics(nights: int) -> Metrics:
    """Three clips a night; the third species in three nights alone."""
    rng = np.random.default_rng(1)
    night = np.arange(3 * nights) % nights
    labels = (rng.random((3 * nights, 3)) < 0.3).astype(int)
    labels[:, 2] = night < 3
    return judge(predicted(list(rng.random((3 * nights, 1, 3))), labels.tolist(), groups=[f"{n}" for n in night]), {})


def tables(blocks: Iterator[Block]) -> tuple[list[Table], list[str]]:
    shown = list(blocks)
    return [one for one in shown if isinstance(one, Table)], [one for one in shown if isinstance(one, str)]


@pytest.mark.parametrize(
    ("nights", "said"),
    [
        (9, "of the 9 groups, few groups: far too narrow"),
        (10, "of the 10 groups, too narrow with so few"),
        (40, "of the 40 groups"),
    ],
)
def test_few_groups_are_said_to_be_few(nights: int, said: str) -> None:
    _, lines = tables(of_intervals(metrics(nights)))
    assert lines[0].endswith(f"95 % of 1,000 draws {said}")


def test_every_interval_is_shown_and_a_species_of_few_groups_is_named_instead() -> None:
    made = metrics(40)
    (table,), (_, few) = tables(of_intervals(made))
    assert [row[0] for row in table.rows] == ["Low", "High", "macro average", "micro average", "weighted average"]
    sure = made.intervals
    assert sure is not None
    low, high = sure.per_species["High"].f1 or (0, 0)
    assert table.rows[1][4] == f"{low:.3f} to {high:.3f}" and table.rows[1][1] == str(sure.per_species["High"].holding)
    low, high = sure.macro_roc_auc or (0, 0)
    assert table.rows[2][6] == f"{low:.3f} to {high:.3f}" and table.rows[3][5:] == ("-", "-")
    assert few.startswith("of few groups: fewer than 5 hold the species, or lack it") and few.endswith(": Sweep")
    assert {len(row) for row in table.rows} == {len(table.header)} == {7}


def test_levels_stand_below_one_another_with_what_holds_any_species() -> None:
    made = metrics(40)
    (table,), _ = tables(of_levels(made))
    night = made.levels["site-night"]
    assert [row[:2] for row in table.rows] == [("clip", "120"), ("site-night", "40")]
    assert night.any_species and night.intervals and night.intervals.macro.f1
    low, high = night.intervals.macro.f1
    assert table.rows[1][3] == f"{night.macro.f1:.3f} ({low:.3f} to {high:.3f})"
    assert table.rows[1][4] == f"{night.any_species.support}/{night.any_species.known}"
    assert not list(of_levels(Metrics(0, 0.5, (), made.macro, made.micro, made.weighted, None, None, {})))


def test_too_few_groups_are_said_in_one_line() -> None:
    assert list(of_intervals(metrics(4))) == ["no intervals: 4 groups, expected at least 5"]


def test_the_command_line_knows_the_librarys_bounds_without_importing_it() -> None:
    assert (FEWEST_UNITS, FEW_UNITS) == (units.FEWEST_UNITS, units.FEW_UNITS)


@pytest.mark.parametrize(
    ("bases", "said"),
    [
        ((BEST_F1, BEST_F1), ["best F1: all 2 species"]),
        ((PROMISED, BEST_F1), ["on nights like those: Myotis myotis from 0.500", "best F1: Nyctalus noctula"]),
    ],
)
def test_species_are_named_where_they_differ_in_what_their_thresholds_rest_on(
    bases: tuple[str, str], said: list[str]
) -> None:
    thresholds = tuple(Threshold(0.5, basis, promised=0.9 if basis == PROMISED else None) for basis in bases)
    species = ("Myotis myotis", "Nyctalus noctula")
    calibration = Calibration(species, (None, None), thresholds, 1.0, ("folds", "folds"), 9, 9, 0.9)
    lines = [str(block) for block in of_basis(calibration)]
    assert [line.endswith(end) for line, end in zip(lines, said, strict=False)] == [True] * len(said)
