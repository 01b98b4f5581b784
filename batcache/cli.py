"""The command line: parse, one library call, show. The only place that prints or exits."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batcache.errors import BatcacheError, ConfigError, ManifestError, RunError
from batcache.memory import keep_freed_memory
from batcache.terminal import (
    describe_epoch,
    describe_plan,
    describe_work,
    list_decisions,
    progress_bar,
    say,
    show_build,
    show_measured,
    show_metrics,
    show_pruned,
    show_repaired,
    show_table,
    show_verified,
    warn,
)

if TYPE_CHECKING:  # all else is imported by the command that needs it, so that --help answers at once
    from batcache.bench.suite import Effort
    from batcache.config import Config
    from batcache.manifest import Manifest
    from batcache.s3 import Place
    from batcache.store.reader import Store
    from batcache.store.report import BuildReport
    from batcache.store.verify import VerifyReport

app = typer.Typer(
    help="Train bat call classifiers from weak labels, with features that are computed once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Resident(StrEnum):
    auto = "auto"
    off = "off"


class Pooling(StrEnum):
    max = "max"
    attention = "attention"
    linear_softmax = "linear_softmax"


Csvs = Annotated[
    list[Path] | None,
    typer.Option("--csv", help="Manifest; give several as --csv a.csv --csv b.csv.", show_default=False),
]
DataDir = Annotated[
    Path | None, typer.Option(help="Where filenames start from. [default: the folder of the CSV]", show_default=False)
]
CachePath = Annotated[
    str | None,
    typer.Option(
        "--cache",
        metavar="PATH",
        help="The store: a path, or s3://bucket/path. [default: features.zarr]",
        show_default=False,
    ),
]
Endpoint = Annotated[
    str | None, typer.Option(help="Of a cache on S3: the server's URL. [default: AWS]", show_default=False)
]
Region = Annotated[
    str | None, typer.Option(help="Of a cache on S3. [default: that of your AWS settings]", show_default=False)
]
ConfigPath = Annotated[Path | None, typer.Option("--config", help="Settings as YAML.", show_default=False)]
Runs = Annotated[
    Path | None, typer.Option("--run-dir", help="The folder that holds the runs. [default: runs]", show_default=False)
]
AllowOutside = Annotated[
    bool, typer.Option("--allow-outside", help="Let filenames lead out of the data dir; only for CSVs you trust.")
]
OnDevice = Annotated[Device, typer.Option("--device", help="Where to compute; auto takes a GPU where there is one.")]


Flags = dict[str, dict[str, Any]]


def main() -> None:
    """Run the command line; our errors are one line and exit code 1."""
    try:
        keep_freed_memory()
        app()
    except SystemExit as leaving:
        if leaving.code == 130:  # Ctrl-C
            _say_how_to_go_on()
        raise
    except KeyboardInterrupt:  # before the command began
        _say_how_to_go_on()
        sys.exit(130)
    except BatcacheError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'disk'}: {error.strerror or error}")


def _say_how_to_go_on() -> None:
    typer.echo("stopped: run the same command again to go on, a training with --resume", err=True)


def _fail(message: str) -> None:
    typer.echo(f"error: {message}", err=True)
    sys.exit(1)


@app.command()
def build(
    csv: Csvs = None,
    data_dir: DataDir = None,
    cache: CachePath = None,
    endpoint: Endpoint = None,
    region: Region = None,
    config: ConfigPath = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done with each recording.")] = False,
    rehash: Annotated[bool, typer.Option("--rehash", help="Read every file, whatever its time says.")] = False,
    allow_outside: AllowOutside = False,
    source: Annotated[
        Path | None, typer.Option("--from", help="Restore an exported HDF5 file instead.", show_default=False)
    ] = None,
    device: OnDevice = Device.auto,
) -> None:
    """Compute the features of every recording once, into a Zarr store.

    Run again, it computes only what is missing or has changed; killed, it resumes. Recordings that cannot be used are
    listed in features.zarr.rejected.csv beside the cache, and the exit code is then 1.

    Example: batcache build --csv train.csv --cache features.zarr
    """
    if source is not None:
        if any(value is not None for value in (csv, data_dir, config)):
            raise typer.BadParameter("an exported file has its settings and needs no recordings; give only --cache")
        _restore(source, cache, endpoint, region)
        return
    flags: Flags = {"data": {"data_dir": data_dir, "cache": cache, "endpoint": endpoint, "region": region}}
    settings = _load(config, flags)
    manifest = _read_manifest(csv, settings, allow_outside=allow_outside)
    report = _build(settings, manifest, device, rehash=rehash, dry_run=dry_run)
    if report is not None and report.rejected:
        raise typer.Exit(1)


@app.command()
def train(
    pooling: Annotated[Pooling | None, typer.Option(help="How instances become a bag.", show_default=False)] = None,
    csv: Csvs = None,
    data_dir: DataDir = None,
    cache: CachePath = None,
    endpoint: Endpoint = None,
    region: Region = None,
    config: ConfigPath = None,
    run_dir: Runs = None,
    epochs: Annotated[int | None, typer.Option(help="At most so many epochs.", show_default=False)] = None,
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
        others = (pooling, csv, data_dir, cache, endpoint, region, config, run_dir, epochs, seed, resident)
        if any(value is not None for value in others):
            raise typer.BadParameter("a resumed run keeps its settings; give only --device with --resume")
        _resume(resume, device)
        return
    flags: Flags = {
        "data": {"data_dir": data_dir, "cache": cache, "endpoint": endpoint, "region": region},
        "model": {"pooling_type": pooling},
        "training": {"epochs": epochs, "seed": seed, "run_dir": run_dir, "resident": resident},
    }
    settings, store = _load_with_store(config, flags)
    _train(settings, store, _read_manifest(csv, settings, store, allow_outside=True), device)


@app.command(name="eval")
def evaluate(
    split: Annotated[str, typer.Option(help="The split to judge on.")] = "test",
    checkpoint: Annotated[
        Path | None, typer.Option(help="A .pt file of a run. [default: best of the newest run]", show_default=False)
    ] = None,
    csv: Csvs = None,
    data_dir: DataDir = None,
    cache: CachePath = None,
    endpoint: Endpoint = None,
    region: Region = None,
    run_dir: Runs = None,
    device: OnDevice = Device.auto,
) -> None:
    """Judge a trained model on clips that it has not seen.

    Without --csv, the clips and splits are those of the run.

    Example: batcache eval --split test
    """
    from batcache.evaluation.predict import choose_clips
    from batcache.store.opening import open_store
    from batcache.store.sources import portable
    from batcache.training.runs import BEST, newest_run, read_run, read_run_config

    if checkpoint is None:
        checkpoint = newest_run(run_dir or Path("runs")) / BEST
    place = checkpoint.resolve()
    if not place.is_file():
        raise RunError(checkpoint, "no such checkpoint", "Pass a .pt file: RUN/checkpoints/best_model.pt")
    run = Path(portable(place.parent.parent, Path()))  # through the run's name, wherever one stands
    checkpoint = run / place.parent.name / place.name
    about, settings = read_run(run), read_run_config(run)
    store = open_store(_find_cache(run, about, cache, endpoint, region))
    if csv:
        manifest = _read_manifest(csv, settings, data_dir=data_dir, allow_outside=True)
    else:
        manifest = _manifest_noted(run, about, data_dir)
    _evaluate(choose_clips(checkpoint, store, manifest, split, as_trained=not csv), device)


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="An experiment: settings as YAML.", show_default=False)],
    csv: Csvs = None,
    data_dir: DataDir = None,
    cache: CachePath = None,
    endpoint: Endpoint = None,
    region: Region = None,
    pooling: Annotated[Pooling | None, typer.Option(help="How instances become a bag.", show_default=False)] = None,
    run_dir: Runs = None,
    allow_outside: AllowOutside = False,
    device: OnDevice = Device.auto,
) -> None:
    """Run a whole experiment: synth (if asked for), build, train, eval, show; only what is not up to date.

    Example: batcache run pipelines/real.yaml --csv recordings.csv
    """
    from batcache.evaluation.predict import choose_clips
    from batcache.training.runs import BEST

    flags: Flags = {
        "data": {"data_dir": data_dir, "cache": cache, "endpoint": endpoint, "region": region},
        "model": {"pooling_type": pooling},
        "training": {"run_dir": run_dir},
    }
    settings = _load(file, flags)
    if settings.synth.manifest is not None:
        _synthesise(settings.synth.manifest, settings.synth.out, force=False)
    report = _build(settings, _read_manifest(csv, settings, allow_outside=allow_outside), device)
    assert report is not None, "this was no dry run"
    settings, store = _load_with_store(file, flags)
    manifest = _read_manifest(csv, settings, store, allow_outside=True)
    trained = _train_if_needed(settings, store, manifest, device)
    judging = choose_clips(trained / BEST, store, manifest, "test", as_trained=True)
    page = trained / "test_page.png"
    if judging.is_done() and page.exists():
        say(f"eval: up to date, {trained / 'metrics.json'}")
    else:
        _evaluate(judging, device)
        _draw_run(trained, page, "test", ())
    _say_what_next(settings, trained, page)
    if report.rejected:
        raise typer.Exit(1)


@app.command()
def show(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A cache, or the folder of a run.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.", show_default=False)],
    clip: Annotated[
        list[str] | None, typer.Option(help="A clip's filename, as in the CSV; may be repeated.", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="Of a run: what was judged, as metrics.json names it.")] = "test",
    endpoint: Endpoint = None,
    region: Region = None,
) -> None:
    """Draw clips as PCEN spectrograms, with the calls that are known; of a run also its scores and evidence.

    Without --clip: the first six of a cache; of a run two that it judged well, two badly, two with doubt. Known calls
    are read from an events.csv in the data dir.

    Example: batcache show features.zarr --clip meadow/0412_2210.wav -o clip.png
    """
    if (Path(target) / "run.json").exists():
        _draw_run(Path(target), output, split, clip or (), endpoint, region)
    else:
        _draw_store(_reach(target, endpoint, region), output, clip or ())
    say(f"drawn: {output}")


@app.command()
def synth(
    manifest: Annotated[Path | None, typer.Argument(help="The clips to render.", show_default=False)] = None,
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
    elif species:
        raise typer.BadParameter("--species goes with --clips")
    assert manifest is not None
    _synthesise(manifest, out, force=force)


@app.command()
def bench(
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

    settings = _load(config, {"data": {"data_dir": data_dir}})
    manifest = _read_manifest(csv, settings) if csv or settings.data.csvs else None
    _bench(manifest, settings, Effort(clips=clips, long_minutes=long_minutes, planned=planned), device, as_json=as_json)


@app.command()
def verify(
    cache: Annotated[str, typer.Argument(metavar="[CACHE]", help="The store to check.")] = "features.zarr",
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
    place = _reach(cache, endpoint, region)
    if repair and not isinstance(place, Path):
        raise typer.BadParameter("--repair works on a disk only: build the recordings into the bucket again")
    report = _verify(place, sample if deep else 0, seed, data_dir)
    if report.damages and not (repair and isinstance(place, Path) and _repair(place, report, data_dir)):
        raise typer.Exit(1)


@app.command()
def prune(
    cache: Annotated[Path, typer.Argument(help="The store to shrink, on a disk.")] = Path("features.zarr"),
    csv: Csvs = None,
    data_dir: DataDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Give back the space of deleted and changed recordings.

    Deleted are those that the CSV of the last build does not list and whose file is gone; with --csv, all that these
    CSVs do not list. What is kept is copied bit by bit; nothing is computed. Takes space for the copies while it runs.

    Example: batcache prune features.zarr --dry-run
    """
    from batcache.manifest import read_manifest
    from batcache.store import prune as library

    if data_dir is not None and not csv:
        raise typer.BadParameter("--data-dir goes with --csv")
    with progress_bar() as bar:
        task = bar.add_task("copying instances", total=None)
        for event in library.prune(cache, read_manifest(csv, data_dir) if csv else None, dry_run=dry_run):
            if isinstance(event, library.Progress):
                bar.update(task, completed=event.done, total=event.total)
            else:
                report = event
    show_pruned(report)


