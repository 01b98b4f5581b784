"""A whole experiment: simulate if asked for, build, train, judge, draw; only what is not up to date.

``batcache run`` in one call. Each step is the library call that its own command makes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from batcache.device import pick_device
from batcache.errors import ConfigError
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.storage.listing import is_there

if TYPE_CHECKING:  # a build with nothing to do imports no torch
    from collections.abc import Sequence

    import torch

    from batcache.config.load import Layer
    from batcache.config.settings import Config
    from batcache.evaluation.evaluate import EvalReport
    from batcache.inference.predict import PredictReport
    from batcache.manifest.manifest import Manifest
    from batcache.store.build.report import BuildReport
    from batcache.store.reader import Store

PAGE = "test_page.png"
PREDICTIONS = "predictions"
TRUNK = "trunk.pt"


@dataclass(frozen=True)
class UpToDate:
    """A step that had nothing to do, since ``place`` holds what it would make."""

    step: Literal["train", "eval"]
    place: Path


@dataclass(frozen=True)
class PipelineReport:
    """What a pipeline made, or found made.

    ``evaluation`` is None where it was up to date, ``prediction`` where there are no new recordings to judge.
    """

    settings: "Config"
    build: "BuildReport"
    run: Path
    evaluation: "EvalReport | None"
    page: Path
    prediction: "PredictReport | None" = None


@dataclass(frozen=True)
class PretrainReport:
    """What a pipeline that teaches a trunk made: the run, and ``trunk``, for ``--init``."""

    run: Path
    trunk: Path


def run_pipeline(
    file: Path,
    csvs: "Sequence[Path]" = (),
    flags: "Layer | None" = None,
    device: str = "auto",
    *,
    allow_outside: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> PipelineReport | PretrainReport:
    """Run the experiment that a YAML file describes.

    Args:
        file: settings; ``flags`` win over them.
        csvs: the manifest, where the file names none.
        device: ``auto``, ``cpu`` or ``cuda``.
        allow_outside: let the manifest's filenames lead out of the data dir.
        on_progress: hears what each step tells; the report of each step is a result.

    Raises:
        BatcacheError: what the steps raise. Clips to judge on, which no model before has learnt from, are looked for
            before anything is trained.
    """
    from batcache.store.build.build import build
    from batcache.store.settings import choose_manifest, load_settings, load_with_store

    flags = flags or {}
    settings = load_settings(file, flags)
    if settings.predict.recordings is None and settings.predict.clips is not None:
        raise ConfigError("predict.recordings", "not given", "Say where the simulated recordings go")
    if settings.synth.instance_labels and (settings.model.starts_from_trunk or settings.synth.clips is None):
        raise ConfigError("synth.instance_labels", "teaches a trunk", "Write synth.clips and model.init: none")
    if settings.synth.manifest is not None or settings.synth.clips is not None:
        _simulate(settings, on_progress)
    listed = choose_manifest(csvs, settings, allow_outside=allow_outside)
    if settings.model.starts_from_trunk:
        from batcache.model.start import start_model
        from batcache.training.inputs import read_given_guide

        start_model(settings.model, settings.data.features, listed.species)  # before hours of building for nothing
        read_given_guide(settings)
    built = build(listed, settings.data.place, settings.data, device, on_progress=on_progress)
    on_progress(Progress("build", result=built))

    from batcache.training.clips.bags import join
    from batcache.training.clips.splits import require_split
    from batcache.training.lineage import start_unheard

    settings, store = load_with_store(file, flags)
    manifest = choose_manifest(csvs, settings, store, allow_outside=True)
    if settings.synth.instance_labels:
        return _keep_trunk(train_if_needed(settings, store, manifest, pick_device(device), on_progress), settings)
    judging = join(manifest, store).split("test")
    require_split(judging, manifest, "test")  # before hours of training for nothing
    start_unheard(settings.model, store.features, manifest.species, judging)
    run = train_if_needed(settings, store, manifest, pick_device(device), on_progress)
    evaluation = _evaluate_if_needed(run, store, manifest, pick_device(device), on_progress)
    prediction = _predict(settings, run, pick_device(device), on_progress)
    return PipelineReport(settings, built, run, evaluation, run / PAGE, prediction)


def _simulate(settings: "Config", on_progress: OnProgress) -> None:
    from batcache.manifest.manifest import read_manifest
    from batcache.synth.create import create, write_plan
    from batcache.synth.instances import write_instances

    synth, data = settings.synth, settings.data
    if synth.out is None:
        raise ConfigError("synth.out", "not given", "Say where the simulated recordings go")
    if synth.clips is not None and synth.manifest is not None:
        raise ConfigError("synth.clips", "given beside synth.manifest", "Keep one of them")
    listed = synth.manifest
    if synth.clips is not None:
        listed = write_plan(synth.out, synth.clips, (), synth.seed, force=False, virtual=synth.virtual_species)
    assert listed is not None
    manifest = read_manifest([listed])
    report = create(manifest, synth.out, rates_hz=synth.rates, on_progress=on_progress)
    if synth.instance_labels:
        write_instances(manifest, synth.out, data.instance_s, data.fmax)
    on_progress(Progress("synth", result=report))


def _keep_trunk(run: Path, settings: "Config") -> PretrainReport:
    """Write the trunk of a run's best model beside it."""
    from batcache.model.checkpoint import load_checkpoint
    from batcache.model.pretrained import save_pretrained
    from batcache.model.start import extract_trunk
    from batcache.training.runs import BEST

    synth = settings.synth
    made = f"{synth.clips} simulated clips, {synth.virtual_species} virtual species, seed {synth.seed}"
    if synth.rates:
        made += f", recorders of {', '.join(f'{rate / 1000:g}' for rate in synth.rates)} kHz"
    save_pretrained(run / TRUNK, extract_trunk(load_checkpoint(run / BEST), made))
    return PretrainReport(run, run / TRUNK)


