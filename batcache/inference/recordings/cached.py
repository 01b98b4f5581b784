"""Recordings whose features lie in a cache: to be judged from there, or computed into it first."""

from dataclasses import dataclass
from pathlib import Path

from batcache.cluster import Cluster
from batcache.inference.model_file import ModelFile, require_its_features
from batcache.manifest.find_recordings import Found
from batcache.manifest.manifest import Clip, Manifest
from batcache.progress import OnProgress, ignore_progress
from batcache.storage.place import Place
from batcache.store.open import open_store
from batcache.store.reader import Store


@dataclass(frozen=True)
class Cached:
    """Recordings of a cache.

    Attributes:
        store: the cache, opened.
        root: what stands for the folder that names start from.
        names: as the cache knows them.
        rejected: recordings that could not be computed, and why.
    """

    store: Store
    root: Path | str
    names: tuple[str, ...]
    rejected: dict[str, str]


def open_cached(place: Place, model: ModelFile) -> Cached:
    """All recordings of a cache.

    Raises:
        StoreError: missing, damaged, or of other features than the model's.
    """
    store = open_store(place)
    require_its_features(model.checkpoint, store)
    found = {name: store.find(name) for name in store.index.by_path}
    failed = {name: store.index.by_path[name][0].failure for name, row in found.items() if row is None}
    rejected = failed | store.last_build().rejected
    return Cached(store, str(place), tuple(name for name in found if name not in rejected), rejected)


def build_cached(
    found: Found,
    model: ModelFile,
    place: Place,
    device: str,
    cluster: Cluster | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Cached:
    """Compute the features of files into a cache, where they are not there yet.

    Args:
        found: the files.
        model: whose features they are to be.
        place: of the cache, which is made where it is missing.
        device: ``auto``, ``cpu`` or ``cuda``.
        cluster: whose workers compute them, in the place of threads of this process.
        on_progress: as of ``build``.

    Raises:
        RunError: features that are not computed any more.
        StoreError: as of ``build``.
    """
    from batcache.store.build.build import build  # by torch, which what lies in a cache does not need

    model.require_present_front_end()
    clips = tuple(Clip(name, found.root, 0, ()) for name in found.names)
    report = build(
        Manifest((), found.root, (), clips), place, model.data, device, cluster=cluster, on_progress=on_progress
    )
    rejected = found.rejected | dict(report.rejected)
    names = tuple(name for name in found.names if name not in rejected)
    return Cached(open_store(place), found.root, names, rejected)
