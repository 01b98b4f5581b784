"""What a long call tells while it runs, so that whoever called it can show a bar."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast


@dataclass(frozen=True)
class Progress:
    """How far a stage has come.

    Attributes:
        stage: what is being done: ``scan``, ``build``, ``epoch 3``, ``epoch 3, validating`` ...
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
Call = TypeVar("Call", bound=Callable[..., Any])


def ignore_progress(progress: Progress) -> None:
    """Take no notice: the default of every ``on_progress``."""


class _ListenerError(BaseException):
    """Carries what a listener raised past all that would take it for an error of the disk."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def raising_what_listeners_raise(call: Call) -> Call:
    """Let an error of ``on_progress`` come out of a call as it is, also where the call explains those of the disk."""

    @wraps(call)
    def wrapped(*arguments: Any, on_progress: OnProgress = ignore_progress, **named: Any) -> Any:
        def tell(progress: Progress) -> None:
            try:
                on_progress(progress)
            except Exception as error:
                raise _ListenerError(error) from None

        try:
            return call(*arguments, on_progress=tell, **named)
        except _ListenerError as raised:
            error = raised.error
        raise error

    return cast(Call, wrapped)
