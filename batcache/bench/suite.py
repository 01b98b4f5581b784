"""All measurements, one after the other, each part in its turn."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from batcache.bench.building import measure_build_on, measure_builds, measure_engines
from batcache.bench.epochs import measure_epoch_data
from batcache.bench.machine import describe_machine, describe_versions
from batcache.bench.memory import measure_disk, measure_memory
from batcache.bench.planning import planning_rows
from batcache.bench.predicting import Peer, find_peer, measure_predict
from batcache.bench.reading import measure_reading
from batcache.bench.recordings import Sample, choose, simulate
from batcache.bench.rows import Report, Row
from batcache.bench.stages import measure_stages
from batcache.bench.starting import measure_start
from batcache.bench.training import FULL, SMALL, measure_training
from batcache.config.settings import Config, to_plain
from batcache.device import pick_device
from batcache.manifest.manifest import Manifest
from batcache.progress import OnProgress, Progress, ignore_progress

_STAGED = 16  # recordings measured stage by stage, and for the mel engines
_READ = 64  # recordings whose bags are read and trained on, and whose build's memory is measured


@dataclass(frozen=True)
class Effort:
    """How much is measured: recordings (of three shards, so that a build computes while it writes), rounds, seconds of
    reading, epochs of training, few and many short recordings, minutes of a long one, recordings of a made-up store
    that is planned.
    """

    clips: int = 192
    rounds: int = 3
    read_seconds: float = 5.0
    epochs: int = 4
    few: int = 100
    many: int = 10_000
    long_minutes: float = 10.0
    planned: int = 20_000


def bench(
    manifest: Manifest | None,
    config: Config,
    effort: Effort | None = None,
    device: str = "auto",
    batdetect2: Path | None = None,
    *,
    on_progress: OnProgress = ignore_progress,
) -> Report:
    """Measure this machine on recordings of a manifest, or on simulated ones.

    On a GPU too, unless ``device`` is ``cpu``. ``batdetect2`` is the Python of an environment that has this peer.

    ``on_progress`` hears what is being measured as the stage; the result of a step is the rows that it gave.

    Raises:
        ManifestError, AudioError: recordings that cannot be used. ConfigError: no BatDetect2 where it is said to be; a
            device that is not there.
    """
    pick_device(device)
    effort, peer = effort or Effort(), find_peer(batdetect2)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="batcache-bench-") as place:
        folder = Path(place)
        on_progress(Progress("simulating recordings" if manifest is None else "choosing recordings"))
        chosen = manifest or simulate(folder / "simulated", effort.clips)
        sample = choose(chosen, effort.clips, config.data)
        parts = _parts(sample, config, effort, device, folder, peer)
        for done, (what, measure) in enumerate(parts.items()):
            on_progress(Progress(what, done, len(parts)))
            measured = tuple(measure())
            rows += measured
            on_progress(Progress(what, done + 1, len(parts), measured))
    settings = {
        "recordings": "simulated" if manifest is None else "given",
        "count": len(sample),
        "seconds": round(sample.seconds, 1),
        "true_rates": sorted({file.true_rate for file in sample.files}),
        "effort": asdict(effort),
        "features": to_plain(config.data.features),
        "instance_s": config.data.instance_s,
        "batch_size": config.training.clips_a_batch(len(sample)),
        "workers": config.training.workers,
    }
    return Report(describe_machine(), describe_versions(), settings, tuple(rows))


def _parts(
    sample: Sample, config: Config, effort: Effort, device: str, folder: Path, peer: Peer | None = None
) -> dict[str, Callable[[], Iterator[Row]]]:
    """What is measured, in order, by name. The second part leaves the store that later ones read."""
    data, rounds = config.data, effort.rounds
    staged, read = sample.first(_STAGED), sample.first(_READ)
    store = folder / "builds" / "cpu" / "features.zarr"

    def stages(where: str) -> Iterator[Row]:
        return measure_stages(staged, data.features, data.frames_per_instance, where, rounds)

    def training(where: str) -> Iterator[Row]:
        for model in (SMALL,) if where == "cpu" else (SMALL, FULL):
            yield from measure_training(read, store, config, model, where, folder, effort.epochs)

    parts: dict[str, Callable[[], Iterator[Row]]] = {
        "the front end's stages": lambda: stages("cpu"),
        "whole builds": lambda: measure_builds(sample, data, folder / "builds", rounds),
        "mel engines": lambda: measure_engines(staged, data.features, "cpu", rounds),
        "reading bags": lambda: measure_reading(read, store, folder, rounds, effort.read_seconds),
        "data of an epoch": lambda: measure_epoch_data(read, store, config, rounds, effort.read_seconds),
        "training": lambda: training("cpu"),
        "predict": lambda: measure_predict(read, config, folder / "predict", 1, effort.long_minutes, peer),
        "memory": lambda: measure_memory(
            read, data, "cpu", folder / "memory", effort.few, effort.many, effort.long_minutes
        ),
        "space on disk": lambda: measure_disk(sample, store),
        "start": lambda: measure_start(rounds),
        "planning": lambda: planning_rows(effort.planned, folder) if effort.planned else iter(()),
    }
    if device == "cpu" or not torch.cuda.is_available():
        why = "--device cpu was given" if device == "cpu" else "no CUDA device is usable here"
        return parts | {"GPU": lambda: iter([Row("GPU", "not measured", note=why)])}
    return parts | {
        "the front end's stages on the GPU": lambda: stages("cuda"),
        "whole builds on the GPU": lambda: measure_build_on("cuda", sample, data, folder / "on-gpu", rounds),
        "mel engines on the GPU": lambda: measure_engines(staged, data.features, "cuda", rounds),
        "training on the GPU": lambda: training("cuda"),
    }
