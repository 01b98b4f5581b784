"""The command that judges new recordings: predict."""

from pathlib import Path
from typing import Annotated

import typer

from batcache.cli.options import Device, Endpoint, OnDevice, Region
from batcache.cli.progress import show_progress
from batcache.cli.tables import describe
from batcache.cli.terminal import say, show
from batcache.errors import count


def predict(
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
        float, typer.Option(min=0, max=1, help="Of the scores, at and above which a species counts.")
    ] = 0.5,
    cache: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Keep the features in this store, for later training: a path, or s3://bucket/path.",
            show_default=False,
        ),
    ] = None,
    endpoint: Endpoint = None,
    region: Region = None,
    device: OnDevice = Device.auto,
) -> None:
    """Judge new recordings: which species each of them holds, and in which half second.

    Folders are searched at any depth; no CSV is needed, and of a run no more than its best_model.pt. Stopped, it goes
    on where it was; run again, it judges only what is new. A recording that cannot be used is a row with its reason,
    and the exit code is 0 all the same.

    In predictions.csv stands a row for each recording: where and when, what was found, every species' score, what is
    doubtful; in instances.npz the evidence of each instance. A score is no probability, and a threshold that suits one
    species may not suit another: see what `batcache eval` says of the model.

    Example: batcache predict night-0412 --model runs/20260412T100000Z-top_share
    """
    from batcache.inference.model_file import open_model
    from batcache.inference.predict import predict as judge
    from batcache.inference.recordings.choose import choose_recordings
    from batcache.inference.recordings.journal import count_scored
    from batcache.storage.place import parse_place, reach
    from batcache.store.settings import reach_cache

    given = open_model(model)
    places = [reach(parse_place(path), endpoint, region) for path in paths]
    keep = None if cache is None else reach_cache(cache, endpoint, region)
    try:
        with show_progress() as listener:
            recordings = choose_recordings(places, given, keep, device.value, on_progress=listener)
            report = judge(recordings, given, out, device.value, threshold=threshold, on_progress=listener)
    except KeyboardInterrupt:
        say(f"stopped: {out} holds the scores of {count(count_scored(out), 'recording')}")
        raise
    show(describe(report))


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

    The graph takes samples, -1 to 1, of recordings of one true rate and any length, and gives scores, logits and the
    evidence of each instance: the front end is in it. It holds a recording whole, 4.4 MB a second at 384 kHz; predict
    streams, and takes every rate. What the model knows stands in the file.

    Example: batcache export-model runs/20260412T100000Z-top_share model.onnx
    """
    from batcache.face.models import export_model as export

    show(describe(export(model, target, rate=rate, force=force)))


COMMANDS = (predict, export_model)
