"""The command that draws clips: show."""

import re
from pathlib import Path
from typing import Annotated

import typer

from batcache.cli.model_tables import of_voices
from batcache.cli.options import RunsCache, RunsDataDir, RunsEndpoint, RunsRegion, refuse
from batcache.cli.terminal import say, show

_ENDINGS = (".png", ".pdf", ".svg")
_LARGEST_IN = 100


def _read_size(text: str) -> tuple[float, float]:
    """Width and height in inches."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*[x×,]\s*(\d+(?:\.\d+)?)", text.strip(), re.IGNORECASE)
    width, height = (float(found[1]), float(found[2])) if found else (0.0, 0.0)
    if not (1 <= width <= _LARGEST_IN and 1 <= height <= _LARGEST_IN):
        raise typer.BadParameter(f"--size {text}: expected inches as in 12x5, each from 1 to {_LARGEST_IN}")
    return width, height


def show_(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="A cache, a run, or a guide (a CSV).", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG, PDF or SVG to write.", show_default=False)],
    clip: Annotated[
        list[str] | None,
        typer.Option(help="A clip's filename, or a guide's species; may be repeated.", show_default=False),
    ] = None,
    split: Annotated[str, typer.Option(help="Of a run: what was judged, as metrics.json names it.")] = "test",
    start: Annotated[
        float | None, typer.Option(min=0, help="Draw from this true second of the recording on.", show_default=False)
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(min=0.005, help="Draw so many true seconds; without --start the loudest.", show_default=False),
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Width and height of the page in inches.", show_default=False)
    ] = None,
    data_dir: RunsDataDir = None,
    cache: RunsCache = None,
    endpoint: RunsEndpoint = None,
    region: RunsRegion = None,
) -> None:
    """Draw clips as spectrograms, with the calls that are known; of a run also its scores and evidence.

    Without --clip: the first six of a cache; of a run two that it judged well, two badly, two with doubt. Known calls
    are read from an events.csv in the data dir.

    Of a guide, as train --guide takes it: some simulated search calls of each row, and what the row was taken for.

    Example: batcache show features.zarr --clip meadow/0412_2210.wav --duration 0.1 -o clip.pdf
    """
    if output.suffix.lower() not in _ENDINGS:
        raise typer.BadParameter(f"{output}: expected a name that ends in {', '.join(_ENDINGS)}")
    size_in = None if size is None else _read_size(size)
    from batcache.evaluation.pictures.pages import draw_guide, draw_run, draw_store
    from batcache.evaluation.pictures.view import View
    from batcache.store.settings import reach_cache
    from batcache.training.run_inputs import find_cache, is_run

    view = View(start, duration, size_in)
    if target.lower().endswith(".csv"):
        refuse(context, ["split", "start", "data_dir", "cache", "endpoint", "region"], "a guide's clips are simulated")
        show([of_voices(draw_guide(Path(target), output, clip or (), view))])
    elif is_run(target):
        place = find_cache(Path(target), cache, endpoint, region)
        draw_run(Path(target), place, output, split, clip or (), data_dir, view)
    else:
        refuse(context, ["split", "cache"], "only a run has judged splits, and a cache of its own")
        draw_store(reach_cache(target, endpoint, region), output, clip or (), data_dir, view)
    say(f"drawn: {output}")


COMMANDS = (show_,)
