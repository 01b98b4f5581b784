"""batcache: bat call classifiers from weak labels, with features that are computed once.

    import batcache

    batcache.build("train.csv")
    run = batcache.train().run
    report = batcache.evaluate(run)
    report.predictions.table()      # columns by name, as a DataFrame wants them

Each call runs to its end and returns its report; ``on_progress`` hears how far it has come. What is wrong is raised as
a ``BatcacheError`` that names the place, what was found there, and what to do about it. Settings are those of the
YAML: ``config`` takes such a file, or its sections as a mapping: ``{"training": {"epochs": 3}}``.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batcache.errors import BatcacheError
from batcache.progress import OnProgress, Progress, ignore_progress

if TYPE_CHECKING:  # each call imports what it needs: ``import batcache`` takes no time
    from batcache.evaluation.evaluate import EvalReport
    from batcache.evaluation.sweeps.sweep import SweepReport
    from batcache.store.build.report import BuildReport
    from batcache.store.reader import Store
    from batcache.synth.create import SynthReport
    from batcache.training.events import TrainReport

__all__ = [
    "BatcacheError",
    "OnProgress",
    "Progress",
    "build",
    "draw",
    "evaluate",
    "open_store",
    "simulate",
    "sweep",
    "train",
]
try:
    __version__ = _version("batcache")
except _PackageNotFoundError:  # a source tree that is not installed
    __version__ = "unknown"

Csv = str | Path | Sequence[str | Path]
Settings = str | Path | Mapping[str, Mapping[str, Any]] | None


def simulate(
    out: str | Path = "simulated",
    clips: int | None = None,
    *,
    manifest: str | Path | None = None,
    species: Sequence[str] = (),
    seed: int = 0,
    force: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> "SynthReport":
    """Simulate bat recordings with known calls: 5 s, 384 kHz, 16 bit, and ``events.csv`` with every call.

    Args:
        out: the folder that the recordings go to.
        clips: make up a manifest of so many clips, written to ``out/manifest.csv``; or give a ``manifest`` to render.
        manifest: a CSV whose rows are rendered: which species call in each file.
        species: with ``clips``: only these, of the twenty that the simulator knows.
        seed: with ``clips``: decides who flies where.
        force: overwrite files of other content.
        on_progress: hears of the stage ``synth``, in recordings.

    Raises:
        ManifestError: a species that the simulator does not know, or rows that are parts of recordings.
        SynthError: another file is in the way, or the disk has no room.
        TypeError: neither ``clips`` nor ``manifest`` is given, or both; or ``species`` without ``clips``.
    """
    from batcache.manifest.manifest import read_manifest
    from batcache.synth.create import create, write_plan

    if (clips is None) == (manifest is None):
        raise TypeError("simulate() takes either clips or manifest")
    if clips is None and species:
        raise TypeError("simulate() takes species with clips only: a manifest names its own")
    listed = Path(manifest) if clips is None else write_plan(Path(out), clips, species, seed, force=force)  # type: ignore[arg-type]
    return create(read_manifest([listed]), Path(out), force=force, on_progress=on_progress)


def build(
    csv: Csv = (),
    cache: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    config: Settings = None,
    device: str = "auto",
    rehash: bool = False,
    allow_outside: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> "BuildReport":
    """Compute the features of every recording once, into a Zarr store; again, only what is missing or has changed.

    Args:
        csv: one manifest or several; by default those that the config names.
        cache: the store, a path or ``s3://bucket/path``; by default ``features.zarr``.
        data_dir: where the manifest's filenames start from; by default the CSV's folder.
        config: settings.
        device: ``auto``, ``cpu`` or ``cuda``.
        rehash: read every file, whatever its size and time say.
        allow_outside: let filenames lead out of the data dir: only for CSVs that you trust.
        on_progress: hears of ``scan`` and ``build``, in recordings; a ``plan`` between them brings the ``Plan``.

    Returns:
        What was computed, kept and rejected, and why. A recording that cannot be used is no error.

    Raises:
        ManifestError: a CSV that cannot be trusted.
        StoreError: a store that is damaged, has other settings, is being built by another, or has no room.
        ConfigError: a setting that is wrong.
    """
    from batcache.store.build.build import build as build_store
    from batcache.store.settings import choose_manifest, load_settings

    settings = load_settings(*_layers(config, cache=cache, data_dir=data_dir))
    manifest = choose_manifest(_paths(csv), settings, allow_outside=allow_outside)
    data = settings.data
    return build_store(manifest, data.place, data, device, rehash=rehash, on_progress=on_progress)


def open_store(
    cache: str | Path = "features.zarr", *, endpoint: str | None = None, region: str | None = None
) -> "Store":
    """Open a cache, or a file that ``batcache export`` wrote. It gives frames, bags and its index as plain arrays.

    Raises:
        StoreError: missing, damaged, or of a format that this batcache does not know.
    """
    from batcache.store.open import open_store as open_cache
    from batcache.store.settings import reach_cache

    return open_cache(reach_cache(str(cache), endpoint, region))


def train(
    csv: Csv = (),
    cache: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    config: Settings = None,
    device: str = "auto",
    on_progress: OnProgress = ignore_progress,
) -> "TrainReport":
    """Train a model from a cache; no recording is opened.

    Args:
        csv: one manifest or several; by default those that the config names, else those that were built last.
        cache: the store; by default ``features.zarr``.
        data_dir: where the manifest's filenames start from.
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

    settings, store = load_with_store(*_layers(config, cache=cache, data_dir=data_dir))
    manifest = choose_manifest(_paths(csv), settings, store, allow_outside=True)
    return train_model(settings, store, manifest, pick_device(device), on_progress=on_progress)


