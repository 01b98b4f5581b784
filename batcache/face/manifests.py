"""Recordings and labels to manifests. Each call imports what it needs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from batcache.face.given import Csv, Paths, paths_of
from batcache.progress import OnProgress, ignore_progress

if TYPE_CHECKING:
    from batcache.catalogue.audit.audit import AuditReport
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
        names: more names, as CSVs in the columns of ``batcache/species/names.csv``.
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


def audit(
    csv: Csv,
    cache: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    near: float = 0.8,
    seed: int = 0,
    on_progress: OnProgress = ignore_progress,
) -> "AuditReport":
    """Look for what is wrong with a manifest: copies, leaks between splits, species of few groups; nothing is changed.

    Args:
        csv: one manifest or several.
        cache: where its features lie: then also near-duplicates, and whether splits can be told apart.
        data_dir: where filenames start from.
        near: from which likeness on, at most 1, recordings are near-duplicates.
        seed: decides what is drawn.
        on_progress: hears of ``hash``, or of ``sketch`` and ``near``, in recordings.

    Raises:
        ManifestError: a CSV that cannot be read.
        StoreError: a cache that is missing or damaged.
    """
    from batcache.catalogue.audit.audit import audit as look_through
    from batcache.manifest.manifest import read_manifest
    from batcache.store.open import open_store as open_cache
    from batcache.store.settings import reach_cache

    store = None if cache is None else open_cache(reach_cache(str(cache)))
    home = None if data_dir is None else Path(data_dir)
    clips = read_manifest(paths_of(csv), home, allow_outside=store is not None, allow_leaks=True)
    return look_through(clips, store, near=near, seed=seed, on_progress=on_progress)
