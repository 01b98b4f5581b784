"""Commands that teach and judge models: train, split, eval, run."""

from pathlib import Path
from typing import Annotated

import typer

from batcache.cli.model_tables import of_species
from batcache.cli.options import (
    AllowOutside,
    CachePath,
    ConfigPath,
    Csvs,
    DataDir,
    Device,
    Endpoint,
    Epochs,
    Format,
    HowPooled,
    Init,
    KeepOnGpu,
    LocalCacheFolder,
    LocalCacheGb,
    OnDevice,
    Region,
    Runs,
    RunsCache,
    RunsCsvs,
    RunsDataDir,
    RunsEndpoint,
    RunsLocalCacheFolder,
    RunsLocalCacheGb,
    RunsRegion,
    refuse,
)
from batcache.cli.progress import show_progress
from batcache.cli.resumable import resumable
from batcache.cli.tables import describe
from batcache.cli.terminal import Note, say, say_lines, show, warn
from batcache.cli.torchrun import has_nothing_to_do, joined, processes
from batcache.device import pick_device
from batcache.errors import count, list_some
from batcache.storage.listing import is_there

# All else is imported by the command that needs it, so that --help answers at once.


def train(
    context: typer.Context,
    pooling: HowPooled = None,
    init: Init = None,
    csv: Csvs = None,
    data_dir: DataDir = None,
    cache: CachePath = None,
    endpoint: Endpoint = None,
    region: Region = None,
    local_cache: LocalCacheFolder = None,
    local_cache_gb: LocalCacheGb = None,
    config: ConfigPath = None,
    run_dir: Runs = None,
    epochs: Epochs = None,
    seed: Annotated[int | None, typer.Option(help="Decides all that is drawn at random.", show_default=False)] = None,
    guide: Annotated[
        Path | None,
        typer.Option(help="A CSV that tells the simulator how your species call.", show_default=False),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="A run to continue after its last epoch; with --epochs, to more of them.", show_default=False
        ),
    ] = None,
    keep_on_gpu: Annotated[
        KeepOnGpu | None, typer.Option(help="Whether a GPU may hold all training bags.", show_default=False)
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Also judge all clips in so many folds, by models of the others.", show_default=False),
    ] = None,
    device: OnDevice = Device.auto,
) -> None:
    """Train a model from a cache; no recording is opened.

    By default the convolutions are those of a trunk that simulated bats have taught, and stay as they are; what is
    trained are small heads on it, which takes seconds to minutes and needs few clips. --init none trains all from
    chance, which needs thousands of clips and, for the default layers, a GPU. --init RUN goes on from a model of yours:
    species that both know keep what they learnt, where the settings of the heads are the same.

    Species of which you have few clips learn from simulated ones too: European ones, and those of --guide, a CSV of
    what field guides say (species, shape, start_khz, peak_khz, end_khz, duration_ms, interval_ms; README says how);
    batcache show guide.csv -o guide.png draws what is made of it.

    With few clips, --folds 5 judges all but those of split test, by models that have not heard their group, and keeps a
    model of all of them. Stopped, the same command begins anew with that model and the folds.

    On four GPUs: torchrun --nproc-per-node 4 -m batcache train --init none. Each takes its share of every batch; what
    is learnt is the same but for rounding, and --resume may take another number.

    Without --csv, the CSVs that the cache was last built from give the labels. With --resume, --csv, --data-dir and
    --cache say where the run's inputs lie now, if they were moved.

    Example: batcache train --pooling max
    """
    with joined(device) as pick:
        if resume is not None:
            kept = ("pooling", "init", "config", "run_dir", "seed", "guide", "keep_on_gpu", "folds")
            refuse(context, kept, "a resumed run keeps its settings")
            from batcache.store.open import open_store
            from batcache.training.loop import resume as go_on
            from batcache.training.run_inputs import find_cache, find_manifest
            from batcache.training.runs import read_run_config

            store = open_store(find_cache(resume, cache, endpoint, region, local_cache, local_cache_gb))
            if read_run_config(resume).model.trains_heads_alone and has_nothing_to_do():
                return
            manifest = find_manifest(resume, data_dir, csvs=csv or ())
            with resumable(device) as listener:
                report = go_on(resume, store, manifest, pick(), epochs=epochs, on_progress=listener)
            show(describe(report))
            return
        from batcache.store.settings import choose_manifest, load_with_store
        from batcache.training.loop import train as train_model

        flags = {
            "data": {
                "data_dir": data_dir,
                "cache": cache,
                "endpoint": endpoint,
                "region": region,
                "local_cache": local_cache,
                "local_cache_gb": local_cache_gb,
            },
            "model": {"pooling_type": pooling, "init": init},
            "training": {
                "epochs": epochs,
                "seed": seed,
                "run_dir": run_dir,
                "keep_on_gpu": keep_on_gpu,
                "guide": guide,
            },
        }
        settings, store = load_with_store(config, flags)
        if settings.model.trains_heads_alone and has_nothing_to_do():
            return
        if folds and not settings.model.trains_heads_alone and processes() > 1:
            raise typer.BadParameter("--folds trains by one process. Run it without torchrun")
        manifest = choose_manifest(csv or (), settings, store, allow_outside=True)
        if not csv and not settings.data.csvs:
            csvs = list_some(map(str, manifest.csvs))
            say(f"labels from {csvs}, which {store.path} was last built from; --csv takes others")
        with resumable(device, in_folds=bool(folds)) as listener:
            if folds:
                from batcache.evaluation.cross_validate import cross_validate

                judged = cross_validate(settings, store, manifest, pick(), folds, on_progress=listener)
            else:
                report = train_model(settings, store, manifest, pick(), on_progress=listener)
        show(describe(judged if folds else report))


