"""Recordings that hold the same samples, and what lies in two splits."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from batcache.errors import AudioError
from batcache.features.audio import content_hash, read_header
from batcache.manifest.manifest import Clip
from batcache.progress import OnProgress, Progress


@dataclass(frozen=True)
class Leak:
    """A group, recording or content that lies in several splits; ``files`` are some of those that hold it."""

    kind: Literal["group", "recording", "content"]
    name: str
    clips: Mapping[str, int]
    files: tuple[str, ...]


def find_leaks(clips: Iterable[Clip], content_of: Mapping[str, str]) -> tuple[Leak, ...]:
    """All that lies in two splits. Clips without a split leak nothing."""
    found: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        if not clip.split:
            continue
        found["recording", clip.filename].append(clip)
        if clip.group:
            found["group", clip.group].append(clip)
        if clip.filename in content_of:
            found["content", content_of[clip.filename]].append(clip)
    leaks = []
    for (kind, name), those in found.items():
        splits = Counter(str(clip.split) for clip in those)
        files = tuple(sorted({clip.filename for clip in those}))
        if len(splits) > 1 and not (kind == "content" and len(files) == 1):
            leaks.append(Leak(kind, name, dict(splits), files))  # type: ignore[arg-type]
    return tuple(leaks)


def find_copies(content_of: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """The names under which each content stands that stands under several."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, content in content_of.items():
        names[content].append(name)
    return tuple(tuple(sorted(those)) for those in names.values() if len(those) > 1)


def hash_files(data_dir: Path, filenames: Iterable[str], on_progress: OnProgress) -> tuple[dict[str, str], list[str]]:
    """The content hash of every recording that may have a copy, and the recordings that cannot be read.

    Only files of which several have the same format and as many samples are read. ``on_progress`` hears of ``hash``.
    """
    alike: dict[tuple[bytes, int], list[str]] = defaultdict(list)
    headers, unreadable = {}, []
    for name in filenames:
        try:
            headers[name] = read_header(Path(os.path.join(data_dir, name)))  # noqa: PTH118 (it may be absolute)
        except AudioError:
            unreadable.append(name)
            continue
        alike[headers[name].format, headers[name].audio_bytes].append(name)
    several = [name for names in alike.values() if len(names) > 1 for name in names]
    contents = {}
    for done, name in enumerate(several, 1):
        try:
            contents[name] = content_hash(Path(os.path.join(data_dir, name)), headers[name])  # noqa: PTH118
        except AudioError:
            unreadable.append(name)
        on_progress(Progress("hash", done, len(several)))
    return contents, unreadable
