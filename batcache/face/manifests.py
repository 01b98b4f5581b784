"""Recordings and labels to manifests. Each call imports what it needs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from batcache.face.given import Paths, paths_of
from batcache.progress import OnProgress, ignore_progress

if TYPE_CHECKING:
    from batcache.catalogue.report import ManifestReport


def make_manifest(
    recordings: Paths,
    out: str | Path = "data.csv",
    *,
    labels: Paths = "tags",
    others: Literal["absent", "unknown"] = "absent",
    auto: bool = False,
    species: Sequence[str] = (),
    names: Paths = (),
    site: Literal["metadata", "name", "folder"] | None = None,
    timezone: str | None = None,
    allow_missing: bool = False,
    force: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> "ManifestReport":
    """Make a manifest of recordings as they came from the card, with labels as other programs wrote them.

    Args:
        recordings: folders, at any depth, or files.
        out: the CSV to write.
        labels: tables of other programs, or folders of them; ``folders`` for the names of the recordings' folders;
            ``tags`` for the manual ids in their metadata.
        others: what the species are that a recording with a named species does not name.
        auto: take what a program named where no person did.
        species: those that there may be: they have a column, and decide what a code means.
        names: more names, as CSVs in the columns of ``batcache/catalogue/species/names.csv``.
        site: what tells the sites; by default what tells the most of them.
        timezone: such as Europe/Berlin, of clocks in UTC or without a zone.
        allow_missing: leave out labels of recordings that are not here.
        force: replace files that are there.
        on_progress: hears of ``look``, in recordings.

    Returns:
        What was listed, from which labels, and what to know of it.

    Raises:
        PredictError: no such folder, or no recording in it.
        ManifestError: labels that cannot be read, name what is not known, or are of no recording here.
    """
    from batcache.catalogue.make import Wishes
    from batcache.catalogue.make import make_manifest as make

    wishes = Wishes(
        labels=tuple(map(str, paths_of(labels))),
        species=tuple(species),
        names=tuple(paths_of(names)),
        others=others,
        auto=auto,
        site=site,
        timezone=timezone,
        allow_missing=allow_missing,
        force=force,
    )
    return make(paths_of(recordings), Path(out), wishes, on_progress=on_progress)
