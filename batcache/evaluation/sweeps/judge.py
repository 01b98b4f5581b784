"""One combination of settings after the other, judged in the same folds of the same clips."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from batcache.config.features import digest
from batcache.config.settings import Config, to_plain
from batcache.errors import count
from batcache.evaluation.calls import list_calls
from batcache.evaluation.evaluate import EVALUATION_VERSION
from batcache.evaluation.folds import Folds, judge_folds, require_taught
from batcache.evaluation.outcomes import FOLDS
from batcache.evaluation.sweeps.folder import FORMAT_VERSION, outcome_place, read_outcome
from batcache.evaluation.sweeps.grid import Combination
from batcache.evaluation.sweeps.standings import Outcome
from batcache.manifest.label_counts import count_labels
from batcache.model.start import Start
from batcache.progress import OnProgress, Progress
from batcache.storage.disk import write_file
from batcache.storage.listing import is_there
from batcache.storage.sealed import seal_json
from batcache.store.reader import Store
from batcache.training.clips.embeddings import Embeddings
from batcache.training.clips.splits import clip_key
from batcache.training.inputs import Split, describe_inputs, read_given_guide, split_settings
from batcache.training.lineage import find_heard, list_heard_notes, start_unheard
from batcache.training.loss import class_weights
from batcache.training.notes import list_notes


def plan(configs: Sequence[Config], store: Store, folds: Folds) -> tuple[list[str], tuple[str, ...]]:
    """The digest of each combination, and what is to be noted of any; what cannot be trained is refused here.

    Raises:
        ConfigError, RunError: a setting or a trunk that cannot be used.
        ManifestError: see ``require_taught``.
    """
    for config in {split_settings(config): config for config in configs}.values():
        require_taught(config, store, folds)
    species = folds.manifest.species
    bags = tuple(bag.with_split("train") for bag in folds.bags)
    counts, whole = count_labels((bag.clip for bag in bags), species), Split(bags, (), (), folds.notes)
    inputs: list[str] = []
    notes: list[str] = []
    for config in configs:
        start = start_unheard(config.model, store.features, species, folds.bags)
        transfer, init = start.transfer, config.model.init
        class_weights(config, whole.labels, species)
        inputs.append(_describe(config, store, folds, start))
        told = replace(whole, guide=read_given_guide(config))
        notes += list_notes(config, store, told, counts, transfer, transfer.scored if transfer else ())
        if transfer is not None:
            notes += list_heard_notes(init, find_heard(init, transfer), ())
        if config.model.trains_heads_alone and (least := config.training.simulated_clips):
            notes.append(
                f"where fewer than {count(least, 'clip')} teach a fold's model a species that the simulator knows, "
                "simulated ones teach too (training.simulated_clips)"
            )
        if config.wandb.enabled:
            notes.append("nothing of a sweep goes to wandb")
    return inputs, tuple(dict.fromkeys(notes))


def _describe(config: Config, store: Store, folds: Folds, start: Start) -> str:
    """Digest of all that decides a combination's outcome."""
    split = Split(folds.bags, (), (), guide=read_given_guide(config))
    learnt = describe_inputs(config, store, split, folds.manifest.species, start.digest)
    groups = sorted([*clip_key(bag), bag.clip.group or ""] for bag in folds.bags)
    return digest([EVALUATION_VERSION, learnt, config.data.clips_per_species, groups, list_calls(folds.calls)])


class Judge:
    """Judges ``total`` combinations, of which those that lie in the sweep's folder are taken from there.

    ``on_progress`` hears of each fold, and of each ``Outcome``.
    """

    def __init__(
        self, store: Store, folds: Folds, device: torch.device, out: Path, total: int, on_progress: OnProgress
    ) -> None:
        self._store, self._folds, self._device, self._out = store, folds, device, out
        self._total, self._done, self._on_progress = total, 0, on_progress
        self._embeddings = Embeddings()

    def __call__(self, combination: Combination, inputs: str) -> Outcome:
        """What a combination comes to. ``inputs`` is its digest, as ``plan`` gives it."""
        place = outcome_place(self._out, inputs)
        self._done += 1
        if not is_there(place):
            self._carry_out(combination.config, inputs)
        outcome = read_outcome(place, combination)
        self._on_progress(Progress("sweep", self._done, self._total, outcome))
        return outcome

    def _carry_out(self, config: Config, inputs: str) -> None:
        """Train and judge one combination in all folds, and write its outcome."""
        runs = self._out / FOLDS
        shutil.rmtree(runs, ignore_errors=True)  # of a sweep that was stopped
        settings = replace(
            config, training=replace(config.training, run_dir=runs), wandb=replace(config.wandb, enabled=False)
        )
        judged = judge_folds(settings, self._store, self._folds, self._device, self._embeddings, on_progress=self._tell)
        self._embeddings.forget_unasked()
        document = {
            "format_version": FORMAT_VERSION,
            "inputs": inputs,
            "cache": self._store.attributes["fingerprint"],
            "settings": to_plain(config),
            "seconds": sum(fold.seconds for fold in judged.folds),
            "metrics": judged.metrics.to_plain(),
            "folds": [asdict(fold) | {"metrics": fold.metrics.to_plain()} for fold in judged.folds],
        }
        content = json.dumps(document, indent=1, ensure_ascii=False, default=str)
        write_file(outcome_place(self._out, inputs), seal_json(content.encode("utf-8", "backslashreplace")))
        shutil.rmtree(runs, ignore_errors=True)

    def _tell(self, progress: Progress) -> None:
        stage = f"combination {self._done} of {self._total}, {progress.stage}"
        self._on_progress(replace(progress, stage=stage))
