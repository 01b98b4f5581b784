"""Commands that show what was judged: compare, two runs beside each other, and report, one run as a page."""

from pathlib import Path
from typing import Annotated

import typer

from batcache.cli.options import RunsCache, RunsDataDir, RunsEndpoint, RunsRegion
from batcache.cli.tables import describe
from batcache.cli.terminal import say, show


def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="The folder of a run.", show_default=False)],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="That of another.", show_default=False)],
    split: Annotated[str, typer.Option(help="What was judged, as metrics.json names it; folds too.")] = "test",
) -> None:
    """Compare two runs that were judged on the same clips: which has the higher average precision, and how surely.

    Whole groups (or recordings, where there is no group column) are drawn anew 1,000 times, the same for both runs: of
    each species, and of their mean, it shows between which values 95 % of the differences lie, and in what share of the
    draws RUN_A is better. A species that fewer than five groups hold, or lack, has no interval.

    Example: batcache compare runs/20260501T190000Z-max runs/20260501T200000Z-attention
    """
    from batcache.evaluation.compare import compare as compare_runs

    show(describe(compare_runs(run_a, run_b, split)))


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)],
    split: Annotated[str, typer.Option(help="What was judged, as metrics.json names it; folds too.")] = "test",
    data_dir: RunsDataDir = None,
    cache: RunsCache = None,
    endpoint: RunsEndpoint = None,
    region: RunsRegion = None,
) -> None:
    """Write the report on what a run was judged on once more: one HTML file in its folder, which needs no other.

    It shows the averages and how sure they are, each species, what any threshold would give, precision-recall and ROC
    curves, reliability, which species are taken for which, and some clips, right, wrong and doubtful, with their audio
    slowed ten times where the recordings are still there. eval writes it too; --split folds is what train --folds
    judged.

    Example: batcache report runs/20260501T190000Z-max
    """
    from batcache.evaluation.report.write import report as write_again
    from batcache.training.run_inputs import find_cache

    place = write_again(run, find_cache(run, cache, endpoint, region), split, data_dir)
    say(f"written: {place}")


COMMANDS = (compare, report)
