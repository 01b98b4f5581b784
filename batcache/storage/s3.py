"""A place in a bucket: as much of pathlib's interface as a store needs, over an S3-compatible object store.

An upload is atomic: an object is whole and in place, or not there. A shard that is uploaded before its commit record
therefore keeps the promise that takes flushing and renaming on a disk.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from io import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from batcache.errors import ConfigError
from batcache.storage.local_cache import LocalCache
from batcache.storage.s3_client import ask, status_of

if TYPE_CHECKING:
    from obstore.store import S3Store

SCHEME = "s3://"
PART_BYTES = 8 << 20  # of an upload in parts
PARTS_AT_ONCE = 4


@dataclass(frozen=True)
class S3Path:
    """An object, or a folder of objects, and how to reach it. ``endpoint`` and ``region`` are AWS's where not given.
    ``local`` is where whoever reads features keeps copies of them, if anywhere.

    Raises, whatever is done with it:
        UnreachableError: the object store cannot be reached, refuses, or fails for too long.
    """

    bucket: str
    key: str
    endpoint: str | None = None
    region: str | None = None
    local: LocalCache | None = field(default=None, compare=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take ``s3://bucket/path/features.zarr`` apart.

        Raises:
            ConfigError: no bucket, no path, or parts that are empty or dots.
        """
        bucket, _, key = url.removeprefix(SCHEME).partition("/")
        parts = key.removesuffix("/").split("/")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", bucket) or {"", ".", ".."} & set(parts):
            place = url if "@" not in url else f"{SCHEME}..."  # someone may have put credentials there
            raise ConfigError(place, "expected s3://bucket/path/features.zarr", "Correct the URL")
        return cls(bucket, "/".join(parts))

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"

    as_posix = __str__

    def __truediv__(self, name: str) -> Self:
        return replace(self, key=f"{self.key}/{name}" if self.key else name)

    @property
    def name(self) -> str:
        """The last part of the key, such as ``0.json``."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its last suffix, such as ``0``."""
        return Path(self.name).stem

    @property
    def parent(self) -> Self:
        """The folder that this lies in; that of a bucket's topmost folder has an empty key."""
        return replace(self, key=self.key.rpartition("/")[0])

    def with_name(self, name: str) -> Self:
        """The place of this name in the same folder."""
        return self.parent / name

    def exists(self) -> bool:
        """Whether there is an object of this name."""

        def head(client: "S3Store") -> object:
            import obstore

            return obstore.head(client, self.key)

        try:
            ask(self, head)
        except FileNotFoundError:
            return False
        return True

    def read_bytes(self) -> bytes:
        """Read a whole object. Raises FileNotFoundError where there is none."""

        def get(client: "S3Store") -> bytes:
            import obstore

            return bytes(obstore.get(client, self.key).bytes())

        return ask(self, get)

    def read_range(self, start: int, count: int) -> memoryview:
        """Read ``count`` bytes from byte ``start`` on, fewer where the object ends before.

        Raises FileNotFoundError where there is no object.
        """

        def get_range(client: "S3Store") -> memoryview:
            import obstore
            from obstore.exceptions import GenericError

            try:
                return memoryview(obstore.get_range(client, self.key, start=start, length=count))
            except GenericError as error:
                if status_of(error).startswith("416"):  # all of them lie behind its end
                    return memoryview(b"")
                raise

        return ask(self, get_range, count)

    def write_bytes(self, content: bytes) -> None:
        """Write a whole object, or leave the one that is there."""

        def put(client: "S3Store") -> None:
            import obstore

            obstore.put(client, self.key, content, use_multipart=False)

        ask(self, put, len(content))

    def upload(self, file: BinaryIO) -> None:
        """Upload what an open file holds, in parts of 8 MB where it is larger than one."""

        def put(client: "S3Store") -> None:
            import obstore

            file.seek(0)
            obstore.put(client, self.key, file, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)

        ask(self, put, file.seek(0, SEEK_END))

    def create_exclusively(self, content: bytes) -> bool:
        """Write an object unless there is one of this name; return whether it was written.

        Of several processes that try at once, one is told True. An answer may get lost and the request be repeated: a
        process that then finds its own content has written it. The contents of different processes must differ.
        """

        def create(client: "S3Store") -> bool:
            import obstore
            from obstore.exceptions import AlreadyExistsError

            try:
                obstore.put(client, self.key, content, mode="create")
            except AlreadyExistsError:
                return False
            return True

        return ask(self, create) or self.read_bytes() == content

    def glob(self, pattern: str) -> Iterator[Self]:
        """The objects and folders right in this folder whose names match a pattern such as ``*.json``, sorted."""

        def list_folder(client: "S3Store") -> list[str]:
            import obstore

            found = obstore.list_with_delimiter(client, self.key)
            return [*found["common_prefixes"], *(there["path"] for there in found["objects"])]

        names = sorted(key.rpartition("/")[2] for key in ask(self, list_folder))
        return (self / name for name in names if fnmatchcase(name, pattern))

    def sizes(self) -> dict[str, int]:
        """The size in bytes of every object under this folder, by its path from here, such as ``3/0/0``."""

        def list_all(client: "S3Store") -> dict[str, int]:
            import obstore

            pages = obstore.list(client, f"{self.key}/", chunk_size=1000)
            return {there["path"].removeprefix(f"{self.key}/"): there["size"] for page in pages for there in page}

        return ask(self, list_all)

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Delete an object. S3 does not say whether there was one."""
        if missing_ok and not self.exists():  # which takes no right to delete
            return

        def delete(client: "S3Store") -> None:
            import obstore

            obstore.delete(client, self.key)

        ask(self, delete)

    def remove_tree(self) -> None:
        """Delete every object under this folder."""
        for name in self.sizes():
            (self / name).unlink()
