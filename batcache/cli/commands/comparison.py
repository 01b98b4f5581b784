"""The command that sets two runs beside each other: compare."""

from pathlib import Path
from typing import Annotated

import typer

from batcache.cli.tables import describe
from batcache.cli.terminal import show


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


COMMANDS = (compare,)
