"""The command line: commands, each parsed and handed to one library call."""

import io
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated

import typer

from batcache.cli import progress
from batcache.cli.options import (
    AllowOutside,
    CachePath,
    ConfigPath,
    Csvs,
    DataDir,
    Device,
    Endpoint,
    Epochs,
    HowPooled,
    OnDevice,
    Region,
    Resident,
    Runs,
    RunsCache,
    RunsCsvs,
    RunsDataDir,
    RunsEndpoint,
    RunsRegion,
    SpectraBy,
)
from batcache.cli.pages import draw_run, draw_store
from batcache.cli.resolve import (
    Flags,
    choose_manifest,
    find_cache,
    find_checkpoint,
    find_manifest,
    load_settings,
    load_with_store,
    reach_cache,
)
from batcache.cli.tables import show_whereabouts
from batcache.cli.terminal import say, show_table
from batcache.errors import BatcacheError
from batcache.storage.memory import keep_freed_memory

_AGAIN = "stopped: run the same command again to go on"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line; our errors are one line and exit code 1."""
    try:
        keep_freed_memory()
        _let_every_name_be_shown()
        app()
    except SystemExit as leaving:
        if leaving.code == 130:  # Ctrl-C
            typer.echo(_AGAIN, err=True)
        raise
    except KeyboardInterrupt:  # before the command began
        _leave(_AGAIN, 130)
    except progress.Stopped as stopped:
        _leave(f"stopped {stopped}", 130)
    except BatcacheError as error:
        _leave(f"error: {error}", 1)
    except OSError as error:
        place, finding = error.filename or "disk", error.strerror or error
        _leave(f"error: {place}: {finding}. See to the disk and its permissions, or pass another place.", 1)


def _let_every_name_be_shown() -> None:
    """Where the output has no Unicode (a file, on Windows), show ``\\u0141`` for a letter that it lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _leave(message: str, code: int) -> None:
    typer.echo(message, err=True)
    sys.exit(code)


def _say_version(asked: bool) -> None:
    from importlib.metadata import version

    if asked:
        say(f"batcache {version('batcache')}")
        raise typer.Exit