def split(
    csv: Annotated[Path, typer.Argument(metavar="CSV", help="The clips to share out.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The CSV to write.", show_default=False)],
    val: Annotated[float, typer.Option(min=0, max=0.9, help="Share to validate on.")] = 0.15,
    test: Annotated[float, typer.Option(min=0, max=0.9, help="Share to judge on.")] = 0.15,
    seed: Annotated[int, typer.Option(min=0, help="Decides which groups.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Draw training, validation and test clips for a CSV that has none: the same rows with a split column.

    Whole groups (or recordings, where no group is given) are drawn, so that each split has its share of clips
    and of every species; none is lost from training. Rows that have a split keep it. Write the CSV beside the other:
    filenames start from its folder.

    Example: batcache split data.csv -o train.csv
    """
    from batcache.manifest.draw_splits import draw_splits, write_with_splits
    from batcache.manifest.label_counts import count_labels
    from batcache.manifest.manifest import read_manifest

    if val + test >= 1:
        raise typer.BadParameter("--val and --test leave nothing to train on")
    if is_there(output) and not force:
        raise typer.BadParameter(f"{output} is there already; pass --force to replace it")
    asked = {"train": 1 - val - test, "val": val, "test": test}
    shares = {name: share for name, share in asked.items() if share}
    manifest = read_manifest([csv], split_of={csv: ""}, allow_outside=True)  # whatever the file's name says
    drawn = draw_splits(manifest, shares, seed)
    write_with_splits(drawn, output)
    show([of_species(count_labels(drawn.clips, drawn.species))])
    if lone := [clip for clip in drawn.clips if not clip.group]:
        some = f"{len(lone):,} of {count(len(drawn.clips), 'row')} have no group, the first at {lone[0].place}"
        who = "no clip has a group" if len(lone) == len(drawn.clips) else some
        warn(f"{who}: each recording was drawn by itself, clips of one night may lie in two splits")
    say(f"drawn: {', '.join(f'{clips:,} {name}' for name, clips in drawn.splits.items())}, in {output}")


def eval_(
    context: typer.Context,
    split: Annotated[str, typer.Option(help="The split to judge on.")] = "test",
    checkpoint: Annotated[
        Path | None, typer.Option(help="A .pt file of a run. [default: best of the newest run]", show_default=False)
    ] = None,
    csv: RunsCsvs = None,
    data_dir: RunsDataDir = None,
    cache: RunsCache = None,
    endpoint: RunsEndpoint = None,
    region: RunsRegion = None,
    local_cache: RunsLocalCacheFolder = None,
    local_cache_gb: RunsLocalCacheGb = None,
    run_dir: Runs = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Of the scores: at and above it a species counts as reported.")
    ] = 0.5,
    as_: Annotated[
        Format | None,
        typer.Option("--format", help="Write the numbers to stdout and nothing else there.", show_default=False),
    ] = None,
    device: OnDevice = Device.auto,
) -> None:
    """Judge a trained model on clips that it has not seen.

    It shows every species and the averages, between which values 95 % of 1,000 draws of whole groups (or recordings,
    where there is no group column) lie, and the same of site-nights: was a species there at all? Where the data dir has
    an events.csv, also of every half second, and how often the evidence lies on a known call. Without --csv, the clips
    and splits are those of the run. Precision, recall and F1 are at --threshold for all species, while predict judges
    each species at its own threshold.

    --format json is what metrics.json holds; csv and md are tables of the same with the intervals.

    Example: batcache eval --split test
    """
    from batcache.evaluation.evaluate import choose_clips, evaluate
    from batcache.store.open import open_store
    from batcache.training.run_inputs import find_cache, find_checkpoint, find_manifest, list_passed_over

    if checkpoint is not None:
        refuse(context, ["run_dir"], "a checkpoint lies in its run")
    else:
        show(describe(list_passed_over(run_dir or Path("runs"))))
    run, checkpoint = find_checkpoint(checkpoint, run_dir or Path("runs"))
    store = open_store(find_cache(run, cache, endpoint, region, local_cache, local_cache_gb))
    manifest = find_manifest(run, data_dir, csvs=csv or ())
    chosen = choose_clips(checkpoint, store, manifest, split, as_trained=not csv, threshold=threshold)
    if as_ is None:
        show(describe(chosen))
    with show_progress() as listener:
        report = evaluate(chosen, pick_device(device), on_progress=listener)
    if as_ is None:
        show(describe(report))
    else:
        show(map(Note, report.notes))
        say_lines(report.as_text(as_.value).rstrip("\n"))


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An experiment: settings as YAML.", show_default=False)],
    csv: Csvs = None,
    data_dir: DataDir = None,
    cache: CachePath = None,
    endpoint: Endpoint = None,
    region: Region = None,
    pooling: HowPooled = None,
    epochs: Epochs = None,
    run_dir: Runs = None,
    allow_outside: AllowOutside = False,
    device: OnDevice = Device.auto,
) -> None:
    """Run a whole experiment: synth (if asked for), build, train, eval, show; only what is not up to date.

    Example: batcache run pipelines/real.yaml --csv recordings.csv
    """
    from batcache.pipeline import PipelineReport, run_pipeline

    flags = {
        "data": {"data_dir": data_dir, "cache": cache, "endpoint": endpoint, "region": region},
        "model": {"pooling_type": pooling},
        "training": {"epochs": epochs, "run_dir": run_dir},
    }
    with resumable(device) as listener:
        report = run_pipeline(file, csv or (), flags, device.value, allow_outside=allow_outside, on_progress=listener)
    show(describe(report))
    if isinstance(report, PipelineReport) and report.build.rejected:
        raise typer.Exit(1)


COMMANDS = (train, split, eval_, run)
