"""What is to be judged: a cache, or files, whose features may be kept in one."""

from collections.abc import Sequence
from pathlib import Path

from batcache.cluster import Cluster
from batcache.errors import PredictError
from batcache.inference.model_file import ModelFile
from batcache.inference.recordings.cached import build_cached, open_cached
from batcache.inference.recordings.candidates import Recordings
from batcache.manifest.find_recordings import find_recordings
from batcache.progress import OnProgress, ignore_progress
from batcache.storage.listing import is_file, is_there
from batcache.storage.place import Place, is_remote, parse_place

_HDF5_ENDINGS = (".h5", ".hdf5")


def choose_recordings(
    paths: Sequence[str | Place],
    model: ModelFile,
    keep: Place | None = None,
    device: str = "auto",
    *,
    cluster: Cluster | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Recordings:
    """Find the recordings that are given as folders, as files, or as one cache.

    Args:
        paths: where they are.
        model: that is to judge them.
        keep: a cache that is to keep the features of files; they are computed into it here.
        device: ``auto``, ``cpu`` or ``cuda``, to compute them.
        cluster: whose workers compute them, in the place of threads of this process.
        on_progress: as of ``build``, where there is something to keep.

    Raises:
        PredictError: no recordings; a cache beside other paths, or one that is to be kept in another.
        RunError, StoreError: a cache that is damaged, or does not fit the model.
    """
    places = [parse_place(path) for path in paths]
    if caches := [place for place in places if is_cache(place)]:
        if len(places) > 1 or keep is not None:
            raise PredictError(caches[0], "is a cache", "Judge it alone, without --cache")
        return open_cached(caches[0], model)
    found = find_recordings([place for place in places if isinstance(place, Path)])
    return found if keep is None else build_cached(found, model, keep, device, cluster, on_progress)


def is_cache(place: Place) -> bool:
    """Whether this is a store, or a file that one was exported to."""
    if is_remote(place) or is_there(place / "zarr.json"):
        return True
    return is_file(place) and place.suffix.lower() in _HDF5_ENDINGS
