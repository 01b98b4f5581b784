"""The command that compares settings: sweep."""

from pathlib import Path
from typing import Annotated

import typer

from batcache.cli.options import CachePath, ConfigPath, Csvs, DataDir, Device, Endpoint, OnDevice, Region
from batcache.cli.progress import show_progress
from batcache.cli.tables import describe
from batcache.cli.terminal import show
from batcache.device import pick_device


def sweep(
    over: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=VALUES",
            help="A setting and its values, as YAML lists them, or with --trials a range; may be repeated.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The sweep's folder.")],
    csv: Csvs = None,
    data_dir: DataDir = None,
    cache: CachePath = None,
    endpoint: Endpoint = None,
    region: Region = None,
    config: ConfigPath = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Search: try so many combinations, each chosen by those before.", show_default=False),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Judge the clips in so many parts.")] = 5,
    device: OnDevice = Device.auto,
) -> None:
    """Compare settings: train and judge every combination of the given values on one cache.

    Clips are judged in folds, each by models that have not heard its groups. The folds are the same for all
    combinations and seeds, and clips of split test are not touched: choose here, then judge the choice once with eval.
    What a frozen trunk makes of the clips of a fold is computed once. Of each combination the metrics are kept, not
    the models.

    Stopped, the same command goes on after the last combination that was done; so does one with more values. With
    data.clips_per_species it tells how many labels are enough.

    With --trials, a value may be a range (training.learning_rate=1e-4..1e-2), and Optuna chooses what is tried, each
    time with every training.seed; install it by pip install 'batcache[optuna]'.

    Example: batcache sweep --over model.pooling_type=max,attention --over training.seed=0,1,2 --out sweep
    """
    from batcache.evaluation.sweeps.grid import combine, read_grid
    from batcache.evaluation.sweeps.search import Space, search
    from batcache.evaluation.sweeps.sweep import sweep as compare
    from batcache.store.settings import choose_manifest, load_with_store

    flags = {"data": {"data_dir": data_dir, "cache": cache, "endpoint": endpoint, "region": region}}
    settings, store = load_with_store(config, flags)
    grid = read_grid(over)
    combinations = combine(grid, config, flags) if trials is None else ()
    manifest = choose_manifest(csv or (), settings, store, allow_outside=True)
    seed, on = settings.training.seed, (store, manifest, pick_device(device), out)
    with show_progress() as listener:
        if trials is None:
            report = compare(combinations, *on, folds=folds, seed=seed, on_progress=listener)
        else:
            space = Space(grid, config, flags)
            report = search(space, trials, *on, folds=folds, seed=seed, on_progress=listener)
    show(describe(report))


COMMANDS = (sweep,)
