"""Epochs of batches, validation after each, the best and the last state kept on disk.

All that is drawn at random in an epoch is drawn from generators seeded by (seed, epoch), so a run resumed after any
epoch goes on exactly as if it had never stopped, and ``last.pt`` need not carry random states.

Several ranks embed their shares of each batch; from there on each does the same as all others, with the whole batch.
So their number changes nothing but rounding. The first of them alone writes.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from batcache.config.settings import Config, to_plain
from batcache.device import limit_threads
from batcache.errors import RunError, misfits
from batcache.manifest.label_counts import count_labels
from batcache.model.checkpoint import Checkpoint, save_checkpoint
from batcache.model.crnn import BatMILModel, select_real
from batcache.model.heads import MILHeads
from batcache.model.pretrained import PretrainedMILModel
from batcache.model.provenance import HeldOut
from batcache.model.start import Start
from batcache.progress import OnProgress, Progress
from batcache.store.reader import Store
from batcache.training import ranks
from batcache.training.batch_norm import share_statistics
from batcache.training.beside import choose_shown, describe_shown, teach_beside
from batcache.training.best import Best
from batcache.training.clips.augment import augment
from batcache.training.clips.bags import instances_of
from batcache.training.clips.embeddings import Embeddings
from batcache.training.clips.known_species import embed_clips
from batcache.training.clips.loader import BagsInMemory, BatchReader, open_frames, plan_epoch
from batcache.training.clips.shares import Share, SharedBatches
from batcache.training.events import Epoch, RunStarted, TimeLeft, TrainReport, seconds_left
from batcache.training.held_out import hold_out, score_held_out
from batcache.training.inputs import Split
from batcache.training.loss import class_weights, masked_loss
from batcache.training.notes import list_notes, list_simulated
from batcache.training.optimiser import Optimiser
from batcache.training.ranking import macro_average_precision
from batcache.training.runs import BEST, LAST, read_run, write_run
from batcache.training.tracking import MetricsLog, NoTracker, Tracker, open_tracker

KEEP_EVERY = 10  # epochs
_WARM_S = 5.0  # seconds of batches from which the time left is told


class Trainer:
    """The state of one training, and its epochs.

    Args:
        config: of the run.
        store: where the bags are read from.
        species: the columns of the labels.
        split: the bags to train and to validate on.
        run: the folder to write to.
        start: the model, fresh or as it was after the last epoch, and what it has from elsewhere.
        device: where to compute.
        last: what ``last.pt`` holds of a run that is resumed. RunError where that does not fit the model.
        patience_from: the epoch from which patience counts at the earliest: where a run that had stopped was told to
            go on.
        embeddings: of a frozen trunk, where other trainings share them.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        species: Sequence[str],
        split: Split,
        run: Path,
        start: Start,
        device: torch.device,
        last: Checkpoint | None = None,
        *,
        patience_from: int = 0,
        embeddings: Embeddings | None = None,
    ) -> None:
        settings, self.embeddings = config.training, embeddings or Embeddings()
        self.config, self.store, self.species, self.split, self.run = config, store, tuple(species), split, run
        self.device, self.model, self.start = device, start.model.to(device), start
        model, transfer = self.model, start.transfer
        self.heads_alone = config.model.trains_heads_alone
        self.network = model.heads if self.heads_alone and isinstance(model, PretrainedMILModel) else model
        if ranks.count() > 1 and isinstance(model, BatMILModel):  # a trunk keeps its statistics
            share_statistics(model)
        self.standardises = last is None and not (transfer and transfer.takes_heads)
        self.kept = transfer.scored if transfer else (last.taught or ()) if last else ()
        self.frames_per_instance = config.data.frames_per_instance
        bags = (*split.train, *split.val, *split.others)
        self.counts = count_labels((bag.clip for bag in bags), self.species)
        self.labels = [*split.labels, *(clip.labels for clip in split.simulated)]  # of all that is learnt from
        self.batch_size = settings.clips_a_batch(len(self.labels))
        self.optimiser = Optimiser(self.network, settings, device, ceil(len(self.labels) / self.batch_size))
        self.weights = class_weights(config, self.labels, species).to(device)
        self.untaught = torch.tensor([not row.is_taught for row in self.counts])
        self.taught = tuple(row.species for row in self.counts if row.is_taught or row.species in self.kept)
        self.held_out: HeldOut | None = None  # what the last epoch says of the validation clips
        val_labels = torch.tensor([bag.clip.labels for bag in split.val], dtype=torch.int8)
        self.val_labels = self._taught(val_labels.view(len(split.val), len(self.species)))
        self.ranked = int(((self.val_labels == 1).any(0) & (self.val_labels == 0).any(0)).sum())  # species
        self.metric: Literal["val_macro_ap", "val_loss", "train_loss"] = (
            "val_macro_ap" if self.ranked else "val_loss" if split.val else "train_loss"
        )
        self.epoch, self.best, self.waited_s, self.told_time = 0, Best(), 0.0, False
        if last is not None:
            with misfits(RunError, run / LAST, "Restore it from a copy, or train again"):
                self.optimiser.restore(dict(last.trainer))
                self.epoch, self.best = last.epoch, Best.from_plain(dict(last.trainer))
            self.best.patience_from = max(self.best.patience_from, patience_from)

    def _taught(self, labels: Tensor) -> Tensor:
        """Labels with those of species that are not taught made unknown. Shape: ``[B, C]`` -> the same."""
        return labels.masked_fill(self.untaught.to(labels.device), -1)

    @cached_property
    def labels_of_new(self) -> Tensor:
        """Labels of all that is learnt from, of the species that no earlier model has taught. Shape: ``[B + L, C]``"""
        kept = torch.tensor([name in self.start.kept for name in self.species])
        return self._taught(torch.tensor(self.labels, dtype=torch.int8)).masked_fill(kept, -1)

    @cached_property
    def shown(self) -> list[int]:
        """Places of the training bags by which a kernel is taught."""
        train, val = self.split.train, self.split.val
        return choose_shown(train, val, self.labels_of_new[: len(train)], self.config)

    def fit(self, on_progress: OnProgress) -> TrainReport:
        """Train to the end. What ``on_progress`` raises ends it; the run then goes on after its last finished epoch."""
        config, settings = self.config, self.config.training
        tracker = open_tracker(config.wandb, self.run, to_plain(config)) if ranks.is_first() else NoTracker()
        try:
            started = self._started(tracker)
            on_progress(Progress("train", self.epoch, settings.epochs, started))
            log = MetricsLog(self.run / "logs" / "metrics.jsonl", keep_epochs=self.epoch) if ranks.is_first() else None
            source = SharedBatches(self._open_source(on_progress))
            ranks.take_weights_of_first(self.network)
            # Heads are so small that threads would only wait for each other, for minutes where the machine is busy.
            with limit_threads(1) if self.heads_alone else nullcontext():
                while self.epoch < settings.epochs and not self.best.is_spent(settings.patience, self.epoch):
                    outcome = self._run_epoch(source, on_progress)
                    if log is not None:
                        log.append(asdict(outcome))  # first: what last.pt does not count is dropped on resuming
                        self._keep(outcome)
                    tracker.log(asdict(outcome))
                    on_progress(Progress("train", self.epoch, settings.epochs, outcome))
        finally:
            tracker.finish()
        if ranks.is_first():
            write_run(self.run, read_run(self.run) | {"finished": True})
        notes = tuple(note for note in tracker.notes if note not in started.notes)
        score, stopped_early = self.best.ap if self.ranked else self.best.loss, self.epoch < settings.epochs
        epochs = self.epoch, self.best.epoch
        return TrainReport(self.run, *epochs, self.metric, score, stopped_early, notes, self.heads_alone, self.ranked)

    def _open_source(self, on_progress: OnProgress) -> BatchReader | BagsInMemory:
        """Training bags, ready to be drawn from; the validation bags too are ready then.

        In memory lie embeddings of a frozen trunk; else batches are read from the store.
        """
        bags, frames, config = self.split.train, self.frames_per_instance, self.config
        # Heads draw dropout for padded instances too: what is padded would decide what is drawn for the others.
        bag_size = 1 if config.model.starts_from_trunk else config.data.bag_size
        if isinstance(self.model, PretrainedMILModel) and self.standardises:
            self.embeddings.adapt(self.model.trunk, self.store, bags, frames, config.model.adapt, self.device)
        if self.heads_alone:
            learnt, most = self._embed(on_progress), config.training.max_instances
            labels, counts = torch.tensor(self.labels, dtype=torch.int8), [len(one) for one in learnt]
            return BagsInMemory(labels, counts, learnt, most, bag_size, self.device)
        if isinstance(self.model, PretrainedMILModel) and self.standardises:
            embedded = self.embeddings.embed(self.model.trunk, self.store, bags, frames, self.device, on_progress)
            self.model.heads.standardise_by(torch.cat(embedded.embeddings))
        self.val_instances = [instances_of(self.store, bag, frames) for bag in self.split.val]
        return open_frames(self.store, bags, config, self.device, bag_size)

    def _embed(self, on_progress: OnProgress) -> tuple[Tensor, ...]:
        """Embed all bags and return what heads hear of those to train on; new heads are told what they are like.

        Shape: ``[N, 1, feature_dim]`` each, the simulated ones last
        """
        assert isinstance(self.model, PretrainedMILModel)
        train, val, frames, trunk = self.split.train, self.split.val, self.frames_per_instance, self.model.trunk
        about = frames, self.device, on_progress
        shown = [] if self.epoch else self.shown  # what was taught beside heads is there already
        steps = self.embeddings.embed(trunk, self.store, [train[i] for i in shown], *about, by_steps=True).steps
        learnt = self.embeddings.embed(trunk, self.store, train, *about)
        simulated = embed_clips(self.split.simulated, trunk, self.store.features, *about)
        if self.standardises:
            self.model.heads.standardise_by(torch.cat(learnt.embeddings))
        if not self.epoch:
            known = shown, (*steps, *simulated), self.labels_of_new, self.config, self.species
            teach_beside(self.model, self.store, learnt, *known, on_progress)
        hears_steps = self.model.heads.kernel is not None
        self.val_instances = self.embeddings.embed(trunk, self.store, val, *about, by_steps=hears_steps).instances()
        return (*learnt.steps, *(steps.amax(1, keepdim=True) for steps in simulated))

    def _run_epoch(self, source: SharedBatches, on_progress: OnProgress) -> Epoch:
        settings, began = self.config.training, time.perf_counter()
        draws = plan_epoch(source.counts, settings.max_instances, self.batch_size, settings.seed, self.epoch)
        stage, losses = f"epoch {self.epoch + 1}", list[float]()
        with closing(source.batches(draws, settings.workers)) as batches:
            for done, loss in enumerate(self._train_epoch(batches), 1):
                losses.append(loss)
                on_progress(Progress(stage, done, len(draws), self._time_left(done, len(draws), began)))
        self.waited_s = source.waited_s
        return self._validate(float(np.mean(losses)), time.perf_counter() - began, began, on_progress)

    def _time_left(self, done: int, batches: int, began: float) -> TimeLeft | None:
        """The time to the end of all epochs, once, when this epoch's batches tell enough."""
        took = time.perf_counter() - began
        if self.told_time or (done < batches and (done < 3 or took < _WARM_S)):
            return None
        self.told_time = True
        settings = self.config.training
        epochs, val_per_train = settings.epochs - self.epoch, len(self.split.val) / len(self.labels)
        may_stop = not self.heads_alone and self.best.may_be_spent(settings.patience, settings.epochs)
        return TimeLeft(seconds_left(took, done / batches, epochs, val_per_train), epochs, may_stop)

    def _train_epoch(self, batches: Iterator[Share]) -> Iterator[float]:
        """Yield the loss of each step, one step late: asking for it at once would leave a GPU idle."""
        seed = int(np.random.SeedSequence([self.config.training.seed, self.epoch]).generate_state(1)[0])
        torch.manual_seed(seed)  # dropout
        generator = torch.Generator(self.device).manual_seed(seed)  # augmentation
        self.network.train()
        previous = None
        for share in batches:
            loss = self._step(share, generator)
            if previous is not None:
                yield self._checked(previous)
            previous = loss
        assert previous is not None, "an epoch has a batch"
        yield self._checked(previous)

    def _checked(self, loss: Tensor) -> float:
        value = float(loss)
        if not np.isfinite(value):
            raise RunError(self.run, f"the loss of epoch {self.epoch + 1} is {value}", "Lower training.learning_rate")
        return value

    def _step(self, share: Share, generator: torch.Generator) -> Tensor:
        features = share.own.features.to(self.device, non_blocking=True).float()
        labels = self._taught(share.labels).to(self.device, non_blocking=True)
        if isinstance(self.network, MILHeads):
            outputs = self.network.each(features, share.mask)
        else:
            place = share.first, int(share.mask.sum())
            # Real instances alone: else padding would take its part of what is drawn, and decide the others'.
            real = augment(select_real(features, share.own.mask), self.config.augmentation, generator, *place)
            del features  # large, and no longer needed while the network learns
            with self.optimiser.autocast():
                outputs = self.network.each(ranks.join_rows(self.network.embed(real), *place), share.mask)
        losses = [masked_loss(output.bag_logits, labels, self.weights) for output in outputs]
        loss = torch.stack(losses).sum()  # each head has a loss of its own
        self.optimiser.step(loss)
        return loss.detach() / len(losses)

    def _validate(self, train_loss: float, seconds: float, began: float, on_progress: OnProgress) -> Epoch:
        val, stage, most = self.split.val, f"epoch {self.epoch + 1}, validating", self.config.training.max_instances
        size = len(self.species), self.batch_size, most
        logits = score_held_out(self.network, self.val_instances, *size, stage, on_progress)
        loss, ap = None, None
        if val:
            self.held_out = hold_out(val, logits, self.species, self.taught)
            loss = float(masked_loss(logits, self.val_labels, self.weights.cpu()))
            ap = macro_average_precision(logits.sigmoid().numpy(), self.val_labels.numpy())
        train_loss, loss, ap = ranks.from_first(lambda: (train_loss, loss, ap))
        learnt = self.optimiser.learning_rate, self.optimiser.learning_rates, self.optimiser.take_gradient_norm()
        self.epoch += 1
        shown = train_loss if loss is None else loss
        improved = None if self.heads_alone else self.best.update(self.epoch, ap, shown)
        if improved is None:
            self.best.take(self.epoch, ap, shown)
        self.optimiser.end_epoch(self.best.epoch)
        speed, took = len(self.labels) / seconds, time.perf_counter() - began
        return Epoch(self.epoch, train_loss, loss, ap, *learnt, speed, self.waited_s, took, improved)

    def _keep(self, outcome: Epoch) -> None:
        """Write the best and the tenth epochs' models, and last of all the state to resume from."""
        checkpoint = Checkpoint(
            model=self.config.model,
            species=self.species,
            features=self.store.features,
            fingerprint=self.store.fingerprint,
            frames_per_instance=self.frames_per_instance,
            epoch=self.epoch,
            metric=self.metric,
            score=next(v for v in (outcome.val_macro_ap, outcome.val_loss, outcome.train_loss) if v is not None),
            weights=self.model.state_dict(),
            trunk=self.start.trunk,
            taught=self.taught,
            trained_on=self.split.trained_on,
            held_out=self.held_out,
        )
        if outcome.improved is not False:
            save_checkpoint(self.run / BEST, checkpoint)
        if self.epoch % KEEP_EVERY == 0:
            save_checkpoint(self.run / "checkpoints" / f"epoch_{self.epoch:03d}.pt", checkpoint)
        save_checkpoint(self.run / LAST, replace(checkpoint, trainer=self.optimiser.to_plain() | self.best.to_plain()))

    def _started(self, tracker: Tracker) -> RunStarted:
        told = self.config, self.store, self.split, self.counts
        notes = [*list_notes(*told, self.start.transfer, self.kept), *tracker.notes]
        if self.heads_alone:
            least = self.config.training.simulated_clips
            notes += list_simulated(self.split, self.counts, self.kept, least, self.store.features)
            notes += [] if self.epoch else describe_shown(self.shown, self.split.train, self.split.val, self.config)
        if not self.ranked and self.split.val and not self.heads_alone:
            notes.append("no species has both labels in split val: the best epoch is the one of least validation loss")
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        of = len(self.split.train), len(self.split.val), parameters, self.epoch + 1, self.config.training.epochs
        return RunStarted(self.run, *of, self.counts, tuple(notes))
