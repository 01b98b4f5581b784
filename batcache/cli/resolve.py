"""What flags, a config, a store and a run's record point at: settings, caches, manifests, checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batcache.errors import ConfigError, ManifestError, RunError

if TYPE_CHECKING:  # all else is imported where it is needed, so that --help answers at once
    from batcache.config.settings import Config
    from batcache.manifest.manifest import Manifest
    from batcache.storage.place import Place
    from batcache.store.reader import Store

Flags = dict[str, dict[str, Any]]


def load_settings(path: Path | None, flags: Flags) -> "Config":
    """Settings from defaults, the store where there is one, the YAML and flags."""
    from batcache.config.settings import load_config
    from batcache.store.format.attributes import is_free
    from batcache.store.open import read_settings

    settings = load_config(path, flags=flags)
    cache = settings.data.place
    if is_free(cache):
        return settings
    features, layout = read_settings(cache)
    stored = {**vars(features), "instance_s": layout.frames_per_instance / features.frames_per_second}
    return load_config(path, base={"data": stored}, flags=flags)


def load_with_store(path: Path | None, flags: Flags) -> "tuple[Config, Store]":
    """Settings and the open store; settings that contradict the store's features are an error."""
    from batcache.store.open import open_store

    settings = load_settings(path, flags)
    store = open_store(settings.data.place)
    differ = [
        f"{name} is {there!r} in {store.path}, {getattr(settings.data, name)!r} in {path}"
        for name, there in vars(store.features).items()
        if getattr(settings.data, name) != there
    ]
    if differ:
        raise ConfigError("data", "; ".join(differ), "Remove them from the config, or build another cache with them")
    return settings, store


def choose_manifest(
    csvs: list[Path] | None,
    settings: "Config",
    store: "Store | None" = None,
    data_dir: Path | None = None,
    allow_outside: bool = False,
) -> "Manifest":
    """The manifest of the CSVs given, else of those in the config, else of those the store was last built from.

    To what opens no recording a filename is but a key of the index, and may lead anywhere.
    """
    from batcache.manifest.manifest import read_manifest
    from batcache.store.format.last_build import require_there

    data = settings.data
    named = (("train", data.train_csv), ("val", data.val_csv), ("test", data.test_csv))
    split_of = {path: split for split, path in reversed(named) if path is not None}
    chosen, data_dir = tuple(csvs or data.csvs), data_dir or data.data_dir
    if not chosen and store is not None:
        last = store.last_build()
        require_there(store.path, last, data_dir)
        chosen, split_of, data_dir = last.csvs, last.split_of, data_dir or last.data_dir
    if not chosen:
        raise ManifestError(
            "--csv", "no CSV is given", "Pass --csv train.csv, or name it in the config as data.train_csv"
        )
    return read_manifest(chosen, data_dir, num_classes=data.num_classes, split_of=split_of, allow_outside=allow_outside)


def reach_cache(cache: str | None, endpoint: str | None, region: str | None) -> "Place":
    """The cache that a command is given without settings."""
    from batcache.config.settings import load_config

    flags: Flags = {"data": {"cache": cache, "endpoint": endpoint, "region": region}}
    return load_config(flags=flags).data.place


def find_cache(
    run: Path,
    about: Mapping[str, Any],
    cache: str | None = None,
    endpoint: str | None = None,
    region: str | None = None,
) -> "Place":
    """The cache given, else the one that a run's record names; reached as the run reached it, unless told otherwise."""
    from batcache.store.format.last_build import locate_cache
    from batcache.training.runs import read_run_config

    data = read_run_config(run).data
    endpoint, region = endpoint or data.endpoint, region or data.region
    return reach_cache(cache or str(locate_cache(about["cache"], run)), endpoint, region)


def find_manifest(run: Path, about: Mapping[str, Any], data_dir: Path | None = None) -> "Manifest":
    """The manifest that a run's record names, read from where its CSVs lie now."""
    from batcache.manifest.manifest import read_manifest

    csvs = [(run / csv).resolve() for csv in about["csvs"]]
    split_of = {(run / csv).resolve(): split for csv, split in about["split_of"].items()}
    data_dir = data_dir or (run / about["data_dir"]).resolve()
    return read_manifest(csvs, data_dir, split_of=split_of, allow_outside=True)


def find_checkpoint(checkpoint: Path | None, run_dir: Path | None) -> tuple[Path, Path]:
    """The run of a checkpoint and the checkpoint in it: the one given, else the best of the newest run."""
    from batcache.store.format.last_build import portable
    from batcache.training.runs import BEST, newest_run

    if checkpoint is None:
        checkpoint = newest_run(run_dir or Path("runs")) / BEST
    place = checkpoint.resolve()
    if not place.is_file():
        raise RunError(checkpoint, "no such checkpoint", "Pass a .pt file: RUN/checkpoints/best_model.pt")
    run = Path(portable(place.parent.parent, Path()))  # through the run's name, wherever one stands
    return run, run / place.parent.name / place.name
