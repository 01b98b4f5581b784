"""A training as the command line shows it: where it stops, it says what is kept and what goes on with it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from batcache.cli.options import Device
from batcache.cli.progress import show_progress
from batcache.cli.tables import describe
from batcache.cli.terminal import Block
from batcache.cli.torchrun import launcher, processes, told_when_ended
from batcache.errors import RanksError
from batcache.progress import OnProgress


class Stopped(Exception):  # noqa: N818
    """The end of a training: what is kept, and what goes on with it. ``code`` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def resumable(device: Device, *, in_folds: bool = False) -> Iterator[OnProgress]:
    """Show a training; stopped by Ctrl-C or the end of a process, say how far it has come and what goes on with it.

    Of one ``in_folds``, which begins anew, say whether the model of all clips is kept.

    Raises:
        Stopped: instead of KeyboardInterrupt or RanksError, once there is a run.
    """
    runs: list[Path] = []
    trained: list[Path] = []  # their training has ended, what is stopped from then on is something else

    def note(result: object) -> list[Block]:
        if type(result).__name__ == "RunStarted":
            runs.append(result.run)  # type: ignore[attr-defined]
        elif type(result).__name__ == "TrainReport":
            trained.append(result.run)  # type: ignore[attr-defined]
            runs.clear()
        return describe(result)

    def left() -> str:
        why = f", as torchrun or one of its {processes()} processes has ended," if processes() > 1 else ""
        if in_folds:
            return f"stopped{why} {_what_begins_anew(trained)}"
        return f"stopped{why} {_how_to_go_on(runs[0], device) if runs else 'before there was a run'}"

    try:
        with told_when_ended(left), show_progress(note) as listener:
            yield listener
    except (KeyboardInterrupt, RanksError) as error:
        if not runs and not (in_folds and trained):
            raise
        raise Stopped(left(), 1 if isinstance(error, RanksError) else 130) from None


def _what_begins_anew(trained: Sequence[Path]) -> str:
    """What is kept of a model and its folds, stopped while either was trained, and what the same command does."""
    if not trained:
        return "before the model of all clips was trained: nothing of the folds is kept, the same command begins anew"
    kept = f"the model of all clips is kept in {trained[0]}"
    return f"before all folds were judged: {kept}, no fold is, and the same command begins anew with both"


def _how_to_go_on(run: Path, device: Device) -> str:
    """How far a stopped run has come, and which command goes on with it."""
    from batcache.training.run_inputs import epochs_kept

    place = f'"{run}"' if " " in str(run) else run
    epochs = epochs_kept(run)
    if not epochs:
        return f"before its first epoch was over: nothing of {run} is kept, run the same command again"
    command = f"{launcher()}batcache train --resume {place}{'' if device == 'auto' else f' --device {device}'}"
    return f"after epoch {epochs}: `{command}` goes on, and so does `batcache run` if that began it"
