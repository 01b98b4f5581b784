"""What is wrong with a manifest: copies, leaks between splits, near-duplicates, species of too few groups, splits that
differ. Nothing is changed.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from batcache.catalogue.audit.contents import Leak, find_copies, find_leaks, hash_files
from batcache.catalogue.audit.sketches import draw_sketches, find_near
from batcache.catalogue.audit.tell_apart import ToldApart, tell_apart
from batcache.manifest.manifest import Clip, Manifest
from batcache.progress import OnProgress, ignore_progress
from batcache.store.format.commit import CachedRecording
from batcache.store.reader import Store

FEW_GROUPS = 5
NEAR = 0.8
"""Of sketches: copies of ten real recordings at other gains and rates came to 0.94 and more, with noise added to 0.68
and more; different ones of 77 real recordings to less than 0.5."""
MOST_SKETCHED = 50_000
"""Recordings that are compared with each other; of more, so many are drawn."""


@dataclass(frozen=True)
class NearPair:
    """Two recordings that sound alike, the splits they are in, and how alike they are, at most 1."""

    one: str
    other: str
    splits: tuple[str, str]
    cosine: float

    @property
    def leaks(self) -> bool:
        """Whether they are in two splits."""
        return self.splits[0] != self.splits[1] and all(self.splits)


@dataclass(frozen=True)
class FewGroups:
    """A species that too few groups of a split hold."""

    species: str
    split: str
    groups: int
    clips: int


@dataclass(frozen=True)
class AuditReport:
    """What was found.

    Attributes:
        clips, recordings, groups: how many the manifest has.
        ungrouped: recordings without a group.
        leaks: what lies in two splits.
        copies: names of one content.
        unreadable: recordings whose content could not be read.
        few: species of fewer than five groups in a split.
        cached: how many recordings were found in the cache; None without a cache. Only these are compared.
        sketched: how many of them were compared with each other.
        near: those that sound alike, the most alike first.
        told_apart: whether splits can be told apart.
    """

    csvs: tuple[Path, ...]
    clips: int
    recordings: int
    groups: int
    ungrouped: int
    leaks: tuple[Leak, ...]
    copies: tuple[tuple[str, ...], ...]
    unreadable: tuple[str, ...]
    few: tuple[FewGroups, ...]
    cached: int | None
    sketched: int
    near: tuple[NearPair, ...]
    told_apart: tuple[ToldApart, ...]


def audit(
    manifest: Manifest,
    store: Store | None = None,
    *,
    near: float = NEAR,
    seed: int = 0,
    on_progress: OnProgress = ignore_progress,
) -> AuditReport:
    """Look for what is wrong with a manifest.

    Args:
        manifest: read with ``allow_leaks``.
        store: where its features lie; without one contents are hashed, and neither near-duplicates nor differences of
            splits are looked for.
        near: from which cosine of their sketches on two recordings are near-duplicates.
        seed: decides which of very many recordings are compared, and which groups are drawn.
        on_progress: hears of ``hash``, or of ``sketch`` and ``near``, in recordings.

    Raises:
        StoreError: the cache is damaged.
    """
    recordings = manifest.recordings()
    unreadable: list[str] = []
    cached: dict[str, CachedRecording] = {}
    if store is None:
        contents, unreadable = hash_files(manifest.data_dir, recordings, on_progress)
    else:
        cached = {name: row for name in recordings if (row := store.find(name)) is not None}
        contents = {name: row.content for name, row in cached.items()}
    pairs, told, sketched = (
        ((), (), 0) if store is None else _compare(store, cached, recordings, near, seed, on_progress)
    )
    return AuditReport(
        csvs=manifest.csvs,
        clips=len(manifest.clips),
        recordings=len(recordings),
        groups=len({clip.group for clip in manifest.clips if clip.group}),
        ungrouped=sum(clip.group is None for clip in recordings.values()),
        leaks=find_leaks(manifest.clips, contents),
        copies=find_copies(contents),
        unreadable=tuple(unreadable),
        few=tuple(_find_few(manifest.clips, manifest.species)),
        cached=None if store is None else len(cached),
        sketched=sketched,
        near=pairs,
        told_apart=told,
    )


def _compare(
    store: Store,
    cached: dict[str, CachedRecording],
    recordings: dict[str, Clip],
    near: float,
    seed: int,
    on_progress: OnProgress,
) -> tuple[tuple[NearPair, ...], tuple[ToldApart, ...], int]:
    """Near-duplicates, and whether splits can be told apart. Of one content, one recording counts."""
    names = list({row.key: name for name, row in reversed(cached.items())}.values())[::-1]
    if len(names) > MOST_SKETCHED:
        chosen = np.random.default_rng(seed).choice(len(names), MOST_SKETCHED, replace=False)
        names = [names[i] for i in sorted(chosen)]
    found = draw_sketches(store, [cached[name] for name in names], on_progress)
    splits = [recordings[name].split or "" for name in names]
    pairs = [
        NearPair(names[pair.one], names[pair.other], (splits[pair.one], splits[pair.other]), pair.cosine)
        for pair in find_near(found, near, on_progress)
    ]
    told = tell_apart(found.means, splits, [recordings[name].group_or_recording for name in names], seed)
    return tuple(pairs), tuple(told), len(names)


def _find_few(clips: Iterable[Clip], species: Sequence[str]) -> list[FewGroups]:
    groups: dict[tuple[int, str], set[str]] = defaultdict(set)
    counts: dict[tuple[int, str], int] = defaultdict(int)
    splits: dict[str, None] = {}
    for clip in clips:
        splits[clip.split or ""] = None
        for number, label in enumerate(clip.labels):
            if label == 1:
                groups[number, clip.split or ""].add(clip.group_or_recording)
                counts[number, clip.split or ""] += 1
    return [
        FewGroups(name, split, len(groups[number, split]), counts[number, split])
        for number, name in enumerate(species)
        for split in splits
        if len(groups[number, split]) < FEW_GROUPS
    ]
