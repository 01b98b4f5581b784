"""Commands on a cache: build, info, verify, prune, export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batcache.cli.options import (
    AllowOutside,
    CachePath,
    ConfigPath,
    Csvs,
    DataDir,
    Device,
    Endpoint,
    LocalWorkers,
    OnDevice,
    Region,
    Scheduler,
    SpectraBy,
    refuse,
    refuse_all_but,
)
from batcache.cli.progress import show_progress
from batcache.cli.store_tables import of_decisions
from batcache.cli.tables import describe
from batcache.cli.terminal import Note, Table, say, show, show_table, warn
from batcache.errors import count

if TYPE_CHECKING:  # all else is imported by the command that needs it, so that --help answers at once
    from batcache.storage.place import Place
    from batcache.store.upkeep.verify import VerifyReport


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
    scheduler: Scheduler = None,
    local_workers: LocalWorkers = None,
) -> None:
    """Compute the features of every recording once, into a Zarr store.

    Run again, it computes only what is missing or has changed; killed, it resumes. Recordings that cannot be used are
    listed in features.zarr.rejected.csv beside the cache, and the exit code is then 1.

    With --scheduler the workers of a Dask cluster look at files and compute, each a shard at a time, and the store
    comes out the same, byte for byte. They must see the recordings and the cache at the same paths as this machine, or
    the cache in a bucket.

    Example: batcache build --csv train.csv --cache features.zarr
    """
    if source is not None:
        allowed = ("source", "cache", "endpoint", "region")
        refuse_all_but(context, allowed, "a file is restored as it is, without recordings; give only --cache")
        from batcache.store.hdf5.restore import restore

        with show_progress() as listener:
            restored = restore(source, reach_cache(cache, endpoint, region), on_progress=listener)
        show(describe(restored))
        return
    from batcache.cluster import open_cluster
    from batcache.manifest.call_range import warn_of_cut_calls
    from batcache.manifest.split_names import warn_of_misspelt
    from batcache.store.build.build import build as build_store
    from batcache.store.build.build import count_committed, plan_build
    from batcache.store.settings import choose_manifest, load_settings

    given = {"data_dir": data_dir, "cache": cache, "endpoint": endpoint, "region": region, "engine": engine}
    settings = load_settings(config, {"data": given})
    manifest = choose_manifest(csv or (), settings, allow_outside=allow_outside)
    place = settings.data.place
    if dry_run:
        with show_progress() as listener:
            todo = plan_build(manifest, place, settings.data, rehash=rehash, on_progress=listener)
        show([*describe(todo), *of_decisions(todo)])
        return
    try:
        with open_cluster(scheduler, local_workers, warn) as cluster, show_progress() as listener:
            report = build_store(
                manifest, place, settings.data, device.value, rehash=rehash, cluster=cluster, on_progress=listener
            )
    except KeyboardInterrupt:  # shards that were being written are finished
        say(f"stopped: {place} holds {count(count_committed(place, settings.data), 'recording')}")
        raise
    show(describe(report))
    show(map(Note, warn_of_misspelt(manifest.clips)))
    if note := warn_of_cut_calls(manifest.possible_species, settings.data.fmax):
        warn(note)
    if report.rejected:
        raise typer.Exit(1)


def info(
    cache: Annotated[
        str,
        typer.Argument(
            metavar="CACHE", help="What to look at: a store, a run's folder, or a model's file (.pt, .onnx)."
        ),
    ] = "features.zarr",
    endpoint: Endpoint = None,
    region: Region = None,
) -> None:
    """Show what a store holds, what a run was and made, or what a model knows: a checkpoint, an ONNX file, or a trunk's
    file.

    Of a model it says which species are safe at which threshold, which are not, and on what this rests.

    Example: batcache info features.zarr
    """
    from batcache.training.run_inputs import is_run, summarise_run

    calibration = None
    if is_run(cache, "cache, run or model"):
        facts = summarise_run(Path(cache))
    elif cache.endswith(".pt"):
        from batcache.inference.calibration.of_model import calibrate_model
        from batcache.inference.torch_model import of_checkpoint
        from batcache.model.checkpoint import Checkpoint
        from batcache.model.summary import read_model, summarise_model

        path, found = Path(cache), read_model(Path(cache))
        facts = summarise_model(path, found)
        calibration = calibrate_model(of_checkpoint(path, found)) if isinstance(found, Checkpoint) else None
    elif cache.endswith(".onnx"):
        from batcache.inference.calibration.of_model import calibrate_model
        from batcache.inference.onnx.model import open_onnx

        opened = open_onnx(Path(cache))
        facts, calibration = dict(opened.checkpoint.summary), calibrate_model(opened)
    else:
        from batcache.store.open import open_store
        from batcache.store.summary import summarise

        facts = summarise(open_store(reach_cache(cache, endpoint, region)))
    show_table(Table(f"{cache}", list(facts.items())))
    if calibration is not None:
        show(describe(calibration))


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
        refuse(context, ["sample", "seed"], "goes with --deep")
    if not deep and not repair:
        refuse(context, ["data_dir"], "goes with --deep or --repair")
    from batcache.storage.place import is_remote
    from batcache.store.upkeep.verify import verify as verify_store

    place = reach_cache(cache, endpoint, region)
    if repair and is_remote(place):
        raise typer.BadParameter(
            "--repair works on a disk only: copy the store to one, repair it there and copy it back"
        )
    with show_progress() as listener:
        found = verify_store(place, sample=sample if deep else 0, seed=seed, data_dir=data_dir, on_progress=listener)
    show(describe(found))
    if found.damages and not (repair and not is_remote(place) and _repair(place, found, data_dir)):
        raise typer.Exit(1)


def _repair(cache: Path, found: "VerifyReport", data_dir: Path | None) -> bool:
    """Whether all damage is gone."""
    from batcache.store.upkeep.repair import repair

    with show_progress() as listener:
        report = repair(cache, found, data_dir, on_progress=listener)
    show(describe(report))
    return not (report.left or report.impossible)


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
    from batcache.store.upkeep.prune import prune as prune_store

    if not csv:
        refuse(context, ["data_dir"], "goes with --csv")
    manifest = read_manifest(csv, data_dir, allow_outside=True) if csv else None  # no recording is opened
    with show_progress() as listener:
        report = prune_store(cache, manifest, dry_run=dry_run, on_progress=listener)
    show(describe(report))


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
    from batcache.store.hdf5.export import export as export_store

    with show_progress() as listener:
        report = export_store(reach_cache(cache, endpoint, region), target, force=force, on_progress=listener)
    show(describe(report))


def reach_cache(cache: str | None, endpoint: str | None, region: str | None) -> "Place":
    """The cache that is named without other settings."""
    from batcache.store.settings import reach_cache as reach

    return reach(cache, endpoint, region)


COMMANDS = (build, info, verify, prune, export)
