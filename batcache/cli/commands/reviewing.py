"""The command with which a person looks at predictions."""

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from batcache.cli.options import refuse
from batcache.cli.tables import describe
from batcache.cli.terminal import show
from batcache.progress import Progress


def review(
    context: typer.Context,
    target: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTIONS|RUN", help="What predict has written, or a run's folder.", show_default=False
        ),
    ] = Path("predictions"),
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="OTHER.csv",
            help="Another program's table (path or IN FILE; AUTO ID or species, of any name or code): where it "
            "disagrees is asked first.",
            show_default=False,
        ),
    ] = None,
    error: Annotated[
        float, typer.Option(help="The share of wrong recordings, at most, at which the random sample is enough.")
    ] = 0.1,
    seed: Annotated[
        int | None, typer.Option(help="Of the random sample. [default: that of earlier answers, else 0]", min=0)
    ] = None,
    split: Annotated[str, typer.Option(help="Of a run: what it has judged.")] = "test",
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the recordings are now, if not where they were.", show_default=False)
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; 0 is any that is free.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Look at predictions on a page of this machine, answer by single keys, and know at every moment what is shown.

    The page shows the spectrogram with kHz and ms, plays the recording slowed 5, 10 or 20 times, and asks: R right, W
    wrong, O other species, A another one there too, N no bat, U unsure, S skip, Z undo; 1 to 9 mark single species.
    First comes the best recording of each species and night, then what is doubtful, then a random sample of all
    recordings, whatever their scores: only this tells how many are wrong. It ends where, with 95 % confidence, no more
    than --error of them are, which allows for a look after every answer; what could not be told counts as wrong.

    Every answer is on the disk before the next question: closed or killed, the same command goes on. Answers lie in
    reviewed.jsonl, and as a table in reviewed.csv beside the predictions: `calibrate` takes it for thresholds, and
    `train --csv train.csv --csv predictions/reviewed.csv` learns from it too where the features are in the cache
    (`predict --cache`), without a rebuild: a reviewed label wins over another CSV's. Only this machine can open the
    page, at an address that nobody else knows; nothing is loaded from elsewhere.

    Example: batcache review predictions --against kaleidoscope/id.csv
    """
    from batcache.reviewing.open import open_target
    from batcache.reviewing.other_table import read_other
    from batcache.reviewing.review import ReviewStarted
    from batcache.reviewing.review import review as serve
    from batcache.storage.listing import is_there

    if not is_there(target / "run.json"):
        refuse(context, ["split"], "only a run has splits")
    opened = open_target(target, split, data_dir)
    other = None if against is None else read_other(against, opened.judged.paths, opened.judged.species)

    def tell(progress: Progress) -> None:
        if isinstance(progress.result, ReviewStarted):
            show(describe(progress.result))
            sys.stdout.flush()
            if browser and _has_browser():
                webbrowser.open(progress.result.address)

    report = serve(
        opened.judged,
        opened.recordings,
        other=other,
        error=error,
        seed=seed,
        port=port,
        on_progress=tell,
    )
    show(describe(report))


def _has_browser() -> bool:
    """Whether there is a screen: without one a browser of the terminal would be opened over it."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


COMMANDS = (review,)
