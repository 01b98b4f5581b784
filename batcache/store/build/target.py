"""The store that a build fills: found or made, its settings those that are asked for."""

import errno
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batcache.config.features import FeatureConfig
from batcache.config.settings import DataConfig
from batcache.errors import StoreError, remedy_for
from batcache.storage.place import Place, is_remote
from batcache.store.format.attributes import create_store, describe_front_end, is_free, read_attributes
from batcache.store.format.index import Index, read_index
from batcache.store.format.layout import Layout


@dataclass(frozen=True)
class Target:
    """The store that is built: its place, settings and layout, and what it holds so far."""

    cache: Place
    config: DataConfig
    layout: Layout
    index: Index


def read_target(cache: Place, config: DataConfig) -> Target:
    """What is there, which may be nothing yet.

    Raises:
        StoreError: the store was made with other settings, or is damaged.
    """
    layout = find_layout(cache, config)
    if layout is None:
        return Target(cache, config, layout_of(config), Index({}))
    return Target(cache, config, layout, read_index(cache, config.fingerprint, layout))


def layout_of(config: DataConfig) -> Layout:
    """The layout of a new store."""
    return Layout(config.frames_per_instance, config.n_mels)


def find_layout(cache: Place, config: DataConfig) -> Layout | None:
    """Return the layout that a store was made with, None where there is no store yet.

    Raises:
        StoreError: it was made with other settings, or computed by another front end.
    """
    if is_free(cache):
        return None
    features, there, attributes = read_attributes(cache)
    differ = [
        f"{name} is {getattr(features, name)!r}, asked for {getattr(config.features, name)!r}"
        for name in features.differing(config.features)
    ]
    if there.frames_per_instance != config.frames_per_instance:
        differ.append(f"an instance is {there.frames_per_instance} frames, asked for {config.frames_per_instance}")
    if differ:
        raise StoreError(cache, f"built with other settings: {'; '.join(differ)}", "Use them, or another --cache")
    if other := describe_front_end(features, attributes["fingerprint"]):
        raise StoreError(cache, other, "Build into a new --cache")
    return there


def create(
    cache: Place,
    features: FeatureConfig,
    layout: Layout,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Create an empty store where there is none yet. Arguments are those of ``create_store``.

    Raises:
        StoreError: nothing can be written there.
    """
    if not is_free(cache):
        return
    try:
        create_store(cache, features, layout, attributes)
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError | FileNotFoundError | PermissionError)
        if (in_the_way or error.errno == errno.ENOTEMPTY) and not is_free(cache):
            return  # another build was quicker
        finding = f"cannot be created ({error.strerror})"
        if is_remote(cache):  # it is made in a temporary folder first
            raise StoreError(tempfile.gettempdir(), f"{cache} {finding}", "See to that disk, or set TMPDIR") from None
        raise StoreError(cache, finding, remedy_for(error, "Pass a --cache that can")) from None
