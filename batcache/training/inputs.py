"""What a run trains on: its clips, and a digest of all that decides its outcome."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batcache.config.settings import Config, digest, to_plain
from batcache.errors import count
from batcache.manifest.manifest import Manifest
from batcache.training.bags import Bag, Joined
from batcache.training.runs import LAST, read_run
from batcache.training.splits import clip_key, require_split, share_groups


@dataclass(frozen=True)
class Split:
    """The bags of a run, and what to tell about how they were chosen."""

    train: tuple[Bag, ...]
    val: tuple[Bag, ...]
    others: tuple[Bag, ...]
    notes: tuple[str, ...] = field(default=())


def choose_split(joined: Joined, manifest: Manifest, share: float, seed: int) -> Split:
    """Take splits from the CSV; without validation clips, draw groups of the training clips.

    Raises:
        ManifestError: no training clips, or no second group to validate on.
    """
    train, val = joined.split("train"), joined.split("val")
    others = tuple(bag for bag in joined.bags if bag.clip.split not in ("train", "val"))
    notes = joined.notes()
    unused = Counter(bag.clip.split or "none" for bag in others if bag.clip.split != "test")
    notes += [
        f"not used: {count(clips, 'clip')} of split {name}, which is neither train, val nor test"
        for name, clips in unused.items()
    ]
    require_split(train, manifest, "train")
    if not val:
        train, val = share_groups(train, share, seed)
        units = " or ".join(sorted({"group" if bag.clip.group else "recording" for bag in val}))
        drawn = count(len({bag.clip.group_or_recording for bag in val}), units)
        notes.append(f"no clip of split val: validated on {count(len(val), 'training clip')} of {drawn}, drawn by seed")
    return Split(train, val, others, tuple(notes))


def find_run(runs: Path, inputs: str) -> Path | None:
    """The newest run in a folder that trains, or trained, on just these inputs and can be judged or resumed."""
    found = []
    for place in runs.glob("*/run.json"):
        about = read_run(place.parent)
        if about["inputs"] == inputs and (place.parent / LAST).exists():
            found.append((about["started"], place.parent))
    return max(found)[1] if found else None


def describe_inputs(config: Config, split: Split, species: Sequence[str]) -> str:
    """Digest of all that decides a training's outcome, to tell whether a run is up to date."""
    bags = [
        [*clip_key(bag), bag.row.content, bag.row.true_rate, bag.clip.split or "", list(bag.clip.labels)]
        for bag in (*split.train, *split.val)
    ]
    settings = {name: to_plain(getattr(config, name)) for name in ("model", "training", "augmentation")}
    for harmless in ("run_dir", "workers", "resident"):
        del settings["training"][harmless]
    cut = [config.data.fingerprint, config.data.frames_per_instance, config.data.bag_size]
    return digest([settings, cut, list(species), sorted(bags)])
