"""Which site each recording is of: as its metadata, its name or its folder tells; of all recordings by the same."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, get_args

from batcache.catalogue.look import Looked
from batcache.errors import ManifestError, count
from batcache.manifest.file_names import read_name

SiteSource = Literal["metadata", "name", "folder"]
_DATE = re.compile(r"(19|20)\d\d[-_]?\d\d[-_]?\d\d.*")
_OF_RECORDERS = frozenset({"data", "audio", "wav", "wavs", "raw", "recordings"})
_SM3_CHANNEL = re.compile(r"_[01]$")


@dataclass(frozen=True)
class Sites:
    """The site of each recording that has one, by its name; and what told it."""

    source: SiteSource | None
    of: Mapping[str, str]


def find_sites(
    recordings: Iterable[Looked], root_name: str, asked: SiteSource | None, is_label: Callable[[str], bool]
) -> Sites:
    """The sites of recordings, by what ``asked`` says; None: by what tells the most of them.

    Args:
        recordings: those to place.
        root_name: what the folder that holds them all is called: the site of those in no other folder.
        asked: what shall tell. Of those that tell as many, the first in the order of ``SiteSource`` does that tells two
            sites or more: a prefix that all recorders share is none.
        is_label: whether a folder is called as a species is, which is no site then.

    Raises:
        ManifestError: what was asked for tells of no recording.
    """
    listed = list(recordings)
    told: dict[SiteSource, dict[str, str]] = {source: {} for source in get_args(SiteSource)}
    for one in listed:
        for source, site in (
            ("metadata", one.metadata.site),
            ("name", _of_name(one)),
            ("folder", _of_folder(one.name, root_name, is_label)),
        ):
            if site:
                told[source][one.name] = site  # type: ignore[index]
    if asked is not None:
        if listed and not told[asked]:
            finding = f"the {asked} of none of {count(len(listed), 'recording')} tells a site"
            raise ManifestError(f"--site {asked}", finding, "Ask for another, or leave --site away")
        return Sites(asked, told[asked])
    best = max(told, key=lambda source: (len(told[source]), len(set(told[source].values())) > 1))  # the first of equals
    return Sites(best if told[best] else None, told[best])


def _of_name(one: Looked) -> str | None:
    site = (read_name(one.name) or (None, None))[0]
    if site and "SM3" in (one.metadata.recorder or "").upper():
        site = _SM3_CHANNEL.sub("", site)  # both microphones of one recorder
    return site


def _of_folder(name: str, root_name: str, is_label: Callable[[str], bool]) -> str | None:
    """The outermost folder that is no date, no species, and none that recorders or people call all audio."""
    for folder in (*PurePosixPath(name).parent.parts, root_name):
        if not (_DATE.fullmatch(folder) or folder.lower() in _OF_RECORDERS or is_label(folder)):
            return folder
    return None
