"""What a long call tells while it runs, so that whoever called it can show a bar."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a stage has come.

    Attributes:
        stage: what is being done, in a word: ``scan``, ``build``, ``train``, ``validate`` ...
        done: how many of ``total`` are done.
        total: None where that is not known yet.
        result: what the stage has just brought, for those who show it: the plan of a build, an epoch's outcome, a row
            of a benchmark. Most steps bring none.
    """

    stage: str
    done: int = 0
    total: int | None = None
    result: object = None


OnProgress = Callable[[Progress], None]
"""Takes what a long call tells, in the thread of the caller. What it raises ends the call, safely."""


def unheard(progress: Progress) -> None:
    """Take no notice: the default of every ``on_progress``."""
