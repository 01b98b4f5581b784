"""Fitting a model: a new run, or one that was stopped."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from batcache.config.settings import Config
from batcache.errors import RunError
from batcache.manifest.manifest import Manifest
from batcache.model.checkpoint import load_checkpoint
from batcache.model.crnn import BatMILModel
from batcache.store.format.last_build import portable
from batcache.store.reader import Store
from batcache.training.bags import join
from batcache.training.events import Event
from batcache.training.inputs import Split, choose_split, describe_inputs
from batcache.training.loss import class_weights
from batcache.training.runs import LAST, read_run, read_run_config, start_run
from batcache.training.splits import clip_key, read_splits, write_splits
from batcache.training.trainer import Trainer


def train(config: Config, store: Store, manifest: Manifest, runs: Path, device: torch.device) -> Iterator[Event]:
    """Train a model in a new folder of ``runs``; yields what happens, the report last.

    Raises:
        ManifestError, ConfigError, StoreError: see ``join``, ``choose_split`` and ``BatMILModel``.
        RunError: the loss is not finite.
    """
    joined = join(manifest, store)
    split = choose_split(joined, manifest, config.training.validation_share, config.training.seed)
    torch.manual_seed(config.training.seed)
    model = BatMILModel(config.model, store.features.n_mels, len(manifest.species))
    class_weights(config, split.train, manifest.species)  # a wrong setting stops here, before there is a run
    about = {
        "cache": portable(store.path, runs / "run"),
        "csvs": [portable(csv, runs / "run") for csv in manifest.csvs],
        "split_of": {portable(csv, runs / "run"): split for csv, split in manifest.split_of.items()},
        "data_dir": portable(manifest.data_dir, runs / "run"),
        "species": list(manifest.species),
        "inputs": describe_inputs(config, split, manifest.species),
        "versions": store.attributes["versions"] | {"torch": torch.__version__},
        "device": str(device),
    }
    run = start_run(runs, config, about)
    write_splits(run / "split.csv", (*split.train, *split.val, *split.others))
    yield from Trainer(config, store, manifest.species, split, run, model, device).fit()


def resume(run: Path, store: Store, manifest: Manifest, device: torch.device) -> Iterator[Event]:
    """Continue a run after its last finished epoch, on the split it began with.

    Raises:
        RunError: the run has no finished epoch, or its clips are no longer those it began with.
    """
    if not (run / LAST).exists():
        raise RunError(run, "stopped before its first epoch was over", "Delete it and train anew")
    config, last = read_run_config(run), load_checkpoint(run / LAST)
    splits = read_splits(run / "split.csv")
    found = {clip_key(bag): bag for bag in join(manifest, store).bags}
    bags = [  # in the order of split.csv: that of the CSV's rows may have changed
        replace(found[key], clip=replace(found[key].clip, split=row.split))
        for key, row in splits.items()
        if key in found and found[key].row.content == row.content
    ]
    chosen = Split(
        tuple(bag for bag in bags if bag.clip.split == "train"),
        tuple(bag for bag in bags if bag.clip.split == "val"),
        (),
    )
    if describe_inputs(config, chosen, manifest.species) != read_run(run)["inputs"]:
        raise RunError(run, "its clips, labels or cache have changed since it began", "Start a new run")
    model = last.restore(device)
    yield from Trainer(config, store, manifest.species, chosen, run, model, device, last).fit()
