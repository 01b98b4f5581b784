"""Commands on new recordings: predict, calibrate by reviewed ones, presence of species at a site in a night."""

from pathlib import Path
from typing import Annotated

import typer

from batcache.cli.options import (
    Device,
    Endpoint,
    ForExcel,
    Formats,
    LocalCacheFolder,
    LocalCacheGb,
    LocalWorkers,
    OnDevice,
    Region,
    Scheduler,
    list_formats,
    refuse,
)
from batcache.cli.progress import show_progress
from batcache.cli.tables import describe
from batcache.cli.terminal import say, show, warn
from batcache.errors import count


def predict(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Folders, WAV or FLAC files, or one cache.", show_default=False),
    ],
    model: Annotated[
        Path,
        typer.Option(metavar="RUN|FILE", help="The model: a run's folder, or a file (.pt, .onnx).", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="For what comes of it: of one model and place.")] = Path(
        "predictions"
    ),
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Of the scores, at and above which any species counts. [default: each species' own, of the model]",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[float, typer.Option(min=0.01, max=0.999, help="Wanted of the species' own thresholds.")] = 0.9,
    fit_prevalence: Annotated[
        bool,
        typer.Option(
            "--fit-prevalence",
            help="Correct probabilities for how common each species is in these recordings, as they tell themselves.",
        ),
    ] = False,
    cache: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Keep the features in this store, for later training: a path, or s3://bucket/path.",
            show_default=False,
        ),
    ] = None,
    to: Formats = None,
    excel: ForExcel = False,
    endpoint: Endpoint = None,
    region: Region = None,
    local_cache: LocalCacheFolder = None,
    local_cache_gb: LocalCacheGb = None,
    device: OnDevice = Device.auto,
    scheduler: Scheduler = None,
    local_workers: LocalWorkers = None,
) -> None:
    """Judge new recordings: which species each of them holds, and in which half second.

    Folders are searched at any depth; no CSV is needed, and of a run no more than its best_model.pt. Stopped, it goes
    on where it was; run again, it judges only what is new. A recording that cannot be used is a row with its reason,
    and the exit code is 0 all the same.

    In predictions.csv stands a row for each recording: where and when, what was found, every species' score, what is
    doubtful; in instances.npz the evidence of each instance. Where no species is found, the verdict is a group of
    species, "unknown bat" or "no bat", by the score in the column bat, where the model has one: below 0.5 no species
    and no group is named; pulses counts short sounds that stand out, calls but also insects and clicks. A score is no
    probability: those stand in columns of their own, for species whose scores the model can translate. A species counts
    from its own threshold on, which thresholds.csv names with what it rests on: where the model carries enough clips
    that it had not learnt from, the threshold promises --precision on nights like those; else it is that of the best
    F1; else 0.5, and nothing is promised. A calibration that `batcache calibrate` left beside the model is taken.

    --to writes what was found for other programs too, as `batcache convert` does of predictions that are there.

    With --scheduler the workers of a Dask cluster judge, which must see the recordings and the model at the same paths;
    a cache is judged on this machine.

    Example: batcache predict night-0412 --model runs/20260412T100000Z-top_share --to kaleidoscope,raven
    """
    from batcache.cluster import open_cluster
    from batcache.inference.model_file import open_model
    from batcache.inference.predict import predict as judge
    from batcache.inference.recordings.choose import choose_recordings
    from batcache.inference.recordings.journal import count_scored
    from batcache.store.settings import reach_paths
    from batcache.survey.convert import convert, require_formats

    formats = list_formats(to, excel=excel)
    require_formats(formats)
    if threshold is not None:
        refuse(context, ["precision"], "--threshold is given for all species")
    given = open_model(model)
    local = {"local_cache": local_cache, "local_cache_gb": local_cache_gb}
    reached = reach_paths([*paths, *([] if cache is None else [cache])], endpoint, region, **local)
    places, keep = reached[: len(paths)], reached[-1] if cache is not None else None
    try:
        with open_cluster(scheduler, local_workers, warn) as cluster, show_progress() as listener:
            recordings = choose_recordings(places, given, keep, device.value, cluster=cluster, on_progress=listener)
            report = judge(
                recordings,
                given,
                out,
                device.value,
                threshold=threshold,
                precision=precision,
                fit_prevalence=fit_prevalence,
                cluster=cluster,
                on_progress=listener,
            )
    except KeyboardInterrupt:
        say(f"stopped: {out} holds the scores of {count(count_scored(out), 'recording')}")
        raise
    show(describe(report))
    if formats:
        show(describe(convert(out, formats)))


