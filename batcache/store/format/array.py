"""Zarr's metadata of the array ``instances``, and its length."""

import json
from collections.abc import Sequence
from typing import Any

from batcache.errors import StoreError, UnreachableError, brief, is_of_the_process
from batcache.storage.disk import write_file
from batcache.storage.place import Place
from batcache.store.format.layout import Layout, say_how_to_mend


def array_options(layout: Layout) -> dict[str, Any]:
    """The arguments of ``zarr.create_array`` for the ``instances`` array of a new store."""
    from zarr.codecs import Crc32cCodec

    chunk = (1, layout.frames_per_instance, layout.n_mels)
    return {
        "shape": (0, *chunk[1:]),
        "chunks": chunk,
        "shards": (layout.instances_per_shard, *chunk[1:]),
        "dtype": "float16",
        "compressors": Crc32cCodec(),
        "fill_value": float("nan"),
        "dimension_names": ("instance", "frame", "mel"),
    }


def array_metadata(layout: Layout, instances: int) -> dict[str, Any]:
    """The document that ``instances/zarr.json`` holds when the array is ``instances`` long."""
    import zarr

    metadata = zarr.create_array({}, **array_options(layout)).metadata.to_dict()
    document: dict[str, Any] = json.loads(json.dumps(metadata))
    document["shape"][0] = instances
    return document


def read_array_metadata(store: Place) -> dict[str, Any]:
    """Read ``instances/zarr.json`` as zarr-python understands it: keys that were left out have their defaults.

    Raises:
        StoreError: the file is missing, damaged, or has keys that zarr-python does not know; an UnreachableError where
            nothing more can be opened or held in memory.
    """
    import zarr

    place = store / "instances" / "zarr.json"
    try:
        text = place.read_bytes()
        metadata = zarr.open_array({"zarr.json": zarr.core.buffer.cpu.Buffer.from_bytes(text)}, mode="r").metadata
        document: dict[str, Any] = json.loads(json.dumps(metadata.to_dict()))
        if not _is_part(json.loads(text), document):  # zarr passes over some keys that it does not know
            raise ValueError(text)
    except Exception as error:  # zarr raises what it will
        if isinstance(error, OSError) and is_of_the_process(error):
            raise UnreachableError.of_disk(place, "cannot be read", error) from None
        finding = f"damaged metadata of the array ({type(error).__name__})"
        raise StoreError(place, finding, say_how_to_mend(place)) from None
    return document


def _is_part(part: object, whole: object) -> bool:
    """Whether ``whole`` holds all that ``part`` does, and perhaps more keys."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _is_part(value, whole[key]) for key, value in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) == len(whole) and all(map(_is_part, part, whole))
    return part == whole


def resize(store: Place, instances: int) -> None:
    """Set the length of the ``instances`` array, in instances. Where it has that length already, nothing is written.

    Raises:
        StoreError: ``instances/zarr.json`` is missing or damaged.
        OSError: the disk refuses.
    """
    place = store / "instances" / "zarr.json"
    try:
        metadata = json.loads(place.read_bytes())
        length, metadata["shape"][0] = metadata["shape"][0], instances
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise StoreError(place, f"cannot be read ({brief(error)})", say_how_to_mend(place)) from None
    if length != instances:
        write_file(place, json.dumps(metadata, indent=2).encode())


def array_length(commits: Sequence[tuple[int, int]], layout: Layout) -> int:
    """The length, in instances, of the array that ends with the last instance in use.

    ``commits`` gives for each shard its number and how many of its chunks are in use.
    """
    return max((shard * layout.instances_per_shard + used for shard, used in commits), default=0)