def evaluate(
    run: str | Path | None = None,
    split: str = "test",
    *,
    csv: Csv = (),
    cache: str | Path | None = None,
    data_dir: str | Path | None = None,
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
        device: ``auto``, ``cpu`` or ``cuda``.
        on_progress: hears of ``eval``, in clips.

    Returns:
        Metrics by species and averaged, and ``predictions``, whose ``table()`` has a column for each species.

    Raises:
        RunError: no run, a damaged one, or clips that the model was trained on.
        StoreError, ManifestError: the cache or the CSVs are gone, damaged, or do not fit the model.
    """
    from batcache.device import pick_device
    from batcache.evaluation.evaluate import choose_clips
    from batcache.evaluation.evaluate import evaluate as judge
    from batcache.store.open import open_store as open_cache
    from batcache.training.run_inputs import find_cache, find_checkpoint, find_manifest
    from batcache.training.runs import BEST

    named = None if run is None else Path(run)
    found, checkpoint = find_checkpoint(named / BEST if named and named.is_dir() else named, Path("runs"))
    store = open_cache(find_cache(found, None if cache is None else str(cache)))
    manifest = find_manifest(found, None if data_dir is None else Path(data_dir), csvs=_paths(csv))
    chosen = choose_clips(checkpoint, store, manifest, split, as_trained=not csv)
    return judge(chosen, pick_device(device), on_progress=on_progress)


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

    layers = _layers(config, cache=cache, data_dir=data_dir)
    settings, store = load_with_store(*layers)
    ranges = read_grid(f"{key}={values}" for key, values in over.items() if isinstance(values, str))
    grid = {key: ranges[key] if key in ranges else list(values) for key, values in over.items()}
    manifest, seed = choose_manifest(_paths(csv), settings, store, allow_outside=True), settings.training.seed
    on = store, manifest, pick_device(device), Path(out)
    if trials is not None:
        return search(Space(grid, *layers), trials, *on, folds=folds, seed=seed, on_progress=on_progress)
    return compare(combine(grid, *layers), *on, folds=folds, seed=seed, on_progress=on_progress)


def draw(target: str | Path, output: str | Path, clips: Sequence[str] = (), *, split: str = "test") -> Path:
    """Draw clips of a cache or of a run as spectrograms into a PNG; returns its path.

    Args:
        target: a cache, or a run's folder: then with its scores and evidence.
        output: the PNG.
        clips: filenames as in the CSV; by default six.
        split: of a run: what was judged.

    Raises:
        RunError: no such clip, or nothing judged. StoreError, ManifestError: the cache or its CSVs are gone or damaged.
    """
    from batcache.evaluation.pictures.pages import draw_run, draw_store
    from batcache.store.settings import reach_cache
    from batcache.training.run_inputs import find_cache, is_run

    if is_run(str(target)):
        draw_run(Path(target), find_cache(Path(target)), Path(output), split, clips)
    else:
        draw_store(reach_cache(str(target)), Path(output), clips)
    return Path(output)


def _paths(csv: Csv) -> list[Path]:
    return [Path(csv)] if isinstance(csv, str | Path) else [Path(one) for one in csv]


def _layers(config: Settings, **data: object) -> tuple[Path | None, Mapping[str, Mapping[str, Any]]]:
    """A config file, and what wins over it."""
    given = {name: str(value) for name, value in data.items() if value is not None}
    if config is None or isinstance(config, str | Path):
        return (None if config is None else Path(config)), {"data": given}
    return None, {**config, "data": {**(config.get("data") or {}), **given}}
