"""Commands on predictions that are there: convert for other programs, survey of sites and nights."""

from pathlib import Path
from typing import Annotated

import typer

from batcache.cli.options import ForExcel, Formats, list_formats
from batcache.cli.progress import show_progress
from batcache.cli.tables import describe
from batcache.cli.terminal import show

PredictedFolder = Annotated[Path, typer.Argument(metavar="FOLDER", help="What predict has written.")]


def convert(
    folder: PredictedFolder = Path("predictions"),
    to: Formats = None,
    excel: ForExcel = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Each format gets a folder of its name in it. [default: FOLDER]", show_default=False
        ),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the recordings are now. [default: where they were judged]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write predictions as the files of other programs.

    kaleidoscope: id.csv with its 44 columns; species as codes (PIPPIP), a group or an unknown bat as NoID, no bat as
    Noise. raven: a selection table for each recording, and all.txt for all of them opened in the order of sequence.txt.
    audacity: label files with frequencies. aoef: a prediction set for Whombat, and annotations of what was reviewed;
    needs pip install 'batcache[formats]'. nabat: the columns of a bulk upload, of which those that only the surveyor
    knows are left empty. guano: copies of the recordings with Species Auto ID in their metadata; the recordings stay as
    they are. csv: a row for each recording, as people read it; --excel the same for a double click in Excel where
    numbers have a decimal comma.

    Species are those that predict found, or that a corrected predictions.csv names; manual ids those of the newest
    reviewed.csv of a review. Half seconds whose evidence reaches a species' threshold are joined to spans. Times and
    frequencies in raven and audacity, and Kaleidoscope's DURATION, are those of the file's header, as these programs
    read it; all others are the bat's.

    Example: batcache convert predictions --to kaleidoscope,raven,guano
    """
    from batcache.survey.convert import convert as write

    formats = list_formats(to, excel=excel)
    if not formats:
        raise typer.BadParameter("name a format: --to kaleidoscope, or --excel")
    with show_progress() as listener:
        report = write(folder, formats, out, recordings=recordings, on_progress=listener)
    show(describe(report))


def survey(
    folder: PredictedFolder = Path("predictions"),
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The table to write. [default: FOLDER/survey.csv]", show_default=False),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="The picture: .png, .svg or .pdf. [default: beside the table, .png]", show_default=False),
    ] = None,
    site: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of recordings whose row has none.", show_default=False)
    ] = None,
    place: Annotated[
        str | None,
        typer.Option(metavar="LAT,LON", help="Of recordings that do not tell, in degrees.", show_default=False),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of recorders' clocks that do not tell: Europe/Berlin, UTC.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Count which species were at which site in which night, and at which hour after sunset, with the effort.

    Three tables and a picture: OUT, a row for each site-night and species; beside it OUT_nights, a row for each night
    and species over all sites; OUT_hours, a row for each site, hour after sunset and species. Beside each count stands
    how many recordings there were at all. A night that was recorded but has no bats has zeros; a night without
    recordings has no row, so that a recorder that writes a file only where it hears something needs its own log to
    tell a silent night from a dead battery. Recordings that were rejected are counted apart. Where presence.csv lies
    in FOLDER, its tests stand beside.

    Sunset is that of the evening at the recording's place; times need an offset from UTC, or --timezone. Where the sun
    does not set, or not rise, there is no such hour.

    What a person found, by the newest reviewed.csv of a review, counts in the place of what the model said. Site and
    night are read from predictions.csv, where they may be corrected, and rows deleted, beforehand.

    Example: batcache survey predictions -o survey.csv --timezone Europe/Berlin --place 52.5,13.4
    """
    from batcache.survey.sunset import read_place, read_timezone
    from batcache.survey.survey import survey as count

    report = count(
        folder,
        out,
        picture=picture,
        site=site,
        place=None if place is None else read_place(place),
        timezone=None if timezone is None else read_timezone(timezone),
    )
    show(describe(report))


COMMANDS = (convert, survey)
