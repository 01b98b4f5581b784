"""What a library call tells while it runs, shown: a bar for each stage, and each result as it comes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from batcache.cli.tables import describe
from batcache.cli.terminal import Bars, Block, progress_bars, show
from batcache.progress import OnProgress, Progress

_TITLES = {
    "hash": "reading contents",
    "sketch": "reading features",
    "near": "comparing recordings",
    "look": "looking at recordings",
    "scan": "looking at files",
    "build": "computing features",
    "read": "reading shards",
    "compare": "computing anew",
    "repair": "writing shards",
    "copy": "copying instances",
    "export": "exporting",
    "restore": "restoring",
    "eval": "judging clips",
    "predict": "judging recordings",
    "presence": "testing site-nights",
    "convert": "writing formats",
    "sweep": "combinations",
    "synth": "simulating recordings",
}


@contextmanager
def show_progress(describe_result: Callable[[object], Sequence[Block]] = describe) -> Iterator[OnProgress]:
    """Give a listener that shows what it hears until the block ends."""
    with progress_bars() as bars:
        yield _Listener(bars, describe_result)


class _Listener:
    """Shows stages as bars, one after the other, and the results that they bring above them."""

    def __init__(self, bars: Bars, describe_result: Callable[[object], Sequence[Block]]) -> None:
        self._bars, self._describe = bars, describe_result

    def __call__(self, progress: Progress) -> None:
        if progress.result is not None:
            show(self._describe(progress.result))
        if progress.total is None:
            if progress.result is None:
                self._bars.show_alone(_title(progress.stage))
        else:
            # At its end a stage still writes, commits and flushes: a bar that stood at 100 % would lie.
            total = None if progress.done >= progress.total else progress.total
            self._bars.show_alone(_title(progress.stage), progress.done, total)


def _title(stage: str) -> str:
    return _TITLES.get(stage, stage)
