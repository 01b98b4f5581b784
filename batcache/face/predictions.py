"""From a model to what it says of new recordings. Each call imports what it needs."""

from pathlib import Path
from typing import TYPE_CHECKING

from batcache.face.given import Paths
from batcache.progress import OnProgress, ignore_progress
from batcache.storage.listing import is_there

if TYPE_CHECKING:
    from batcache.inference.calibration.recalibrate import Recalibrated
    from batcache.inference.onnx.export import ExportedModel
    from batcache.inference.predict import PredictReport


def predict(
    recordings: Paths,
    model: str | Path,
    out: str | Path = "predictions",
    *,
    threshold: float | None = None,
    precision: float = 0.9,
    fit_prevalence: bool = False,
    cache: str | Path | None = None,
    local_cache: str | Path | None = None,
    local_cache_gb: float | None = None,
    device: str = "auto",
    scheduler: str | None = None,
    local_workers: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> "PredictReport":
    """Judge new recordings; what was judged into ``out`` before is not judged again.

    Args:
        recordings: folders, at any depth, files (WAV, FLAC), or a cache.
        model: a run's folder, a checkpoint or an ONNX file, which need nothing beside them.
        out: the folder for ``predictions.csv``, ``thresholds.csv``, ``instances.npz`` and what is needed to go on.
        threshold: of the scores, at and above which any species counts; by default each species has its own, from the
            clips that the model carries, or was calibrated on.
        precision: that is wanted of these.
        fit_prevalence: correct probabilities for how common each species is in these recordings, as they tell.
        cache: where to keep the features, for later training.
        local_cache: as of ``train``, and so is ``local_cache_gb``.
        device: ``auto``, ``cpu`` or ``cuda``.
        scheduler: address of a Dask scheduler, whose workers judge files in the place of threads of this process.
        local_workers: have so many Dask processes of this machine do it.
        on_progress: hears of ``predict``, in recordings; with ``cache`` of the stages of ``build`` before.

    Returns:
        What was found: ``predictions`` and ``probabilities`` as arrays, the ``calibration`` behind them, and
        ``table()`` or ``to_pandas()``, a row for each recording, also for those that cannot be used.

    Raises:
        PredictError: no recordings, or a folder ``out`` that holds the scores of another model.
        RunError: no model, a damaged one, or one of features that are not computed any more.
        StoreError: a cache that is damaged or holds other features.
        ClusterError: workers that cannot do it.
    """
    from batcache.cluster import open_cluster
    from batcache.inference.model_file import open_model
    from batcache.inference.predict import predict as judge_recordings
    from batcache.inference.recordings.choose import choose_recordings
    from batcache.store.settings import reach_paths

    given = [str(recordings)] if isinstance(recordings, str | Path) else [str(one) for one in recordings]
    judge, kept = open_model(Path(model)), [] if cache is None else [str(cache)]
    reached = reach_paths([*given, *kept], local_cache=local_cache, local_cache_gb=local_cache_gb)
    places, keep = reached[: len(given)], reached[-1] if kept else None
    with open_cluster(scheduler, local_workers) as cluster:
        chosen = choose_recordings(places, judge, keep, device, cluster=cluster, on_progress=on_progress)
        return judge_recordings(
            chosen,
            judge,
            Path(out),
            device,
            threshold=threshold,
            precision=precision,
            fit_prevalence=fit_prevalence,
            cluster=cluster,
            on_progress=on_progress,
        )


def calibrate(
    model: str | Path, reviewed: str | Path, predictions: str | Path = "predictions", *, precision: float = 0.9
) -> "Recalibrated":
    """Calibrate a model on recordings that a person has reviewed, without training.

    Args:
        model: a run's folder, a checkpoint or an ONNX file; beside it a profile is written, which ``predict`` takes.
        reviewed: a CSV with the paths of recordings and a column of 1, 0 or nothing for each species looked at.
        predictions: the folder that ``predict`` judged these recordings into.
        precision: that is wanted of thresholds, in what is returned.

    Returns:
        The profile's path, and the ``calibration`` that comes of it.

    Raises:
        PredictError: a folder without scores of this model, or recordings that were not judged into it.
        ManifestError: a CSV that cannot be trusted, or of other species. RunError: too few rows.
    """
    from batcache.inference.calibration.recalibrate import recalibrate
    from batcache.inference.model_file import open_model

    return recalibrate(open_model(Path(model)), Path(reviewed), Path(predictions), precision)


def export_model(model: str | Path, target: str | Path, *, rate: int = 384_000, force: bool = False) -> "ExportedModel":
    """Write a model as an ONNX file, for other programs, and for ``predict`` without torch.

    Args:
        model: a run's folder or a checkpoint.
        target: the file; its name ends in ``.onnx``.
        rate: Hz: the true rate of the recordings that the graph takes; ``predict`` takes all.
        force: replace a file that is there.

    Returns:
        Where it lies, and its size.

    Raises:
        RunError: no model, a damaged one, or one of features that are not computed any more; a name that ends
            otherwise, or a file that is there; onnx and onnxruntime are not installed.
        ConfigError: a rate at which windows are no whole numbers of samples.
    """
    from batcache.inference.model_file import ONNX, open_model
    from batcache.inference.onnx.file import require_onnx

    require_onnx("export-model")
    from batcache.errors import RunError
    from batcache.inference.onnx.export import export_model as export
    from batcache.inference.torch_model import CheckpointFile

    place, opened = Path(target), open_model(Path(model))
    if place.suffix.lower() != ONNX:
        raise RunError(place, f"expected a name that ends in {ONNX}", "Correct it")
    if is_there(place) and not force:
        raise RunError(place, "is there already", "Pass another name, or --force (force=True) to replace it")
    if not isinstance(opened, CheckpointFile):
        raise RunError(model, "an ONNX file already", "Pass the checkpoint or run that it was written from")
    return export(opened, place, rate)
