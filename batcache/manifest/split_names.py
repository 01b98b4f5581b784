"""The names of splits, and rows whose split is nearly one of them."""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence

from batcache.errors import count, quote
from batcache.manifest.manifest import Clip

KNOWN_SPLITS = ("train", "val", "test")


def nearest_split(name: str) -> str | None:
    """The split that a name nearly is, or begins with; None where it is one, like none, or numbered on purpose.

    >>> nearest_split("trian"), nearest_split("validation"), nearest_split("test"), nearest_split("test_2025")
    ('train', 'val', None, None)
    """
    if name in KNOWN_SPLITS or not name.isalpha():
        return None
    begun = [split for split in KNOWN_SPLITS if name.startswith(split)]
    return next(iter([*begun, *difflib.get_close_matches(name, KNOWN_SPLITS, n=1)]), None)


def find_misspelt(clips: Iterable[Clip], split: str) -> Clip | None:
    """The first clip whose split is nearly ``split``."""
    return next((clip for clip in clips if clip.split and nearest_split(clip.split) == split), None)


def warn_of_misspelt(clips: Sequence[Clip]) -> list[str]:
    """A note on each split that is nearly train, val or test: where it stands first, and of how many clips."""
    clips_of = Counter(clip.split for clip in clips if clip.split)
    near = {name: split for name in clips_of if (split := nearest_split(name))}
    first = {clip.split: clip for clip in reversed(clips) if clip.split in near}
    return [
        f"{first[name].place}: split {quote(name)}, of {count(clips_of[name], 'clip')}, is neither train, val nor "
        f"test: did you mean {split}?"
        for name, split in near.items()
    ]