def train_if_needed(
    settings: "Config",
    store: "Store",
    manifest: "Manifest",
    device: "torch.device",
    on_progress: OnProgress = ignore_progress,
) -> Path:
    """The run that these inputs have made, finished first if it was stopped; else a new one."""
    from batcache.training.inputs import find_run
    from batcache.training.loop import resume, train
    from batcache.training.run_inputs import list_passed_over
    from batcache.training.runs import read_run

    found = find_run(settings, store, manifest)
    if found is not None and read_run(found)["finished"]:
        on_progress(Progress("train", result=UpToDate("train", found)))
        return found
    if found is None:
        on_progress(Progress("train", result=list_passed_over(settings.training.run_dir)))
        report = train(settings, store, manifest, device, on_progress=on_progress)
    else:
        report = resume(found, store, manifest, device, on_progress=on_progress)
    on_progress(Progress("train", result=report))
    return report.run


def _evaluate_if_needed(
    run: Path, store: "Store", manifest: "Manifest", device: "torch.device", on_progress: OnProgress
) -> "EvalReport | None":
    """Judge a run's best model on split test and draw a page of it, unless both were done."""
    from batcache.evaluation.evaluate import choose_clips, evaluate
    from batcache.evaluation.pictures.pages import draw_run
    from batcache.training.runs import BEST

    judging = choose_clips(run / BEST, store, manifest, "test", as_trained=True)
    if judging.is_done() and is_there(run / PAGE):
        on_progress(Progress("eval", result=UpToDate("eval", run / "metrics.json")))
        return None
    on_progress(Progress("eval", result=judging))
    report = evaluate(judging, device, on_progress=on_progress)
    on_progress(Progress("eval", result=report))
    draw_run(run, store.path, run / PAGE)
    return report


def _predict(settings: "Config", run: Path, device: "torch.device", on_progress: OnProgress) -> "PredictReport | None":
    """Judge new recordings by a run's best model, those of them that it has not judged before."""
    from batcache.inference.model_file import open_model
    from batcache.inference.predict import predict
    from batcache.manifest.find_recordings import find_recordings
    from batcache.manifest.manifest import read_manifest
    from batcache.synth.create import create, write_plan

    place, clips = settings.predict.recordings, settings.predict.clips
    if place is None:
        return None
    if clips is not None:
        manifest = read_manifest([write_plan(place, clips, (), settings.predict.seed, force=False)])
        on_progress(Progress("synth", result=create(manifest, place, on_progress=on_progress)))
    report = predict(find_recordings([place]), open_model(run), run / PREDICTIONS, device, on_progress=on_progress)
    on_progress(Progress("predict", result=report))
    return report
