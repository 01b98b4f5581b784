"""Fitting a model: a new run, or one that was stopped.

Of several ranks the first makes the run and holds it; all call ``train`` or ``resume``, with the same inputs.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from batcache.config.settings import Config
from batcache.errors import ManifestError, RunError, misfits
from batcache.inference.groups import find_groups
from batcache.manifest.label_counts import count_labels
from batcache.manifest.manifest import Manifest
from batcache.model.checkpoint import Checkpoint, load_checkpoint
from batcache.model.start import Start, start_model
from batcache.progress import OnProgress, ignore_progress
from batcache.storage.listing import is_there
from batcache.store.format.last_build import portable
from batcache.store.reader import Store
from batcache.synth.guide import recall_guide
from batcache.training import ranks
from batcache.training.best import Best
from batcache.training.clips.bags import Bag, join
from batcache.training.clips.embeddings import Embeddings
from batcache.training.clips.known_species import SimulatedClip, plan_clips, recall_clips
from batcache.training.clips.simulated import list_rates
from batcache.training.clips.splits import SPLITS, clip_key, describe_splits, read_splits
from batcache.training.events import TrainReport
from batcache.training.inputs import Split, choose_split, describe_clips, describe_inputs
from batcache.training.lineage import EARLIER, Heard, describe_earlier, find_heard, list_heard_notes
from batcache.training.loss import class_weights
from batcache.training.runs import (
    LAST,
    held_alone,
    read_run,
    read_run_config,
    removed_before_an_epoch,
    start_run,
    write_run,
    write_run_config,
)
from batcache.training.trainer import Trainer


def train(
    config: Config,
    store: Store,
    manifest: Manifest,
    device: torch.device,
    *,
    embeddings: Embeddings | None = None,
    on_progress: OnProgress = ignore_progress,
) -> TrainReport:
    """Train a model in a new folder of ``training.run_dir``.

    Args:
        config: how to cut, model, augment and fit.
        store: the features of the manifest's recordings; no recording is opened.
        manifest: labels and splits. Without validation clips, some groups of the training clips are drawn.
        device: where to compute.
        embeddings: of a frozen trunk, where other trainings share them.
        on_progress: is told the ``RunStarted``, then of each epoch its batches, its validation clips and last the
            ``Epoch``, and once the ``TimeLeft``. What it raises stops the training, which ``resume`` goes on with;
            before the first ``Epoch`` nothing is kept.

    Raises:
        ManifestError: see ``choose_taught_split``.
        ConfigError, StoreError: see ``start_model``.
        RunError: the loss is not finite.
    """
    runs, split = config.training.run_dir, choose_taught_split(config, store, manifest)
    torch.manual_seed(config.training.seed)
    hears_bats = config.model.trains_heads_alone and config.training.simulated_sounds > 0
    start = start_model(config.model, store.features, manifest.species, hears_bats=hears_bats)
    heard = Heard()
    if start.transfer is not None:
        heard = find_heard(config.model.init, start.transfer)
        notes = list_heard_notes(config.model.init, heard, (*split.val, *split.others))
        split = replace(split, notes=(*split.notes, *notes))
    if config.model.trains_heads_alone:
        split = replace(split, simulated=_plan_simulated(config, store, split, manifest.species, start))
    class_weights(config, split.labels, manifest.species)  # a wrong setting stops here, before there is a run
    find_groups(manifest.species, [True] * len(manifest.species), config.model.species_groups)  # so does this one
    clips = describe_clips(config, store, split, manifest.species)
    about = {
        "cache": portable(store.path, runs / "run"),
        "csvs": [portable(csv, runs / "run") for csv in manifest.csvs],
        "split_of": {portable(csv, runs / "run"): split for csv, split in manifest.split_of.items()},
        "data_dir": portable(manifest.data_dir, runs / "run"),
        "species": list(manifest.species),
        "inputs": describe_inputs(config, store, split, manifest.species, start.digest, clips=clips),
        "clips": clips,
        "simulated": [clip.text for clip in split.simulated],
        "guide": [",".join(call.cells) for call in split.guide],
        "versions": store.attributes["versions"] | {"torch": torch.__version__},
        "device": str(device),
    }
    if start.digest is not None:
        about["trunk"] = start.digest
    files = {SPLITS: describe_splits((*split.train, *split.val, *split.others))}
    if isinstance(config.model.init, Path):
        files[EARLIER] = describe_earlier(heard)
    run = ranks.from_first(lambda: start_run(runs, config, about, files))
    is_first = ranks.is_first()
    with removed_before_an_epoch(run) if is_first else nullcontext(), held_alone(run) if is_first else nullcontext():
        begun = config, store, manifest.species, split, run, start, device
        return Trainer(*begun, embeddings=embeddings).fit(on_progress)


def _plan_simulated(
    config: Config, store: Store, split: Split, species: Sequence[str], start: Start
) -> tuple[SimulatedClip, ...]:
    counts = count_labels((bag.clip for bag in split.train), species)
    kept = start.transfer.scored if start.transfer else ()
    return plan_clips(counts, config.training.simulated_clips, store.features, list_rates(store), kept, split.guide)


def choose_taught_split(config: Config, store: Store, manifest: Manifest) -> Split:
    """The split of a new run, where its training clips can teach a species.

    Raises:
        ManifestError: no species has both labels among the training clips; also see ``join`` and ``choose_split``.
    """
    split = choose_split(join(manifest, store), manifest, config)
    if not any(row.is_taught for row in count_labels((bag.clip for bag in split.train), manifest.species)):
        finding = "no species has both labels among the training clips"
        csvs = ", ".join(map(str, manifest.csvs))
        raise ManifestError(csvs, finding, "Write 0 where a species was looked for and not found")
    return split


def resume(
    run: Path,
    store: Store,
    manifest: Manifest,
    device: torch.device,
    *,
    epochs: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> TrainReport:
    """Continue a run after its last finished epoch, on the split it began with.

    Args:
        run: its folder.
        store: the features that it began with.
        manifest: the clips and labels that it began with; the rows may have another order.
        device: where to compute.
        epochs: train to so many in all, from now on, also where the run had finished or its patience was spent.
        on_progress: as of ``train``.

    Raises:
        RunError: the run has no finished epoch, has more than ``epochs``, or its clips are no longer those it began
            with, or another process is training it.
    """
    if not is_there(run / LAST):
        raise RunError(run, "stopped before its first epoch was over", "Delete it and train anew")
    with held_alone(run) if ranks.is_first() else nullcontext():
        return _resume(run, store, manifest, device, epochs, on_progress)


def _resume(
    run: Path, store: Store, manifest: Manifest, device: torch.device, epochs: int | None, on_progress: OnProgress
) -> TrainReport:
    about, config, last = read_run(run), read_run_config(run), load_checkpoint(run / LAST)
    split, complete = _split_as_begun(run, manifest, store)
    with misfits(RunError, run / "run.json", "Restore it from a copy, or train again"):
        guide = recall_guide(about["guide"])
        simulated = recall_clips(about["simulated"], manifest.species, guide)
        split = replace(split, simulated=simulated, guide=guide)
    clips = describe_clips(config, store, split, manifest.species)
    # Runs of earlier versions tell no digest of their clips, but split.csv tells every content.
    same = clips == about["clips"] if "clips" in about else complete and list(manifest.species) == about["species"]
    if not same or last.features != store.features:
        raise RunError(run, "its clips, labels or cache have changed since it began", "Start a new run")
    ranks.wait()  # all have read the run: it may be written to
    if epochs is not None:
        config = _extend(run, config, last, epochs)
        inputs = describe_inputs(config, store, split, manifest.species, about.get("trunk"), clips=clips)
        if ranks.is_first():
            write_run_config(run, config)
        about |= {"inputs": inputs, "clips": clips, "finished": False}
        with misfits(RunError, run / LAST, "Restore it from a copy, or train again"):
            is_spent = Best.from_plain(dict(last.trainer)).is_spent(config.training.patience, last.epoch)
        if is_spent:
            about |= {"patience_from": last.epoch}  # kept at once: the run may be stopped again before an epoch is over
        if ranks.is_first():
            write_run(run, about)
    start = Start(last.restore(device), last.trunk)
    begun = config, store, manifest.species, split, run, start, device, last
    return Trainer(*begun, patience_from=about["patience_from"]).fit(on_progress)


def _split_as_begun(run: Path, manifest: Manifest, store: Store) -> tuple[Split, bool]:
    """The bags of a run as its ``split.csv`` shares them, in its order, and whether none of them is missing."""
    found = {clip_key(bag): bag for bag in join(manifest, store).bags}
    splits = read_splits(run / SPLITS)
    bags = [
        found[key].with_split(row.split or None)
        for key, row in splits.items()
        if key in found and found[key].row.content == row.content
    ]

    def of(*names: str) -> tuple[Bag, ...]:
        return tuple(bag for bag in bags if bag.clip.split in names)

    others = tuple(bag for bag in bags if bag.clip.split not in ("train", "val"))
    used = sum(row.split in ("train", "val") for row in splits.values())
    return Split(of("train"), of("val"), others), len(of("train", "val")) == used


def _extend(run: Path, config: Config, last: Checkpoint, epochs: int) -> Config:
    """The settings of a run that is to have ``epochs`` in all."""
    if epochs < last.epoch:
        raise RunError(run, f"has {last.epoch} epochs already, asked for {epochs}", "Pass a larger --epochs")
    if config.training.scheduler == "one_cycle" and epochs != config.training.epochs:
        finding = f"its learning rate was planned for {config.training.epochs} epochs (training.scheduler one_cycle)"
        raise RunError(run, finding, f"Train anew with --epochs {epochs}")
    return replace(config, training=replace(config.training, epochs=epochs))