@app.command()
def info(
    cache: Annotated[str, typer.Argument(metavar="[CACHE]", help="The store to look at.")] = "features.zarr",
    endpoint: Endpoint = None,
    region: Region = None,
) -> None:
    """Show what a store holds.

    Example: batcache info features.zarr
    """
    from batcache.store.opening import open_store
    from batcache.store.summary import summarise

    store = open_store(_reach(cache, endpoint, region))
    show_table(f"{cache}", [(name, value) for name, value in summarise(store).items()])


@app.command()
def export(
    cache: Annotated[str, typer.Argument(help="The store to export.", show_default=False)],
    target: Annotated[Path, typer.Argument(metavar="OUT.h5", help="The file to write.", show_default=False)],
    endpoint: Endpoint = None,
    region: Region = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a store into one HDF5 file, for archives, R and MATLAB.

    All commands that read a cache read the file too; build --from makes a store of it again.

    Example: batcache export features.zarr features.h5
    """
    from batcache.store.export import Exported
    from batcache.store.export import export as library

    with progress_bar() as bar:
        task = bar.add_task("exporting", total=None)
        for event in library(_reach(cache, endpoint, region), target, force=force):
            if isinstance(event, Exported):
                report = event
            else:
                bar.update(task, completed=event.done, total=event.total)
    say(f"exported: {report.recordings:,} recordings, {report.instances:,} instances to {report.path}")


def _load(path: Path | None, flags: Flags) -> "Config":
    """Settings from defaults, the store where there is one, the YAML and flags."""
    from batcache.config import load_config
    from batcache.store.group import is_free
    from batcache.store.opening import read_settings

    settings = load_config(path, flags=flags)
    cache = settings.data.place
    if is_free(cache):
        return settings
    features, layout = read_settings(cache)
    stored = {**vars(features), "instance_s": layout.frames_per_instance / features.frames_per_second}
    return load_config(path, base={"data": stored}, flags=flags)


def _load_with_store(path: Path | None, flags: Flags) -> "tuple[Config, Store]":
    """Settings and the open store; settings that contradict the store's features are an error."""
    from batcache.store.opening import open_store

    settings = _load(path, flags)
    store = open_store(settings.data.place)
    differ = [
        f"{name} is {there!r} in {store.path}, {getattr(settings.data, name)!r} in {path}"
        for name, there in vars(store.features).items()
        if getattr(settings.data, name) != there
    ]
    if differ:
        raise ConfigError("data", "; ".join(differ), "Remove them from the config, or build another cache with them")
    return settings, store


def _read_manifest(
    csvs: list[Path] | None,
    settings: "Config",
    store: "Store | None" = None,
    data_dir: Path | None = None,
    allow_outside: bool = False,
) -> "Manifest":
    """The manifest of the CSVs given, else of those in the config, else of those the store was last built from.

    To what opens no recording a filename is but a key of the index, and may lead anywhere.
    """
    from batcache.manifest import read_manifest

    data = settings.data
    named = (("train", data.train_csv), ("val", data.val_csv), ("test", data.test_csv))
    split_of = {path: split for split, path in reversed(named) if path is not None}
    chosen, data_dir = tuple(csvs or data.csvs), data_dir or data.data_dir
    if not chosen and store is not None:
        sources = store.sources()
        chosen, split_of, data_dir = sources.csvs, sources.split_of, data_dir or sources.data_dir
    if not chosen:
        raise ManifestError(
            "--csv", "no CSV is given", "Pass --csv train.csv, or name it in the config as data.train_csv"
        )
    return read_manifest(chosen, data_dir, num_classes=data.num_classes, split_of=split_of, allow_outside=allow_outside)


def _reach(cache: str, endpoint: str | None, region: str | None) -> "Place":
    """The cache that a command is given without settings."""
    from batcache.config import load_config

    flags: Flags = {"data": {"cache": cache, "endpoint": endpoint, "region": region}}
    return load_config(flags=flags).data.place


def _find_cache(
    run: Path,
    about: Mapping[str, Any],
    cache: str | None = None,
    endpoint: str | None = None,
    region: str | None = None,
) -> "Place":
    """The cache given, else the one that a run's record names; reached as the run reached it, unless told otherwise."""
    from batcache.store.sources import locate_cache
    from batcache.training.runs import read_run_config

    data = read_run_config(run).data
    endpoint, region = endpoint or data.endpoint, region or data.region
    return _reach(cache or str(locate_cache(about["cache"], run)), endpoint, region)


def _manifest_noted(run: Path, about: Mapping[str, Any], data_dir: Path | None) -> "Manifest":
    """The manifest that a run's record names, read from where its CSVs lie now."""
    from batcache.manifest import read_manifest

    csvs = [(run / csv).resolve() for csv in about["csvs"]]
    split_of = {(run / csv).resolve(): split for csv, split in about["split_of"].items()}
    data_dir = data_dir or (run / about["data_dir"]).resolve()
    return read_manifest(csvs, data_dir, split_of=split_of, allow_outside=True)


def _build(
    settings: "Config", manifest: "Manifest", device: Device, *, rehash: bool = False, dry_run: bool = False
) -> "BuildReport | None":
    """Build, and show what happens; None after a dry run."""
    from batcache.disk import free_bytes
    from batcache.store import build as library
    from batcache.store.plan import Plan

    cache, report = settings.data.place, None
    events = library.build(manifest, cache, settings.data, device.value, rehash=rehash, dry_run=dry_run)
    try:
        with progress_bar() as bar:
            tasks: dict[str, Any] = {}
            for event in events:
                if isinstance(event, library.Progress):
                    title = "looking at files" if event.stage == "scan" else "computing features"
                    if event.stage not in tasks:
                        tasks[event.stage] = bar.add_task(title, total=event.total)
                    bar.update(tasks[event.stage], completed=event.done)
                elif isinstance(event, Plan):
                    say(describe_plan(event))
                    if event.tasks:
                        say(describe_work(event, free_bytes(cache)))
                    for decision in list_decisions(event) if dry_run else ():
                        say(decision)
                else:
                    report = event
    except KeyboardInterrupt:
        events.close()  # shards that are being written are finished
        say(f"stopped: {library.count_committed(cache, settings.data):,} recordings are in {cache}")
        raise
    if report is not None:
        show_build(report, settings)
    return report


def _restore(source: Path, cache: str | None, endpoint: str | None, region: str | None) -> None:
    from batcache.config import DataConfig
    from batcache.store.restore import Restored, restore

    with progress_bar() as bar:
        task = bar.add_task("restoring", total=None)
        for event in restore(source, _reach(cache or str(DataConfig().cache), endpoint, region)):
            if isinstance(event, Restored):
                report = event
            else:
                bar.update(task, completed=event.done, total=event.total)
    say(f"restored: {report.recordings:,} recordings, {report.instances:,} instances in {report.cache}")


def _verify(cache: "Place", sample: int, seed: int, data_dir: Path | None) -> "VerifyReport":
    from batcache.store import verify as library

    with progress_bar() as bar:
        tasks: dict[str, Any] = {}
        for event in library.verify(cache, sample=sample, seed=seed, data_dir=data_dir):
            if isinstance(event, library.Progress):
                title = "reading shards" if event.stage == "read" else "computing anew"
                if event.stage not in tasks:
                    tasks[event.stage] = bar.add_task(title, total=event.total)
                bar.update(tasks[event.stage], completed=event.done)
            else:
                report = event
    show_verified(report)
    return report


def _repair(cache: Path, found: "VerifyReport", data_dir: Path | None) -> bool:
    """Whether all damage is gone."""
    from batcache.store import repair as library

    with progress_bar() as bar:
        tasks: dict[str, Any] = {}
        for event in library.repair(cache, found, data_dir):
            if isinstance(event, library.RepairReport):
                report = event
                continue
            if event.stage not in tasks:
                tasks[event.stage] = bar.add_task(f"repair: {event.stage}", total=event.total)
            bar.update(tasks[event.stage], completed=event.done)
    show_repaired(report)
    return not (report.left or report.impossible)


def _train(settings: "Config", store: "Store", manifest: "Manifest", device: Device) -> Path:
    from batcache.features.frontend import pick_device
    from batcache.training import loop

    return _show_training(loop.train(settings, store, manifest, settings.training.run_dir, pick_device(device.value)))


def _resume(run: Path, device: Device) -> Path:
    from batcache.features.frontend import pick_device
    from batcache.store.opening import open_store
    from batcache.training import loop
    from batcache.training.runs import read_run

    about = read_run(run)
    store = open_store(_find_cache(run, about))
    manifest = _manifest_noted(run, about, None)
    return _show_training(loop.resume(run, store, manifest, pick_device(device.value)))


def _train_if_needed(settings: "Config", store: "Store", manifest: "Manifest", device: Device) -> Path:
    """The run that these inputs have made, finished first if it was stopped; else a new one."""
    from batcache.training import inputs
    from batcache.training.bags import join
    from batcache.training.runs import read_run

    training = settings.training
    split = inputs.choose_split(join(manifest, store), manifest, training.validation_share, training.seed)
    found = inputs.find_run(training.run_dir, inputs.describe_inputs(settings, split, manifest.species))
    if found is None:
        return _train(settings, store, manifest, device)
    if not read_run(found)["finished"]:
        return _resume(found, device)
    say(f"train: up to date, {found}")
    return found


def _show_training(events: Iterator[Any]) -> Path:
    from batcache.training import events as told

    run, rows = Path(), []
    with progress_bar() as bar:
        task = None
        for event in events:
            if isinstance(event, told.RunStarted):
                run = event.run
                say(
                    f"run {event.run}: {event.train_clips:,} clips train, {event.val_clips:,} validate, "
                    f"{event.parameters:,} parameters"
                )
                for note in event.notes:
                    warn(note)
            elif isinstance(event, told.Step):
                if task is None or event.done == 1:
                    if task is not None:
                        bar.remove_task(task)
                    what = f"epoch {event.epoch}" + (", validating" if event.stage == "validate" else "")
                    task = bar.add_task(what, total=event.total)
                bar.update(task, completed=event.done)
            elif isinstance(event, told.Epoch):
                say(describe_epoch(event))
            else:
                for note in event.notes:
                    warn(note)
                rows = [
                    ("epochs", f"{event.epochs}" + (", stopped early" if event.stopped_early else "")),
                    ("best epoch", f"{event.best_epoch}"),
                    (event.metric, f"{event.best_score:.4f}"),
                    ("best model", f"{event.run / 'checkpoints' / 'best_model.pt'}"),
                ]
    show_table(f"{run}", rows)
    return run


def _evaluate(judging: Any, device: Device) -> None:
    from batcache.evaluation import predict
    from batcache.features.frontend import pick_device

    say(
        f"judging {judging.checkpoint_path} (epoch {judging.checkpoint.epoch}) on split {judging.split}: "
        f"{len(judging.bags):,} clips"
    )
    with progress_bar() as bar:
        task = bar.add_task("judging clips", total=len(judging.bags))
        for event in predict.evaluate(judging, pick_device(device.value)):
            if isinstance(event, predict.Judged):
                bar.update(task, completed=event.done)
            else:
                report = event
    for note in report.notes:
        warn(note)
    show_metrics(report)


def _bench(manifest: "Manifest | None", settings: "Config", effort: "Effort", device: Device, *, as_json: bool) -> None:
    import json

    from batcache.bench import rows, suite

    pending: list[rows.Row] = []
    with progress_bar() as bar:
        task = bar.add_task("", total=None)
        for event in suite.bench(manifest, settings, effort, device.value):
            if isinstance(event, rows.Row):
                pending.append(event)
                continue
            if not as_json:
                show_measured(pending)
            pending.clear()
            if isinstance(event, rows.Measuring):
                bar.update(task, description=event.what, completed=event.done, total=event.total)
            else:
                report = event
    if as_json:
        say(json.dumps(report.to_plain(), indent=1))


def _synthesise(manifest_path: Path, out: Path | None, *, force: bool) -> None:
    from batcache.manifest import read_manifest
    from batcache.synth import create

    if out is None:
        raise ConfigError("synth.out", "not given", "Say where the simulated recordings go")
    with progress_bar() as bar:
        task = bar.add_task("simulating recordings", total=None)
        for event in create.create(read_manifest([manifest_path]), out, force=force):
            if isinstance(event, create.Rendered):
                bar.update(task, completed=event.done, total=event.total)
            else:
                report = event
    counted = f"; {report.calls:,} calls in {out / 'events.csv'}"
    kept = f"{report.kept:,} there already"
    say(f"simulated: {report.clips:,} clips in {out}, {report.written:,} written, {kept}{counted}")


def _draw_run(
    run: Path,
    output: Path,
    name: str,
    clips: Sequence[str],
    endpoint: str | None = None,
    region: str | None = None,
) -> None:
    from batcache.evaluation.panels import panels_of_run, read_calls
    from batcache.evaluation.predict import read_judged
    from batcache.evaluation.report import draw_page
    from batcache.store.opening import open_store
    from batcache.training.bags import join

    about, predictions = read_judged(run, name)
    store = open_store(_find_cache(run, about, None, endpoint, region))
    manifest = _manifest_noted(run, about, None)
    calls = read_calls(manifest.data_dir / "events.csv")
    panels = panels_of_run(store, join(manifest, store).bags, predictions, calls, clips)
    draw_page(output, panels, store.features)


def _draw_store(cache: "Place", output: Path, clips: Sequence[str]) -> None:
    from batcache.evaluation.panels import panels_of_store, read_calls
    from batcache.evaluation.report import draw_page
    from batcache.manifest import read_manifest
    from batcache.store.opening import open_store
    from batcache.training.bags import join, whole_recordings

    store = open_store(cache)
    sources = store.sources()
    if sources.csvs:
        manifest = read_manifest(sources.csvs, sources.data_dir, split_of=sources.split_of, allow_outside=True)
        bags, species = join(manifest, store).bags, manifest.species
        calls = read_calls(manifest.data_dir / "events.csv")
    else:
        bags, species, calls = whole_recordings(store), (), {}
    draw_page(output, panels_of_store(store, bags, species, calls, clips), store.features)


def _say_what_next(settings: "Config", run: Path, page: Path) -> None:
    show_table(
        "where everything lies",
        [
            ("features", f"{settings.data.cache}"),
            ("best model", f"{run / 'checkpoints' / 'best_model.pt'}"),
            ("scores", f"{run / 'metrics.json'}"),
            ("predictions", f"{run / 'logs' / 'test_predictions.npz'}"),
            ("six clips drawn", f"{page}"),
        ],
    )
    if settings.synth.manifest is not None:
        say("with your own recordings, and a train.csv that says which species are in which clip:")
        say("    batcache build --csv train.csv\n    batcache train\n    batcache eval --split test")
