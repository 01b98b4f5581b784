"""Commands that make and check manifests: manifest."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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
            help="More names, in the columns of batcache/catalogue/species/names.csv.",
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


COMMANDS = (manifest,)
