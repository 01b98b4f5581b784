"""The store's format, version 1: what lies where, and how frames are cut.

    features.zarr/
      zarr.json                 group attributes: format, version, settings, fingerprint, layout, versions
      instances/zarr.json       float16 [instances, frames_per_instance, n_mels], fill value NaN
      instances/c/<shard>/0/0   up to 640 chunks of one instance (bytes + crc32c), then Zarr's shard index
      commits/<shard>.json      what the shard holds: the index of the store, and the sign that it is complete
      committed.json            whether there are such records: without one, a store that has them is not an empty one
      last_build.json           CSVs and data dir of the last build, and what was rejected; never labels

Any Zarr v3 reader opens ``instances``. A shard counts once its commit record is there. Slots that no recording uses
have no chunk and take no space. The modules ``attributes``, ``array``, ``shard``, ``commit`` and ``last_build`` read
and write these files.
"""

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass

from batcache.errors import ConfigError, StoreError
from batcache.storage.place import Place, is_remote

FORMAT = "batcache"
FORMAT_VERSION = 1
_MOST_CHUNK_BYTES, _MOST_CHUNKS = 1 << 30, 1 << 20


@dataclass(frozen=True)
class Layout:
    """How frames are cut into chunks and shards. Not in the fingerprint: it changes no number.

    Raises:
        ConfigError: sizes that are no positive integers, or that no memory could hold.
    """

    frames_per_instance: int
    n_mels: int
    instances_per_shard: int = 640

    def __post_init__(self) -> None:
        sizes = tuple(vars(self).values())
        whole = all(type(size) is int and size > 0 for size in sizes)
        if not whole or self.chunk_bytes > _MOST_CHUNK_BYTES or self.instances_per_shard > _MOST_CHUNKS:
            finding = f"instances of {reprlib.repr(sizes[0])} frames of {reprlib.repr(sizes[1])} bands"
            finding += f", {reprlib.repr(sizes[2])} a shard"
            raise ConfigError("data.instance_s, data.n_mels", finding, "An instance may take 1 GB")

    @property
    def chunk_bytes(self) -> int:
        """The bytes of one instance: float16 frames, without checksum."""
        return self.frames_per_instance * self.n_mels * 2

    def shard_bytes(self, instances: Sequence[int], shards: int = 1) -> int:
        """The bytes that ``shards`` shards take which hold recordings of these numbers of ``instances``: chunks and
        indices of chunks, each with its checksum."""
        return sum(instances) * (self.chunk_bytes + 4) + shards * (16 * self.instances_per_shard + 4)

    def instances(self, frames: int) -> int:
        """The number of instances that hold ``frames`` frames: one at least."""
        return max(1, -(-frames // self.frames_per_instance))


def say_how_to_mend(place: Place, record: str = "") -> str:
    """The remedy for damage at ``place``: one that keeps what is sound.

    Where a shard is damaged, ``record`` is the name of its commit record; in a bucket deleting it is another remedy.
    """
    if not is_remote(place):
        return "Run `batcache verify --repair`"
    remedy = "Copy the store to a disk, run `batcache verify --repair` there and copy it back"
    return (
        f"{remedy}; or, with all recordings of the shard at hand, delete commits/{record} and build"
        if record
        else remedy
    )


def newer(place: Place, version: int) -> StoreError:
    """The error for a file of a format version that this batcache does not read."""
    finding = f"format version {version}, this batcache reads {FORMAT_VERSION}"
    return StoreError(place, finding, "Upgrade batcache")
