"""Epochs of batches, validation after each, the best and the last state kept on disk.

All that is drawn at random in an epoch is drawn from generators seeded by (seed, epoch), so a run resumed after any
epoch goes on exactly as if it had never stopped, and ``last.pt`` need not carry random states.
"""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from batcache.config.settings import Config, to_plain
from batcache.errors import RunError
from batcache.inference.score import score_bags
from batcache.model.checkpoint import Checkpoint, save_checkpoint
from batcache.model.crnn import BatMILModel
from batcache.store.reader import Store
from batcache.training.augment import augment
from batcache.training.bags import instances_of
from batcache.training.events import Epoch, Event, RunStarted, Step, TrainReport
from batcache.training.inputs import Split
from batcache.training.loader import BagsOnGpu, Batch, BatchReader, plan_epoch
from batcache.training.loss import class_weights, masked_loss
from batcache.training.ranking import macro_average_precision
from batcache.training.runs import BEST, LAST, read_run, write_run
from batcache.training.tracking import MetricsLog, Tracker, open_tracker

KEEP_EVERY = 10  # epochs


class Trainer:
    """The state of one training, and its epochs."""

    def __init__(
        self,
        config: Config,
        store: Store,
        species: Sequence[str],
        split: Split,
        run: Path,
        model: BatMILModel,
        device: torch.device,
        last: Checkpoint | None = None,
    ) -> None:
        settings = config.training
        self.config, self.store, self.species, self.split, self.run = config, store, tuple(species), split, run
        self.device, self.model = device, model.to(device)
        self.optimizer = torch.optim.Adam(
            model.parameters(),
            settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=device.type == "cuda",
        )
        self.scheduler = _make_scheduler(config, self.optimizer, ceil(len(split.train) / settings.batch_size))
        self.amp = _amp_dtype(device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.amp is torch.float16)
        self.weights = class_weights(config, split.train, species).to(device)
        self.frames_per_instance = config.data.frames_per_instance
        labels = np.array([bag.clip.labels for bag in split.val], np.int8)
        self.ranked = macro_average_precision(np.zeros(labels.shape), labels) is not None
        self.metric: Literal["val_macro_ap", "val_loss"] = "val_macro_ap" if self.ranked else "val_loss"
        self.epoch, self.best_epoch, self.best_score, self.waited_s = 0, 0, -np.inf, 0.0
        if last is not None:
            self._restore(last)

    def fit(self) -> Iterator[Event]:
        """Run the epochs that are left."""
        config, settings = self.config, self.config.training
        tracker: Tracker = open_tracker(config.wandb, self.run, to_plain(config))
        log = MetricsLog(self.run / "logs" / "metrics.jsonl", keep_epochs=self.epoch)
        source = self._open_source()
        counts = [bag.instances(self.frames_per_instance) for bag in self.split.train]
        try:
            started = self._started(tracker)
            yield started
            while self.epoch < settings.epochs and not self._exhausted():
                began = time.perf_counter()
                draws = plan_epoch(counts, settings.max_instances, settings.batch_size, settings.seed, self.epoch)
                losses: list[float] = []
                for done, loss in enumerate(self._train_epoch(source.batches(draws, settings.workers)), 1):
                    losses.append(loss)
                    yield Step(self.epoch + 1, "train", done, len(draws))
                seconds = time.perf_counter() - began
                outcome = yield from self._validate(float(np.mean(losses)), seconds, began)
                log.append(asdict(outcome))  # first: what last.pt does not count is dropped on resuming
                self._keep(outcome)
                tracker.log(asdict(outcome))
                yield outcome
        finally:
            tracker.finish()
        write_run(self.run, read_run(self.run) | {"finished": True})
        stopped_early = self.epoch < settings.epochs
        score, notes = self._shown_score(), tuple(note for note in tracker.notes if note not in started.notes)
        yield TrainReport(self.run, self.epoch, self.best_epoch, self.metric, score, stopped_early, notes)

    def _open_source(self) -> BatchReader | BagsOnGpu:
        """Training bags in the GPU's memory if asked for and there is room, else read from the store."""
        bags, frames, settings = self.split.train, self.frames_per_instance, self.config.training
        bag_size, on_gpu = self.config.data.bag_size, self.device.type == "cuda"
        if settings.resident == "auto" and on_gpu:
            free, _ = torch.cuda.mem_get_info(self.device)
            if 2 * BagsOnGpu.bytes_needed(self.store, bags, frames) < free:
                return BagsOnGpu(self.store, bags, frames, settings.max_instances, bag_size, self.device)
        return BatchReader(self.store, bags, frames, settings.max_instances, bag_size, pin=on_gpu)

    def _train_epoch(self, batches: Iterator[Batch]) -> Iterator[float]:
        """Yield the loss of each step, one step late: asking for it at once would leave a GPU idle."""
        seed = int(np.random.SeedSequence([self.config.training.seed, self.epoch]).generate_state(1)[0])
        torch.manual_seed(seed)  # dropout
        generator = torch.Generator(self.device).manual_seed(seed)  # augmentation
        self.model.train()
        self.waited_s, previous = 0.0, None
        while (batch := self._wait_for(batches)) is not None:
            loss = self._step(batch, generator)
            if previous is not None:
                yield self._checked(previous)
            previous = loss
        assert previous is not None, "an epoch has a batch"
        yield self._checked(previous)

    def _wait_for(self, batches: Iterator[Batch]) -> Batch | None:
        began = time.perf_counter()
        batch = next(batches, None)
        self.waited_s += time.perf_counter() - began
        return batch

    def _checked(self, loss: Tensor) -> float:
        value = float(loss)
        if not np.isfinite(value):
            raise RunError(self.run, f"the loss of epoch {self.epoch + 1} is {value}", "Lower training.learning_rate")
        return value

    def _step(self, batch: Batch, generator: torch.Generator) -> Tensor:
        features = batch.features.to(self.device, non_blocking=True).float()
        labels = batch.labels.to(self.device, non_blocking=True)
        features = augment(features, self.config.augmentation, generator)
        with torch.autocast(self.device.type, self.amp, enabled=self.amp is not None):
            output = self.model(features, batch.mask)
        loss = masked_loss(output.bag_logits, labels, self.weights)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.training.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if isinstance(self.scheduler, torch.optim.lr_scheduler.OneCycleLR):
            self.scheduler.step()
        return loss.detach()

    def _validate(self, train_loss: float, seconds: float, began: float) -> Generator[Step, None, Epoch]:
        settings = self.config.training
        scored = score_bags(
            self.model,
            (instances_of(self.store, bag, self.frames_per_instance) for bag in self.split.val),
            settings.batch_size,
            settings.max_instances,
        )
        outputs: list[Tensor] = []
        for bag in scored:
            outputs.append(bag.logits)
            yield Step(self.epoch + 1, "validate", len(outputs), len(self.split.val))
        logits = torch.stack(outputs)
        labels = torch.tensor([bag.clip.labels for bag in self.split.val], dtype=torch.int8)
        loss = float(masked_loss(logits, labels, self.weights.cpu()))
        ap = macro_average_precision(logits.sigmoid().numpy(), labels.numpy())
        score = ap if self.ranked and ap is not None else -loss
        rate = self.optimizer.param_groups[0]["lr"]
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(score)
        self.epoch += 1
        improved = score > self.best_score
        if improved:
            self.best_epoch, self.best_score = self.epoch, score
        speed = len(self.split.train) / seconds
        took = time.perf_counter() - began
        return Epoch(self.epoch, train_loss, loss, ap, rate, speed, self.waited_s, took, improved)

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
            score=outcome.val_loss if outcome.val_macro_ap is None else outcome.val_macro_ap,
            weights=self.model.state_dict(),
        )
        if outcome.improved:
            save_checkpoint(self.run / BEST, checkpoint)
        if self.epoch % KEEP_EVERY == 0:
            save_checkpoint(self.run / "checkpoints" / f"epoch_{self.epoch:03d}.pt", checkpoint)
        trainer = {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else {},
            "scaler": self.scaler.state_dict(),
            "best_epoch": self.best_epoch,
            "best_score": float(self.best_score),
        }
        save_checkpoint(self.run / LAST, replace(checkpoint, trainer=trainer))

    def _restore(self, last: Checkpoint) -> None:
        trainer: Mapping[str, Any] = last.trainer
        self.optimizer.load_state_dict(trainer["optimizer"])
        if self.scheduler:
            self.scheduler.load_state_dict(trainer["scheduler"])
        self.scaler.load_state_dict(trainer["scaler"])
        self.epoch, self.best_epoch, self.best_score = last.epoch, trainer["best_epoch"], trainer["best_score"]

    def _exhausted(self) -> bool:
        return self.epoch - self.best_epoch >= self.config.training.patience

    def _shown_score(self) -> float:
        return float(self.best_score if self.ranked else -self.best_score)

    def _started(self, tracker: Tracker) -> RunStarted:
        notes = [*self.split.notes, *tracker.notes]
        if not self.ranked:
            notes.append("no species has both labels in split val: the best epoch is the one of least validation loss")
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        counts = len(self.split.train), len(self.split.val)
        return RunStarted(self.run, *counts, parameters, self.epoch + 1, self.config.training.epochs, tuple(notes))


def _make_scheduler(config: Config, optimizer: torch.optim.Optimizer, steps_an_epoch: int) -> Any:
    settings = config.training
    if settings.scheduler == "plateau":
        # a relative threshold would take scores below 0, losses, for better when they are slightly worse
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="max", factor=0.5, patience=max(1, settings.patience // 3), threshold_mode="abs"
        )
    if settings.scheduler == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, settings.epochs * steps_an_epoch)
    return None


def _amp_dtype(device: torch.device) -> torch.dtype | None:
    """Half precision on CUDA: bfloat16, which needs no loss scaling, where the device has it. Float32 elsewhere."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
