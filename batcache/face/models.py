"""Caches to models and how good they are: train, evaluate, sweep, draw. Each call imports what it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batcache.face.given import Csv, Settings, layers_of, paths_of
from batcache.progress import OnProgress, ignore_progress
from batcache.storage.listing import is_folder

if TYPE_CHECKING:
    from batcache.evaluation.evaluate import EvalReport
    from batcache.evaluation.sweeps.sweep import SweepReport
    from batcache.training.events import TrainReport


def train(
    csv: Csv = (),
    cache: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    local_cache: str | Path | None = None,
    local_cache_gb: float | None = None,
    config: Settings = None,
    device: str = "auto",
    on_progress: OnProgress = ignore_progress,
) -> "TrainReport":
    """Train a model from a cache; no recording is opened.

    Args:
        csv: one manifest or several; by default those that the config names, else those that were built last.
        cache: the store; by default ``features.zarr``.
        data_dir: where the manifest's filenames start from.
        local_cache: a folder that keeps what is read of a cache on S3, up to ``local_cache_gb`` (10^9 bytes).
        local_cache_gb: by default 50.
        config: settings, as ``{"model": {"pooling_type": "max"}, "training": {"epochs": 10}}``.
        device: ``auto``, ``cpu`` or ``cuda``.
        on_progress: hears of ``epoch 1`` and ``epoch 1, validating``, in batches and clips; a stage ``train`` brings
            what the run trains on and each epoch's outcome.

    Returns:
        The run's folder, its best epoch and score.

    Raises:
        ManifestError: a CSV that cannot be trusted, recordings that were not built, or no clip to train on.
        StoreError, ConfigError: a store that is damaged, settings that are wrong.
        RunError: the loss is not finite.
    """
    from batcache.device import pick_device
    from batcache.store.settings import choose_manifest, load_with_store
    from batcache.training.loop import train as train_model

    local = {"local_cache": local_cache, "local_cache_gb": local_cache_gb}
    settings, store = load_with_store(*layers_of(config, cache=cache, data_dir=data_dir, **local))
    manifest = choose_manifest(paths_of(csv), settings, store, allow_outside=True)
    return train_model(settings, store, manifest, pick_device(device), on_progress=on_progress)


def evaluate(
    run: str | Path | None = None,
    split: str = "test",
    *,
    csv: Csv = (),
    cache: str | Path | None = None,
    data_dir: str | Path | None = None,
    local_cache: str | Path | None = None,
    local_cache_gb: float | None = None,
    threshold: float = 0.5,
    device: str = "auto",
    on_progress: OnProgress = ignore_progress,
) -> "EvalReport":
    """Judge a trained model on clips that it has not seen.

    Args:
        run: a run's folder, or a checkpoint in it; by default the newest in ``runs``.
        split: the clips to judge on.
        csv: other clips than the run's.
        cache: where their features lie, if not where they did.
        data_dir: where their filenames start from.
        local_cache: as of ``train``, and so is ``local_cache_gb``; by default the run's.
        threshold: of the scores, at and above which a species counts as reported.
        device: ``auto``, ``cpu`` or ``cuda``.
        on_progress: hears of ``eval``, in clips.

    Returns:
        ``metrics`` by species and averaged, with intervals, at every level; ``table()`` has them as columns,
        ``as_text("json")`` (``csv``, ``md``) as text. ``predictions``, whose ``table()`` has a column a species.

    Raises:
        RunError: no run, a damaged one, or clips that the model was trained on.
        StoreError, ManifestError: the cache or the CSVs are gone, damaged, or do not fit the model.
    """
    from batcache.device import pick_device
    from batcache.evaluation.evaluate import choose_clips
    from batcache.evaluation.evaluate import evaluate as judge
    from batcache.store.open import open_store as open_cache
    from batcache.training.run_inputs import find_cache, find_checkpoint, find_manifest, list_passed_over
    from batcache.training.runs import BEST

    named = None if run is None else Path(run)
    found, checkpoint = find_checkpoint(named / BEST if named and is_folder(named) else named, Path("runs"))
    place, folder = None if cache is None else str(cache), None if local_cache is None else Path(local_cache)
    store = open_cache(find_cache(found, place, local_cache=folder, local_cache_gb=local_cache_gb))
    manifest = find_manifest(found, None if data_dir is None else Path(data_dir), csvs=paths_of(csv))
    chosen = choose_clips(checkpoint, store, manifest, split, as_trained=not csv, threshold=threshold)
    report = judge(chosen, pick_device(device), on_progress=on_progress)
    return report if named else replace(report, notes=(*list_passed_over(Path("runs")).notes, *report.notes))


def sweep(
    over: Mapping[str, Sequence[Any] | str],
    out: str | Path,
    csv: Csv = (),
    cache: str | Path | None = None,
    *,
    trials: int | None = None,
    folds: int = 5,
    data_dir: str | Path | None = None,
    config: Settings = None,
    device: str = "auto",
    on_progress: OnProgress = ignore_progress,
) -> "SweepReport":
    """Train every combination of some settings' values, and judge each in the same folds of all but the test clips.

    Args:
        over: values by key: ``{"model.pooling_type": ["max", "attention"], "training.seed": range(5)}``.
        out: the sweep's folder; what is done of the same sweep is taken from there.
        csv: as of ``train``, and so are ``cache``, ``data_dir``, ``config`` and ``device``.
        trials: search: try so many combinations, each chosen by what those before came to. Then a range may stand for
            values: ``{"training.learning_rate": "1e-4..1e-2"}``.
        folds: in how many parts the clips are judged, drawn by the config's ``training.seed``.
        on_progress: hears of ``sweep``, in combinations, with the outcome of each.

    Returns:
        ``rows``, a combination each, and ``standings``, averaged over seeds, the best first.

    Raises:
        ConfigError: a key or value that cannot be swept. RunError: ``out`` holds something else.
        ManifestError, StoreError: as of ``train``; or fewer groups than folds.
    """
    from batcache.device import pick_device
    from batcache.evaluation.sweeps.grid import combine, read_grid
    from batcache.evaluation.sweeps.search import Space, search
    from batcache.evaluation.sweeps.sweep import sweep as compare
    from batcache.store.settings import choose_manifest, load_with_store

    layers = layers_of(config, cache=cache, data_dir=data_dir)
    settings, store = load_with_store(*layers)
    ranges = read_grid(f"{key}={values}" for key, values in over.items() if isinstance(values, str))
    grid = {key: ranges[key] if key in ranges else list(values) for key, values in over.items()}
    manifest, seed = choose_manifest(paths_of(csv), settings, store, allow_outside=True), settings.training.seed
    on = store, manifest, pick_device(device), Path(out)
    if trials is not None:
        return search(Space(grid, *layers), trials, *on, folds=folds, seed=seed, on_progress=on_progress)
    return compare(combine(grid, *layers), *on, folds=folds, seed=seed, on_progress=on_progress)


def draw(
    target: str | Path,
    output: str | Path,
    clips: Sequence[str] = (),
    *,
    split: str = "test",
    start: float | None = None,
    duration: float | None = None,
    size: tuple[float, float] | None = None,
) -> Path:
    """Draw clips of a cache or of a run as spectrograms into a PNG, PDF or SVG, by its name; returns its path.

    Args:
        target: a cache, or a run's folder: then with its scores and evidence.
        output: the picture.
        clips: filenames as in the CSV; by default six.
        split: of a run: what was judged.
        start: from which true second of each recording on.
        duration: how many true seconds; without ``start`` around the loudest moment.
        size: width and height in inches.

    Raises:
        RunError: no such clip, nothing judged, or nothing to see there.
        StoreError, ManifestError: the cache or its CSVs are gone or damaged.
    """
    from batcache.evaluation.pictures.pages import draw_run, draw_store
    from batcache.evaluation.pictures.view import View
    from batcache.store.settings import reach_cache
    from batcache.training.run_inputs import find_cache, is_run

    view = View(start, duration, size)
    if is_run(str(target)):
        draw_run(Path(target), find_cache(Path(target)), Path(output), split, clips, view=view)
    else:
        draw_store(reach_cache(str(target)), Path(output), clips, view=view)
    return Path(output)