@app.callback()
def _batcache(
    _: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train bat call classifiers from weak labels, with features that are computed once."""


def _refuse(context: typer.Context, names: Iterable[str], why: str) -> None:
    """Refuse options that stand on the command line and would be ignored."""
    flags = {option.name: option.opts[0] for option in context.command.params}
    sources = {name: context.get_parameter_source(name) for name in names}
    given = [flags[name] for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        raise typer.BadParameter(f"{', '.join(given)}: {why}")


def _refuse_all_but(context: typer.Context, names: Collection[str], why: str) -> None:
    _refuse(context, [name for name in context.params if name not in names], why)


@app.command()
def build(
    context: typer.Context,
    csv: Csvs = None,
    data_dir: DataDir = None,
    cache: CachePath = None,
    endpoint: Endpoint = None,
    region: Region = None,
    config: ConfigPath = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done with each recording; exit code 0.")
    ] = False,
    rehash: Annotated[bool, typer.Option("--rehash", help="Read every file, whatever its time says.")] = False,
    allow_outside: AllowOutside = False,
    source: Annotated[
        Path | None, typer.Option("--from", help="Restore an exported HDF5 file instead.", show_default=False)
    ] = None,
    device: OnDevice = Device.auto,
    engine: SpectraBy = None,
) -> None:
    """Compute the features of every recording once, into a Zarr store.

    Run again, it computes only what is missing or has changed; killed, it resumes. Recordings that cannot be used are
    listed in features.zarr.rejected.csv beside the cache, and the exit code is then 1.

    Example: batcache build --csv train.csv --cache features.zarr
    """
    if source is not None:
        allowed = ("source", "cache", "endpoint", "region")
        _refuse_all_but(context, allowed, "a file is restored as it is, without recordings; give only --cache")
        progress.restore(source, reach_cache(cache, endpoint, region))
        return
    flags: Flags = {"data": {"data_dir": data_dir, "cache": cache, "endpoint": endpoint, "region": region}}
    settings = load_settings(config, flags)
    manifest = choose_manifest(csv, settings, allow_outside=allow_outside)
    report = progress.build(settings, manifest, device.value, rehash=rehash, dry_run=dry_run)
    if report is not None and report.rejected:
        raise typer.Exit(1)


@app.command()
def train(
    context: typer.Context,
    pooling: HowPooled = None,
    csv: Csvs = None,
    data_dir: DataDir = None,
    cache: CachePath = None,
    endpoint: Endpoint = None,
    region: Region = None,
    config: ConfigPath = None,
    run_dir: Runs = None,
    epochs: Epochs = None,
    seed: Annotated[int | None, typer.Option(help="Decides all that is drawn at random.", show_default=False)] = None,
    resume: Annotated[
        Path | None, typer.Option(help="A run to continue after its last epoch.", show_default=False)
    ] = None,
    resident: Annotated[
        Resident | None, typer.Option(help="Whether a GPU may hold all training bags.", show_default=False)
    ] = None,
    device: OnDevice = Device.auto,
) -> None:
    """Train a model from a cache; no recording is opened.

    Without --csv, the CSVs that the cache was last built from give the labels.

    Example: batcache train --pooling max
    """
    if resume is not None:
        _refuse_all_but(context, ("resume", "device"), "a resumed run keeps its settings; give only --device")
        progress.resume(resume, device.value)
        return
    flags: Flags = {
        "data": {"data_dir": data_dir, "cache": cache, "endpoint": endpoint, "region": region},
        "model": {"pooling_type": pooling},
        "training": {"epochs": epochs, "seed": seed, "run_dir": run_dir, "resident": resident},
    }
    settings, store = load_with_store(config, flags)
    progress.train(settings, store, choose_manifest(csv, settings, store, allow_outside=True), device.value)


@app.command(name="eval")
def evaluate(
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
    run_dir: Runs = None,
    device: OnDevice = Device.auto,
) -> None:
    """Judge a trained model on clips that it has not seen.

    Without --csv, the clips and splits are those of the run.

    Example: batcache eval --split test
    """
    from batcache.evaluation.evaluate import choose_clips
    from batcache.store.open import open_store
    from batcache.training.runs import read_run, read_run_config

    if checkpoint is not None:
        _refuse(context, ["run_dir"], "a checkpoint lies in its run")
    run, checkpoint = find_checkpoint(checkpoint, run_dir)
    about, settings = read_run(run), read_run_config(run)
    store = open_store(find_cache(run, about, cache, endpoint, region))
    if csv:
        manifest = choose_manifest(csv, settings, data_dir=data_dir, allow_outside=True)
    else:
        manifest = find_manifest(run, about, data_dir)
    progress.evaluate(choose_clips(checkpoint, store, manifest, split, as_trained=not csv), device.value)


@app.command()
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
    from batcache.evaluation.evaluate import choose_clips
    from batcache.training.bags import join
    from batcache.training.runs import BEST
    from batcache.training.splits import require_split

    flags: Flags = {
        "data": {"data_dir": data_dir, "cache": cache, "endpoint": endpoint, "region": region},
        "model": {"pooling_type": pooling},
        "training": {"epochs": epochs, "run_dir": run_dir},
    }
    settings = load_settings(file, flags)
    if settings.synth.manifest is not None:
        progress.synthesise(settings.synth.manifest, settings.synth.out, force=False)
    report = progress.build(settings, choose_manifest(csv, settings, allow_outside=allow_outside), device.value)
    assert report is not None, "this was no dry run"
    settings, store = load_with_store(file, flags)
    manifest = choose_manifest(csv, settings, store, allow_outside=True)
    require_split(join(manifest, store).split("test"), manifest, "test")  # before hours of training for nothing
    trained = progress.train_if_needed(settings, store, manifest, device.value)
    judging = choose_clips(trained / BEST, store, manifest, "test", as_trained=True)
    page = trained / "test_page.png"
    if judging.is_done() and page.exists():
        say(f"eval: up to date, {trained / 'metrics.json'}")
    else:
        progress.evaluate(judging, device.value)
        draw_run(trained, page, "test", ())
    show_whereabouts(settings, trained, page)
    if report.rejected:
        raise typer.Exit(1)


@app.command()
def show(
    context: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A cache, or the folder of a run.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.", show_default=False)],
    clip: Annotated[
        list[str] | None, typer.Option(help="A clip's filename, as in the CSV; may be repeated.", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="Of a run: what was judged, as metrics.json names it.")] = "test",
    endpoint: RunsEndpoint = None,
    region: RunsRegion = None,
) -> None:
    """BatchPlan clips as PCEN spectrograms, with the calls that are known; of a run also its scores and evidence.

    Without --clip: the first six of a cache; of a run two that it judged well, two badly, two with doubt. Known calls
    are read from an events.csv in the data dir.

    Example: batcache show features.zarr --clip meadow/0412_2210.wav -o clip.png
    """
    if output.suffix.lower() != ".png":
        raise typer.BadParameter(f"{output}: a PNG is written, expected a name that ends in .png")
    if (Path(target) / "run.json").exists():
        draw_run(Path(target), output, split, clip or (), endpoint, region)
    else:
        _refuse(context, ["split"], "only a run has judged splits")
        draw_store(reach_cache(target, endpoint, region), output, clip or ())
    say(f"drawn: {output}")


@app.command()
def synth(
    context: typer.Context,
    manifest: Annotated[
        Path | None, typer.Argument(metavar="MANIFEST", help="The clips to render.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the recordings go.")] = Path("simulated"),
    clips: Annotated[
        int | None, typer.Option(min=5, help="Make up a manifest of so many clips.", show_default=False)
    ] = None,
    species: Annotated[
        list[str] | None, typer.Option(help="With --clips: only these; may be repeated.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="With --clips: decides who flies where.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files of other content.")] = False,
) -> None:
    """Simulate bat recordings with known calls: 5 s, 384 kHz, 16 bit, and events.csv with every call.

    Renders exactly the rows of a manifest, or with --clips a new one, written to manifest.csv.

    Example: batcache synth data_manifest.csv --out simulated
    """
    if (manifest is None) == (clips is None):
        raise typer.BadParameter("give either a manifest or --clips")
    if clips is not None:
        from batcache.synth.create import write_plan

        manifest = write_plan(out, clips, species or (), seed, force=force)
    else:
        _refuse(context, ["species", "seed"], "goes with --clips")
    assert manifest is not None
    progress.synthesise(manifest, out, force=force)


@app.command()
def bench(
    context: typer.Context,
    csv: Csvs = None,
    data_dir: DataDir = None,
    config: ConfigPath = None,
    clips: Annotated[int, typer.Option(min=5, help="Measure so many recordings.")] = 192,
    long_minutes: Annotated[
        float, typer.Option(min=0, help="Length of a simulated recording that memory is measured with; 0: none.")
    ] = 10,
    planned: Annotated[
        int, typer.Option(min=0, help="Plan a rebuild of so many made-up recordings; 0: none.")
    ] = 20_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with machine, versions and settings.")] = False,
    device: OnDevice = Device.auto,
) -> None:
    """Measure this machine: features, reading, training, memory, beside what others would use.

    All ratios are of figures taken in turns on the same recordings: some of yours, or simulated ones. The peers are
    installed by pip install 'batcache[bench]'; those that are not there are left out, and said so.

    Example: batcache bench --csv train.csv
    """
    from batcache.bench.suite import Effort

    settings = load_settings(config, {"data": {"data_dir": data_dir}})
    manifest = choose_manifest(csv, settings) if csv or settings.data.csvs else None
    if manifest is None:
        _refuse(context, ["data_dir"], "goes with --csv")
    progress.bench(
        manifest,
        settings,
        Effort(clips=clips, long_minutes=long_minutes, planned=planned),
        device.value,
        as_json=as_json,
    )


@app.command()
def verify(
    context: typer.Context,
    cache: Annotated[str, typer.Argument(metavar="CACHE", help="The store to check.")] = "features.zarr",
    endpoint: Endpoint = None,
    region: Region = None,
    deep: Annotated[bool, typer.Option("--deep", help="Also compute some recordings anew and compare.")] = False,
    sample: Annotated[int, typer.Option(min=1, help="With --deep: so many, drawn at random.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="With --deep: decides which.")] = 0,
    repair: Annotated[bool, typer.Option("--repair", help="Make what is damaged anew, from the recordings.")] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the recordings are. [default: as in the last build]", show_default=False)
    ] = None,
) -> None:
    """Read a whole store and check every checksum; exit code 1 if anything is damaged.

    Compared features count as equal within one step of float16 (and 0.006 in quiet bins): another kind of machine may
    have computed them. A recording whose file is gone or was changed is not comparable, and not damaged.

    Example: batcache verify features.zarr --deep
    """
    if not deep:
        _refuse(context, ["sample", "seed"], "goes with --deep")
    if not deep and not repair:
        _refuse(context, ["data_dir"], "goes with --deep or --repair")
    place = reach_cache(cache, endpoint, region)
    if repair and not isinstance(place, Path):
        raise typer.BadParameter(
            "--repair works on a disk only: copy the store to one, repair it there and copy it back"
        )
    report = progress.verify(place, sample if deep else 0, seed, data_dir)
    if report.damages and not (repair and isinstance(place, Path) and progress.repair(place, report, data_dir)):
        raise typer.Exit(1)


@app.command()
def prune(
    context: typer.Context,
    cache: Annotated[Path, typer.Argument(metavar="CACHE", help="The store to shrink, on a disk.")] = Path(
        "features.zarr"
    ),
    csv: Csvs = None,
    data_dir: DataDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Give back the space of deleted and changed recordings.

    Deleted are those that the CSV of the last build does not list and whose file is gone; with --csv, all that these
    CSVs do not list. What is kept is copied bit by bit; nothing is computed. Takes space for the copies while it runs.

    Example: batcache prune features.zarr --dry-run
    """
    from batcache.manifest.manifest import read_manifest

    if not csv:
        _refuse(context, ["data_dir"], "goes with --csv")
    manifest = read_manifest(csv, data_dir, allow_outside=True) if csv else None  # no recording is opened
    progress.prune(cache, manifest, dry_run=dry_run)


@app.command()
def info(
    cache: Annotated[str, typer.Argument(metavar="CACHE", help="The store to look at.")] = "features.zarr",
    endpoint: Endpoint = None,
    region: Region = None,
) -> None:
    """Show what a store holds.

    Example: batcache info features.zarr
    """
    from batcache.store.open import open_store
    from batcache.store.summary import summarise

    store = open_store(reach_cache(cache, endpoint, region))
    show_table(f"{cache}", [(name, value) for name, value in summarise(store).items()])


@app.command()
def export(
    cache: Annotated[str, typer.Argument(metavar="CACHE", help="The store to export.", show_default=False)],
    target: Annotated[Path, typer.Argument(metavar="OUT.h5", help="The file to write.", show_default=False)],
    endpoint: Endpoint = None,
    region: Region = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a store into one HDF5 file, for archives, R and MATLAB.

    All commands that read a cache read the file too; build --from makes a store of it again.

    Example: batcache export features.zarr features.h5
    """
    progress.export(reach_cache(cache, endpoint, region), target, force=force)
