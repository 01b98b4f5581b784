"""The index: every commit record of a store, read, checked and made searchable."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from batcache.errors import StoreError, UnreachableError, is_of_the_process, remedy_for
from batcache.storage.memory import no_garbage
from batcache.storage.place import Place, read_files
from batcache.store.format.commit import CachedRecording, Commit, commit_path
from batcache.store.format.layout import Layout, say_how_to_mend
from batcache.store.format.records import list_records, require_records

_LISTINGS = 5


@dataclass(frozen=True)
class Index:
    """Commit records by shard, and the recordings in them by path and by content."""

    commits: dict[int, Commit]

    @cached_property
    def by_path(self) -> dict[str, tuple[CachedRecording, ...]]:
        """The rows of each path, mostly one.

        A path has several rows where a build was stopped after it had computed a changed file anew: the old row is
        still there. A stopped ``prune`` leaves two rows with the same frames in different shards; only the first of
        them is listed.
        """
        rows = list(self.recordings)
        found: dict[str, tuple[CachedRecording, ...]] = {row.path: (row,) for row in rows}
        if len(found) == len(rows):  # nearly always
            return found
        found.clear()
        for recording in rows:
            others = found.get(recording.path)
            if not others:
                found[recording.path] = (recording,)
            elif not any(other.key == recording.key and other.failure == recording.failure for other in others):
                found[recording.path] = (*others, recording)
        return found

    @cached_property
    def by_key(self) -> dict[tuple[str, int], CachedRecording]:
        """One row for each (content hash, true rate in Hz); a row that failed only where no other has that key."""
        found = {recording.key: recording for recording in self.recordings if recording.failure}
        found.update((recording.key, recording) for recording in self.recordings if not recording.failure)
        return found

    def names_of_contents(self) -> dict[str, list[str]]:
        """The names of each sound, by its content hash, of recordings that did not fail."""
        found: dict[str, list[str]] = {}
        for recording in self.recordings:
            if not recording.failure:
                found.setdefault(recording.content, []).append(recording.path)
        return found

    @property
    def recordings(self) -> Iterable[CachedRecording]:
        """All rows, in the order of the shards."""
        return (row for shard in sorted(self.commits) for row in self.commits[shard].recordings)


def read_index(store: Place, fingerprint: str, layout: Layout) -> Index:
    """Read every commit record that counts.

    The shards of a long recording count together or not at all: where one of these shards lacks its record, because a
    build was stopped or someone deleted the record, the records of the other shards do not count either.

    Raises:
        StoreError: a record is damaged, of another store, or does not fit the layout; the records cannot be listed, or
            are lost; or the object store refuses.
    """
    commits, refused = read_records(store, fingerprint)
    if refused:
        raise refused[min(refused)]
    if not commits:
        require_records(store)
    check_layout(store, layout, commits.values())
    if misfits := [shard for shard, commit in commits.items() if not _fits(commit, layout)]:
        place = commit_path(store, min(misfits))
        finding = "a commit record that does not fit the store's layout"
        raise StoreError(place, finding, say_how_to_mend(place, place.name))
    return Index(complete_commits(commits, layout))


@no_garbage()
def read_records(store: Place, fingerprint: str) -> tuple[dict[int, Commit], dict[int, StoreError]]:
    """Read every commit record: those that are as they were written, and what is wrong with the others, by shard.

    Raises:
        UnreachableError: the records cannot be listed, or nothing more can be opened or held in memory.

    A prune removes a record once those of the shards that took its recordings are there. So where a listed record is
    gone when it is to be read, the list is too old, and all is read again.
    """
    for left in reversed(range(_LISTINGS)):
        commits, refused, gone = {}, {}, False
        places = list(list_records(store).values())
        for place, read in zip(places, read_files(places), strict=True):
            gone |= isinstance(read, FileNotFoundError)
            if isinstance(read, OSError) and is_of_the_process(read):
                raise UnreachableError.of_disk(place, "a commit record that cannot be read", read)
            try:
                commit = _check_commit(store, place, read, fingerprint)
                commits[commit.shard] = commit
            except StoreError as error:
                refused[int(place.stem)] = error
        if not (gone and left):
            break
    return commits, refused


def was_replaced(store: Place, commit: Commit) -> bool:
    """Whether a build, prune or repair has written a shard anew, or removed it, since this record of it was read.

    A record that is there but damaged or unreadable says nothing of that: then False.

    Raises:
        UnreachableError: the object store cannot be reached or refuses.
    """
    place = commit_path(store, commit.shard)
    try:
        now = Commit.from_json(place, place.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return True
    except UnreachableError:
        raise
    except (OSError, StoreError):
        return False
    return (now.fingerprint, now.crc32c) != (commit.fingerprint, commit.crc32c)


def complete_commits(commits: dict[int, Commit], layout: Layout) -> dict[int, Commit]:
    """The records that count: all but those of a long recording of which some shard lacks its record."""
    commits = dict(commits)
    for shard in sorted(commits):
        first = min(
            (row.first_instance // layout.instances_per_shard for row in commits[shard].recordings), default=shard
        )
        if any(earlier not in commits for earlier in range(first, shard)):
            del commits[shard]
    for shard in sorted(commits, reverse=True):
        if commits[shard].continues and shard + 1 not in commits:
            del commits[shard]
    return commits


def check_layout(store: Place, layout: Layout, commits: Iterable[Commit]) -> None:
    """Check the layout, which has no digest, by the commit records, which have one.

    With a flipped digit in the layout every record and shard would look damaged, or every instance would be looked for
    in a wrong place.

    Raises:
        StoreError: the layout fits none of the records.
    """
    fits = [_has_its_size(commit, layout) for commit in commits]
    if fits and not any(fits):
        finding = "its layout is damaged: it fits no commit record"
        raise StoreError(store / "zarr.json", finding, "Restore it from a copy")


def _has_its_size(commit: Commit, layout: Layout) -> bool:
    """Whether the shard has the size that its chunks make."""
    used = len(commit.crc32c)
    return 0 < used <= layout.instances_per_shard and commit.shard_bytes == layout.shard_bytes([used])


def _fits(commit: Commit, layout: Layout) -> bool:
    """Whether the shard has the size that its chunks make, and its recordings lie in it and earlier ones."""
    used, begin = len(commit.crc32c), commit.shard * layout.instances_per_shard
    return _has_its_size(commit, layout) and all(
        0 <= row.first_instance < row.first_instance + row.instances
        and begin < row.first_instance + row.instances <= begin + used
        and 0 <= row.frames <= row.instances * layout.frames_per_instance
        for row in commit.recordings
    )


def reread(index: Index, store: Place, fingerprint: str, shards: Iterable[int]) -> Index:
    """The index with the records of ``shards`` read anew and all others taken from ``index``.

    Raises:
        StoreError: one of these records is missing, damaged or of another store.
    """
    places = {shard: commit_path(store, shard) for shard in shards}
    found = zip(places.items(), read_files(list(places.values())), strict=True)
    written = {shard: _check_commit(store, place, read, fingerprint) for (shard, place), read in found}
    return Index(index.commits | written)


def _check_commit(store: Place, place: Place, read: bytes | OSError, fingerprint: str) -> Commit:
    if isinstance(read, OSError):
        finding = f"a commit record that cannot be read ({read.strerror})"
        otherwise = f"See to the disk. {say_how_to_mend(place, place.name)}"
        raise StoreError(place, finding, remedy_for(read, otherwise))
    commit = Commit.from_json(place, read)
    if commit.fingerprint != fingerprint or commit_path(store, commit.shard) != place:
        raise StoreError(place, "a commit record of another store or shard", "Restore the store from a copy")
    return commit
