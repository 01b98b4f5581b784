"""What a run was made from, found where it lies now: its cache, its manifest, its checkpoints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batcache.errors import RunError
from batcache.manifest.manifest import Manifest, read_manifest
from batcache.storage.listing import is_file, is_there
from batcache.storage.place import Place, is_remote, parse_place, suggest_path
from batcache.store.format.last_build import locate_cache, portable
from batcache.store.settings import choose_manifest, reach_cache
from batcache.synth.guide import recall_guide
from batcache.training.events import PassedOver
from batcache.training.runs import BEST, LAST, list_unreadable, newest_run, read_run, read_run_config


def is_run(target: str, kinds: str = "cache or run") -> bool:
    """Whether a target is the folder of a run; what is none is taken for a cache, or another of these ``kinds``.

    Raises:
        RunError: there is nothing at this path.
    """
    place = parse_place(target)
    if is_remote(place):
        return False
    if not is_there(place):
        remedy = suggest_path(place, "Pass another path, or run `batcache build` or `batcache train` first")
        raise RunError(target, f"no such {kinds}", remedy)
    return is_there(place / "run.json")


def find_cache(
    run: Path,
    cache: str | None = None,
    endpoint: str | None = None,
    region: str | None = None,
    local_cache: Path | None = None,
    local_cache_gb: float | None = None,
) -> Place:
    """The cache given, else the one that a run's record names; reached as the run reached it, unless told otherwise.

    Raises:
        RunError: the run's record is missing or damaged.
        ConfigError: a local cache of one that lies on a disk.
    """
    about, data = read_run(run), read_run_config(run).data
    endpoint, region = endpoint or data.endpoint, region or data.region
    place = cache or str(locate_cache(about["cache"], run))
    if is_remote(parse_place(place)):
        local_cache, local_cache_gb = local_cache or data.local_cache, local_cache_gb or data.local_cache_gb
    return reach_cache(place, endpoint, region, local_cache=local_cache, local_cache_gb=local_cache_gb)


def find_manifest(
    run: Path, data_dir: Path | None = None, about: dict[str, Any] | None = None, csvs: Sequence[Path] = ()
) -> Manifest:
    """The manifest of the CSVs given, else the one that a run was trained on, read from where its CSVs lie now.

    ``about`` names it, where it is not the run's record: what ``metrics.json`` says of an evaluation, for example.

    Raises:
        ManifestError: the CSVs or the data dir are gone.
        RunError: the run's record is missing or damaged.
    """
    if csvs:
        return choose_manifest(csvs, read_run_config(run), data_dir=data_dir, allow_outside=True)
    about = about or read_run(run)
    csvs = [(run / csv).resolve() for csv in about["csvs"]]
    split_of = {(run / csv).resolve(): split for csv, split in about["split_of"].items()}
    data_dir = data_dir or (run / about["data_dir"]).resolve()
    return read_manifest(csvs, data_dir, split_of=split_of, allow_outside=True)


def find_checkpoint(checkpoint: Path | None, runs: Path) -> tuple[Path, Path]:
    """The run of a checkpoint and the checkpoint in it: the one given, else the best of the newest run in ``runs``.

    Raises:
        RunError: there is none.
    """
    if checkpoint is None:
        checkpoint = newest_run(runs) / BEST
    place = checkpoint.resolve()
    if not is_file(place):
        raise RunError(checkpoint, "no such checkpoint", "Pass a .pt file: RUN/checkpoints/best_model.pt")
    run = Path(portable(place.parent.parent, Path()))  # through the run's name, wherever one stands
    return run, run / place.parent.name / place.name


def list_passed_over(runs: Path) -> PassedOver:
    """What to tell where the newest run, or one on the same inputs, is looked for in a folder."""
    return PassedOver(list_unreadable(runs))


def epochs_kept(run: Path) -> int:
    """After how many epochs a run that was stopped goes on; 0 where it does not."""
    from batcache.model.checkpoint import load_checkpoint

    return load_checkpoint(run / LAST).epoch if is_there(run / LAST) else 0


def summarise_run(run: Path) -> dict[str, str]:
    """A run's facts in the order in which one would ask for them.

    Raises:
        RunError: the run's record is missing or damaged.
    """
    about, config = read_run(run), read_run_config(run)
    goes_on = f"`batcache train --resume {run}` goes on" if is_there(run / LAST) else "it has no epoch to go on from"
    facts = {
        "started": str(about["started"]),
        "finished": "yes" if about["finished"] else f"no: {goes_on}",
        "species": ", ".join(about["species"]),
        "pooling": config.model.pooling_type,
        "cache": str(locate_cache(about["cache"], run)),
        "CSVs": ", ".join(str((run / csv).resolve()) for csv in about["csvs"]),
    }
    if about["guide"]:
        facts["described by a guide"] = ", ".join(dict.fromkeys(call.species for call in recall_guide(about["guide"])))
    if is_there(run / BEST):
        from batcache.model.checkpoint import load_checkpoint

        best = load_checkpoint(run / BEST)
        facts["features"] = f"front end {best.front_end_version}, fingerprint {best.fingerprint}"
        facts["best model"] = f"{run / BEST} (epoch {best.epoch}, {best.metric} {best.score:.4f})"
    return facts
