"""The options that several commands share."""

from collections.abc import Collection, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Engine(StrEnum):
    """What computes spectra."""

    auto = "auto"
    nnaudio = "nnaudio"
    fft = "fft"


class Format(StrEnum):
    """How numbers are written."""

    json = "json"
    csv = "csv"
    md = "md"


class KeepOnGpu(StrEnum):
    """Whether training bags may stay in a GPU's memory."""

    auto = "auto"
    off = "off"


class Pooling(StrEnum):
    """How the scores of instances become those of a bag."""

    max = "max"
    attention = "attention"
    linear_softmax = "linear_softmax"
    gated_attention = "gated_attention"
    top_share = "top_share"
    mean = "mean"
    exponential_softmax = "exponential_softmax"
    self_weighted = "self_weighted"
    autopool = "autopool"
    noisy_or = "noisy_or"


Init = Annotated[
    str | None,
    typer.Option(
        "--init",
        metavar="simulated|none|PATH",
        help="What training starts from: the trunk that ships, chance, a trunk's file, or a model of yours: a run. "
        "[default: simulated; none where the config names conv_layers]",
        show_default=False,
    ),
]
Csvs = Annotated[
    list[Path] | None,
    typer.Option("--csv", help="Manifest; give several as --csv a.csv --csv b.csv.", show_default=False),
]
DataDir = Annotated[
    Path | None, typer.Option(help="Where filenames start from. [default: the folder of the CSV]", show_default=False)
]
CachePath = Annotated[
    str | None,
    typer.Option(
        "--cache",
        metavar="PATH",
        help="The store: a path, or s3://bucket/path. [default: features.zarr]",
        show_default=False,
    ),
]
Endpoint = Annotated[
    str | None, typer.Option(help="Of a cache on S3: the server's URL. [default: AWS]", show_default=False)
]
Region = Annotated[
    str | None, typer.Option(help="Of a cache on S3. [default: that of your AWS settings]", show_default=False)
]
LocalCacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--local-cache",
        metavar="DIR",
        help="Of a cache on S3: keep what is read of it in this folder, and read it from there the next time.",
        show_default=False,
    ),
]
LocalCacheGb = Annotated[
    float | None,
    typer.Option(
        help="What --local-cache may take, in 10^9 bytes; the least recently used goes first. [default: 50]",
        show_default=False,
    ),
]
RunsLocalCacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--local-cache",
        metavar="DIR",
        help="Of a cache on S3: keep what is read of it in this folder. [default: the run's, if any]",
        show_default=False,
    ),
]
RunsLocalCacheGb = Annotated[
    float | None,
    typer.Option(help="What --local-cache may take, in 10^9 bytes. [default: the run's, else 50]", show_default=False),
]
RunsCsvs = Annotated[
    list[Path] | None,
    typer.Option("--csv", help="Manifest; may be repeated. [default: the run's]", show_default=False),
]
RunsDataDir = Annotated[
    Path | None,
    typer.Option(help="Where filenames start from. [default: the run's, or the CSV's folder]", show_default=False),
]
RunsCache = Annotated[
    str | None,
    typer.Option(
        "--cache",
        metavar="PATH",
        help="The store: a path, or s3://bucket/path. [default: the run's]",
        show_default=False,
    ),
]
RunsEndpoint = Annotated[
    str | None,
    typer.Option(help="Of a cache on S3: the server's URL. [default: the run's, else AWS]", show_default=False),
]
RunsRegion = Annotated[
    str | None,
    typer.Option(help="Of a cache on S3. [default: the run's, else that of your AWS settings]", show_default=False),
]
ConfigPath = Annotated[Path | None, typer.Option("--config", help="Settings as YAML.", show_default=False)]
HowPooled = Annotated[Pooling | None, typer.Option(help="How instances become a bag.", show_default=False)]
Epochs = Annotated[int | None, typer.Option(help="At most so many epochs.", show_default=False)]
Runs = Annotated[
    Path | None, typer.Option("--run-dir", help="The folder that holds the runs. [default: runs]", show_default=False)
]
AllowOutside = Annotated[
    bool, typer.Option("--allow-outside", help="Let filenames lead out of the data dir; only for CSVs you trust.")
]
OnDevice = Annotated[Device, typer.Option("--device", help="Where to compute; auto takes a GPU where there is one.")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="Of a Dask scheduler, whose workers do the work: tcp://host:8786.", show_default=False
    ),
]
LocalWorkers = Annotated[
    int | None,
    typer.Option(min=1, help="Have so many Dask processes of this machine do the work.", show_default=False),
]
SpectraBy = Annotated[
    Engine | None,
    typer.Option(
        "--engine", help="What computes spectra. [default: auto: nnaudio on a GPU, fft on a CPU]", show_default=False
    ),
]

Formats = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="FORMAT,...",
        help="Write it for other programs: kaleidoscope, raven, audacity, aoef, nabat, guano, csv.",
        show_default=False,
    ),
]
ForExcel = Annotated[
    bool,
    typer.Option("--excel", help="Write a table that Excel opens where numbers have a decimal comma."),
]


def list_formats(to: str | None, *, excel: bool) -> list[str]:
    """The formats that are asked for."""
    return [*(name.strip() for name in (to or "").split(",") if name.strip()), *(["excel"] if excel else [])]


def refuse(context: typer.Context, names: Iterable[str], why: str) -> None:
    """Refuse options that stand on the command line and would be ignored."""
    flags = {option.name: option.opts[0] for option in context.command.params}
    sources = {name: context.get_parameter_source(name) for name in names}
    given = [flags[name] for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        raise typer.BadParameter(f"{', '.join(given)}: {why}")


def refuse_all_but(context: typer.Context, names: Collection[str], why: str) -> None:
    """Refuse all options but these where they stand on the command line."""
    refuse(context, [name for name in context.params if name not in names], why)
