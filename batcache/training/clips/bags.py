"""Bags: every label joined from the CSV, every frame read from the store."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from batcache.errors import ManifestError, count, list_some
from batcache.inference.score import Instances
from batcache.manifest.contents import check_contents
from batcache.manifest.manifest import Clip, Manifest
from batcache.manifest.reviewed import settle_reviews
from batcache.storage.memory import no_garbage
from batcache.store.format.commit import CachedRecording
from batcache.store.format.last_build import find_other_root
from batcache.store.reader import Store


class Bag(msgspec.Struct, frozen=True, gc=False):
    """A clip and the frames ``start`` to ``stop`` of its recording that hold it."""

    clip: Clip
    row: CachedRecording
    start: int
    stop: int

    @property
    def seconds(self) -> float:
        """True duration of its frames."""
        return self.row.duration_s * (self.stop - self.start) / max(1, self.row.frames)

    def with_split(self, split: str | None) -> "Bag":
        """The same bag, its clip in another split."""
        return Bag(msgspec.structs.replace(self.clip, split=split), self.row, self.start, self.stop)

    def instances(self, frames_per_instance: int) -> int:
        """How many instances of this length hold its frames."""
        return max(1, -(-(self.stop - self.start) // frames_per_instance))


@dataclass(frozen=True)
class Joined:
    """The bags of a manifest, and the files left out because the build rejected them, with the reason.

    ``corrected`` counts labels in which a review differs from another CSV, and wins.
    """

    bags: tuple[Bag, ...]
    left_out: dict[str, str]
    corrected: int = 0

    def notes(self) -> list[str]:
        """What to tell: of the files left out how many, which, why; how many labels were corrected."""
        notes = []
        if self.corrected:
            notes.append(f"{count(self.corrected, 'label')} taken from the review in the place of another CSV's")
        if self.left_out:
            named = list_some(f"{name} ({reason})" for name, reason in self.left_out.items())
            notes.append(f"{count(len(self.left_out), 'recording')} left out, rejected by build: {named}")
        return notes

    def split(self, name: str) -> tuple[Bag, ...]:
        """The bags of one split, in the manifest's order."""
        return tuple(bag for bag in self.bags if bag.clip.split == name)


@no_garbage()
def join(manifest: Manifest, store: Store) -> Joined:
    """Find each clip's frames. A clip whose recording was rejected is left out.

    Raises:
        ManifestError: another data dir than the build's; a recording that was never built, or built with another
            time expansion; a clip that starts after its recording ends; one content in two splits; a review that
            does not fit, as of ``settle_reviews``.
    """
    rejected = store.last_build().rejected
    listed = [clip for clip in manifest.clips if clip.content is None]  # reviews are known by their sound
    settled = settle_reviews(manifest.clips, manifest.species, store.index.names_of_contents, store.path)
    manifest = replace(manifest, clips=settled.clips)
    if root := find_other_root(store.path, manifest.data_dir, (clip.filename for clip in listed)):
        finding = f"filenames start from {manifest.data_dir}, those of {store.path} from {root}"
        raise ManifestError(manifest.csvs[0], finding, f"Pass --data-dir {root}, or another --cache")
    bags, left_out, missing, per_second = [], {}, [], store.features.frames_per_second
    for clip in manifest.clips:
        row = store.find(clip.filename)
        if clip.filename in rejected:
            left_out[clip.filename] = rejected[clip.filename]
        elif row is None:
            missing.append(clip)
        else:
            bags.append(_bag(clip, row, per_second))
    csvs = " ".join(f"--csv {csv}" for csv in manifest.csvs)
    command = f"batcache build {csvs} --data-dir {manifest.data_dir} --cache {store.path}"
    if missing:
        names = list_some(dict.fromkeys(clip.filename for clip in missing))
        raise ManifestError(missing[0].place, f"not in {store.path}: {names}", f"Run `{command}`")
    stale = [bag.clip for bag in bags if bag.clip.time_expansion not in (None, bag.row.time_expansion)]
    if stale:
        finding = f"time_expansion of {stale[0].filename} is not the one that {store.path} was built with"
        raise ManifestError(stale[0].place, finding, f"Run `{command}`")
    contents = {bag.clip.filename: bag.row.content for bag in bags}
    check_contents(manifest, contents, {bag.clip.filename: bag.row.recording for bag in bags})
    return Joined(tuple(bags), left_out, settled.corrected)


def whole_recordings(store: Store) -> tuple[Bag, ...]:
    """A bag for each recording of a store of which no CSV is known: without labels."""
    rows = [row for row in store.index.recordings if not row.failure]
    return tuple(Bag(Clip(row.path, Path(str(store.path)), 0, ()), row, 0, row.frames) for row in rows)


def _bag(clip: Clip, row: CachedRecording, frames_per_second: float) -> Bag:
    if clip.start_s is None and clip.duration_s is None:
        return Bag(clip, row, 0, row.frames)
    start = round((clip.start_s or 0.0) * frames_per_second)
    stop = row.frames if clip.duration_s is None else start + max(1, round(clip.duration_s * frames_per_second))
    if start >= row.frames:
        finding = f"start_s {clip.start_s:g} lies behind the end of {clip.filename} ({row.duration_s:.3f} s)"
        raise ManifestError(clip.place, finding, "Correct the row")
    return Bag(clip, row, start, min(stop, row.frames))


def instances_of(store: Store, bag: Bag, frames_per_instance: int) -> Instances:
    """The instances of a bag, for whoever scores it."""
    return Instances(
        bag.clip.filename, bag.instances(frames_per_instance), partial(read_bag, store, bag, frames_per_instance)
    )


def read_bag(
    store: Store,
    bag: Bag,
    frames_per_instance: int,
    first: int = 0,
    count: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Read instances ``first`` to ``first + count`` of a bag, cut at this length; the last may be padded with 0.

    They are read into the first instances of ``out``, if given, and the rest of it is padded too. Returns ``out``.

    Shape: ``[count, frames_per_instance, n_mels]`` float16.
    """
    start = bag.start + first * frames_per_instance
    stop = bag.stop if count is None else min(bag.stop, start + count * frames_per_instance)
    if out is None:
        instances = -(-(stop - start) // frames_per_instance)
        out = torch.empty(instances, frames_per_instance, store.layout.n_mels, dtype=torch.float16)
    frames = out.view(-1, store.layout.n_mels)
    store.read_frames(bag.row, start, stop, frames[: stop - start].numpy())
    frames[stop - start :] = 0
    return out
