"""Opening what lies at a path: a store, or one that was exported into a file."""

from batcache.config.features import FeatureConfig
from batcache.storage.listing import is_file
from batcache.storage.place import Place, is_remote
from batcache.store.format.attributes import read_attributes
from batcache.store.format.layout import Layout
from batcache.store.reader import Store


def open_store(path: Place) -> Store:
    """Open a cache of either kind.

    Raises:
        StoreError: missing, damaged, or of a format, settings or front end that this batcache does not know.
    """
    if not is_remote(path) and is_file(path):
        from batcache.store.hdf5.reader import Hdf5Store

        return Hdf5Store(path)
    return Store(path)


def read_settings(path: Place) -> tuple[FeatureConfig, Layout]:
    """The settings of a cache of either kind. Raises as above."""
    if not is_remote(path) and is_file(path):
        store = open_store(path)
        return store.features, store.layout
    features, layout, _ = read_attributes(path)
    return features, layout
