"""What a config and a store say together: settings, and the manifest that is meant.

Layers of settings, the later winning: defaults, what the store was built with, the YAML file, flags.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batcache.config.features import PCEN
from batcache.config.load import Layer, load_config
from batcache.config.settings import Config
from batcache.errors import ConfigError, ManifestError
from batcache.manifest.manifest import Manifest, read_manifest
from batcache.storage.place import Place, is_remote, parse_place
from batcache.store.format.attributes import is_free
from batcache.store.format.last_build import require_there
from batcache.store.open import open_store, read_settings
from batcache.store.reader import Store


def load_settings(path: Path | None, flags: Layer, over: Layer | None = None) -> Config:
    """Settings from defaults, the store where there is one, the YAML file, flags and ``over``, see ``load_config``.

    Raises:
        ConfigError: settings that are wrong, see ``load_config``.
        StoreError: a store that is damaged.
    """
    settings = load_config(path, flags=flags)
    cache = settings.data.place
    if is_free(cache):
        return load_config(path, flags=flags, over=over)
    features, layout = read_settings(cache)
    stored = {**vars(features), "instance_s": layout.frames_per_instance / features.frames_per_second}
    if settings.data.compression != features.compression:  # then the store's PCEN is not what was asked for
        stored = {name: value for name, value in stored.items() if not name.startswith(PCEN)}
    return load_config(path, base={"data": stored}, flags=flags, over=over)


def load_with_store(path: Path | None, flags: Layer) -> tuple[Config, Store]:
    """Settings and the open store; settings that contradict the store's features are an error. Raises as above."""
    settings = load_settings(path, flags)
    store = open_store(settings.data.place)
    differ = [
        f"{name} is {getattr(store.features, name)!r} in {store.path}, "
        f"{getattr(settings.data, name)!r} in {path or 'the settings given'}"
        for name in store.features.differing(settings.data.features)
    ]
    if differ:
        raise ConfigError("data", "; ".join(differ), "Remove them from the config, or build another cache with them")
    return settings, store


def choose_manifest(
    csvs: Sequence[Path],
    settings: Config,
    store: Store | None = None,
    *,
    data_dir: Path | None = None,
    allow_outside: bool = False,
) -> Manifest:
    """The manifest of the CSVs given, else of those in the config, else of those the store was last built from.

    ``allow_outside`` lets filenames lead out of the data dir; to what opens no recording a filename is but a key of the
    index, and may lead anywhere.

    Raises:
        ManifestError: no CSV is given or known, or one that cannot be trusted.
    """
    data = settings.data
    named = (("train", data.train_csv), ("val", data.val_csv), ("test", data.test_csv))
    split_of = {path: split for split, path in reversed(named) if path is not None}
    chosen, data_dir = tuple(csvs) or data.csvs, data_dir or data.data_dir
    if not chosen and store is not None:
        last = store.last_build()
        require_there(store.path, last, data_dir)
        chosen, split_of, data_dir = last.csvs, last.split_of, data_dir or last.data_dir
    if not chosen:
        remedy = "Pass --csv train.csv, or name it in the config as data.train_csv"
        raise ManifestError("--csv", "no CSV is given", remedy)
    return read_manifest(chosen, data_dir, num_classes=data.num_classes, split_of=split_of, allow_outside=allow_outside)


def reach_cache(cache: str | None, endpoint: str | None = None, region: str | None = None, **local: Any) -> Place:
    """The cache that is named without other settings, by default ``features.zarr``. ``local`` may have ``local_cache``
    and ``local_cache_gb``.

    Raises:
        ConfigError: one of them is wrong.
    """
    named = {"cache": cache, "endpoint": endpoint, "region": region, **local}
    return load_config(flags={"data": named}).data.place


def reach_paths(
    paths: Sequence[str], endpoint: str | None = None, region: str | None = None, **local: Any
) -> list[Place]:
    """Each of these caches, folders and files, where copies are kept of what lies in a bucket.

    Raises:
        ConfigError: as above; or copies are to be kept and none of them lies in a bucket.
    """
    remote = [is_remote(parse_place(path)) for path in paths]
    return [
        reach_cache(path, endpoint, region, **(local if there or not any(remote) else {}))
        for path, there in zip(paths, remote, strict=True)
    ]
