"""Commands that make and check manifests: manifest, audit."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from batcache.cli.options import DataDir, Endpoint, Region
from batcache.cli.progress import show_progress
from batcache.cli.tables import describe
from batcache.cli.terminal import show


class Others(StrEnum):
    """What the species are that a named recording does not name."""

    absent = "absent"
    unknown = "unknown"


class SiteSource(StrEnum):
    """What tells the sites."""

    metadata = "metadata"
    name = "name"
    folder = "folder"


def manifest(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Folders of recordings, at any depth, or files.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The CSV to write.", show_default=False)],
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|folders|tags",
            help="A table of labels or a folder of them; folders: the names of the recordings' folders; tags: the "
            "manual ids in the recordings' GUANO and WAMD. May be repeated. [default: tags]",
            show_default=False,
        ),
    ] = None,
    others: Annotated[
        Others, typer.Option(help="What the species are that a recording with a named species does not name.")
    ] = Others.absent,
    auto: Annotated[bool, typer.Option("--auto", help="Take what a program named where no person did.")] = False,
    species: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A species that there may be: it has a column, and decides what a code means. May be repeated.",
            show_default=False,
        ),
    ] = None,
    names: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="CSV",
            help="More names, in columns kind, name, english, german, french, codes, members; kind is species, group "
            "(of the members), no id or noise.",
            show_default=False,
        ),
    ] = None,
    site: Annotated[
        SiteSource | None,
        typer.Option(help="What tells the sites. [default: what tells the most of them]", show_default=False),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE",
            help="Such as Europe/Berlin: times in UTC are converted to it, times without a zone are taken as its local "
            "time. [default: times stay as recorders wrote them]",
            show_default=False,
        ),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out labels of recordings that are not here.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Make a manifest of recordings as they came from the card, with labels as other programs wrote them.

    Time, place, recorder and time expansion are taken from GUANO, WAMD, a Batlogger's XML, the head of a Pettersson,
    and file names. The night is the local date twelve hours before; the group is site and night. Where calls have
    times, events.csv is written beside the CSV.

    Labels: a table with a column of files and one of species, several names in a cell (Pippip; Nycnoc) or one a row;
    Kaleidoscope's id.csv, cluster.csv and meta.csv; Raven's selections; BatDetect2's JSON; AOEF (pip install
    'batcache[formats]'); tables of SonoBat, the BTO Acoustic Pipeline and Vigie-Chiro. What a table is, is seen from
    its header and told. Names may be Latin, English, German or French, or codes (PIPPIP, EPFU, Ppip), of groups too
    (Myotis sp., LABOLASE, 40kMyo).

    What is named is 1. What a recording with a named species does not name is 0, or with --others unknown empty. A
    group leaves its species empty. Noise makes all 0. NoID makes nothing 0. A recording that nothing names is empty.

    Examples:

    batcache manifest 2024 -o data.csv --labels folders --timezone Europe/Berlin

    batcache manifest 2024 -o data.csv --labels id.csv --labels notes.csv --others unknown
    """
    from batcache.catalogue.make import Wishes, make_manifest

    wishes = Wishes(
        labels=tuple(labels or ("tags",)),
        species=tuple(species or ()),
        names=tuple(names or ()),
        others=others.value,
        auto=auto,
        site=None if site is None else site.value,
        timezone=timezone,
        allow_missing=allow_missing,
        force=force,
    )
    with show_progress() as listener:
        report = make_manifest(paths, output, wishes, on_progress=listener)
    show(describe(report))


def audit(
    csv: Annotated[
        list[Path], typer.Option("--csv", help="Manifest; give several as --csv a.csv --csv b.csv.", show_default=False)
    ],
    data_dir: DataDir = None,
    cache: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Where its features lie; without it the files are read.", show_default=False),
    ] = None,
    endpoint: Endpoint = None,
    region: Region = None,
    near: Annotated[
        float, typer.Option(min=0.1, max=1, help="From which likeness on recordings are near-duplicates.")
    ] = 0.8,
    seed: Annotated[int, typer.Option(min=0, help="Decides what is drawn.")] = 0,
) -> None:
    """Say what is wrong with a manifest, before anything is trained on it. Nothing is changed; exit code 0.

    Copies of one content under several names; groups, recordings and contents in two splits; species that fewer than
    five groups of a split hold. With --cache also near-duplicates (one sound saved again at another gain, rate or
    format; not one that was cut differently), and whether a small model can tell the splits apart by their mean frames:
    then they differ in place, recorder or season, and scores on one say less of the other.

    Example: batcache audit --csv train.csv --cache features.zarr
    """
    from batcache.catalogue.audit.audit import audit as look_through
    from batcache.manifest.manifest import read_manifest

    store = None
    if cache is not None:
        from batcache.store.open import open_store
        from batcache.store.settings import reach_cache

        store = open_store(reach_cache(cache, endpoint, region))
    clips = read_manifest(csv, data_dir, allow_outside=store is not None, allow_leaks=True)
    with show_progress() as listener:
        report = look_through(clips, store, near=near, seed=seed, on_progress=listener)
    show(describe(report))


COMMANDS = (manifest, audit)