def export_model(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A run's folder, or a checkpoint (.pt).", show_default=False)
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The file to write.", show_default=False)],
    rate: Annotated[int, typer.Option(help="Hz: the true rate of the recordings that the graph takes.")] = 384_000,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a model as an ONNX file, for other programs, and for predict without torch; needs pip install
    'batcache[onnx]'.

    The graph takes samples, -1 to 1, of recordings of one true rate and any length, and gives scores, logits, the
    evidence of each instance and, where the model hears that, the score of a bat: the front end is in it. It holds a
    recording whole, 4.4 MB a second at 384 kHz; predict streams, and takes every rate. What the model knows stands in
    the file.

    Example: batcache export-model runs/20260412T100000Z-top_share model.onnx
    """
    from batcache.face.predictions import export_model as export

    show(describe(export(model, target, rate=rate, force=force)))


def calibrate(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|FILE", help="The model: a run's folder, or a file (.pt, .onnx).", show_default=False
        ),
    ],
    reviewed: Annotated[
        Path,
        typer.Argument(metavar="REVIEWED.csv", help="What a person found in recordings.", show_default=False),
    ],
    predictions: Annotated[
        Path, typer.Option(help="The folder that `predict` judged these recordings into (--out).")
    ] = Path("predictions"),
    precision: Annotated[float, typer.Option(min=0.01, max=0.999, help="Wanted of thresholds, to be shown.")] = 0.9,
) -> None:
    """Calibrate a model on recordings that a person has reviewed, without training.

    The CSV is a corrected predictions.csv: first a column path, then a column for each species that was looked at: 1
    present, 0 absent, empty not looked at; a column group may name site-nights. Recordings that the model has learnt
    from, and copies, are left out. Rows should be chosen whatever their score, or thresholds promise nothing for what
    was left out. What comes of it is written beside the model as <model>.calibration.json, which `predict` takes from
    there; species of which the rows tell too little keep the model's own thresholds.

    Example: batcache calibrate runs/20260412T100000Z-top_share reviewed.csv --predictions predictions
    """
    from batcache.inference.calibration.recalibrate import recalibrate
    from batcache.inference.model_file import open_model

    show(describe(recalibrate(open_model(model), reviewed, predictions, precision)))


def presence(
    model: Annotated[
        Path, typer.Option(metavar="RUN|FILE", help="The model that judged the recordings.", show_default=False)
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What predict has written.")] = Path("predictions"),
    site: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of recordings whose row has none.", show_default=False)
    ] = None,
    draws: Annotated[int, typer.Option(min=0, help="Confusions to draw, to see what they leave open.")] = 200,
) -> None:
    """Say which species were at which site in which night, by maximum likelihood, from what predict has written.

    The model's own held-out clips tell how often it takes a species for another; they come with train --folds 5, or
    with validation rows. The shares of the species that make a night's files likeliest are found, then again without
    one species after the other. In presence.csv stand, for each, the ratio of the two likelihoods, which programs in
    use (Kaleidoscope) call the P-value, and apart from it the p-value: how often a species that is not there has so low
    a ratio. A file counts for one species, that of the highest score among those at or above their thresholds, as
    predict used them.

    Flags: "few files", identified as the species in fewer than 15; "swamped", in less than a quarter of the identified;
    "few held-out clips", of the species, fewer than 10. There such tests are often wrong. Thresholds were chosen on the
    same held-out clips: mistakes are slightly rarer in them than elsewhere. batcache is on no authority's list of
    approved programs (USFWS): look at the recordings before a presence is reported. Of a hundred species that are
    absent, five have a p-value below 0.05; with few files p-values are too low.

    Site and night are read from predictions.csv, where they may be corrected, and rows deleted, beforehand.

    Example: batcache presence predictions --model runs/20260412T100000Z-top_share
    """
    from batcache.inference.model_file import open_model
    from batcache.survey.presence_table import presence as test_nights

    with show_progress() as listener:
        report = test_nights(folder, open_model(model), site=site, draws=draws, on_progress=listener)
    show(describe(report))


COMMANDS = (predict, calibrate, presence, export_model)
