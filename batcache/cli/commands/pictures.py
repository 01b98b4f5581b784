"""The command that draws clips: show."""

from pathlib import Path
from typing import Annotated

import typer

from batcache.cli.options import RunsCache, RunsDataDir, RunsEndpoint, RunsRegion, refuse
from batcache.cli.terminal import say


def show_(
    context: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A cache, or the folder of a run.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.", show_default=False)],
    clip: Annotated[
        list[str] | None, typer.Option(help="A clip's filename, as in the CSV; may be repeated.", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="Of a run: what was judged, as metrics.json names it.")] = "test",
    data_dir: RunsDataDir = None,
    cache: RunsCache = None,
    endpoint: RunsEndpoint = None,
    region: RunsRegion = None,
) -> None:
    """Draw clips as spectrograms, with the calls that are known; of a run also its scores and evidence.

    Without --clip: the first six of a cache; of a run two that it judged well, two badly, two with doubt. Known calls
    are read from an events.csv in the data dir.

    Example: batcache show features.zarr --clip meadow/0412_2210.wav -o clip.png
    """
    if output.suffix.lower() != ".png":
        raise typer.BadParameter(f"{output}: a PNG is written, expected a name that ends in .png")
    from batcache.evaluation.pictures.pages import draw_run, draw_store
    from batcache.store.settings import reach_cache
    from batcache.training.run_inputs import find_cache, is_run

    if is_run(target):
        place = find_cache(Path(target), cache, endpoint, region)
        draw_run(Path(target), place, output, split, clip or (), data_dir)
    else:
        refuse(context, ["split", "cache"], "only a run has judged splits, and a cache of its own")
        draw_store(reach_cache(target, endpoint, region), output, clip or (), data_dir)
    say(f"drawn: {output}")


COMMANDS = (show_,)
