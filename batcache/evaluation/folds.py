"""Clips judged fold by fold: each by a model that was trained on the others and has not heard its group."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from msgspec import structs

from batcache.config.settings import Config
from batcache.errors import ConfigError, ManifestError, count
from batcache.evaluation.calls import Call, read_calls
from batcache.evaluation.evaluate import choose_clips, evaluate
from batcache.evaluation.judge import judge
from batcache.evaluation.metrics import Metrics
from batcache.evaluation.outcomes import FOLDS
from batcache.inference.predictions import Predictions
from batcache.manifest.draw_splits import draw_names
from batcache.manifest.manifest import Manifest
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.store.reader import Store
from batcache.training.clips.bags import Bag, join
from batcache.training.clips.embeddings import Embeddings
from batcache.training.events import Epoch, RunStarted
from batcache.training.loop import choose_taught_split, train
from batcache.training.runs import BEST


@dataclass(frozen=True)
class Folds:
    """Clips shared out to be judged in turn: ``manifest`` has all of them, without a split.

    ``bags`` are theirs, in the same order, each with the name of its fold for its split. ``calls`` are those that are
    known, by recording. ``notes`` tell of clips that could not be used.
    """

    manifest: Manifest
    bags: tuple[Bag, ...]
    names: tuple[str, ...]
    calls: Mapping[str, Sequence[Call]]
    notes: tuple[str, ...]

    @property
    def whole(self) -> Manifest:
        """All clips to train on."""
        return self._with(["train"] * len(self.bags))

    def part(self, name: str) -> Manifest:
        """The clips of a fold to judge, in split test, all others to train on."""
        return self._with(["test" if bag.clip.split == name else "train" for bag in self.bags])

    def _with(self, splits: Sequence[str]) -> Manifest:
        clips = (structs.replace(bag.clip, split=split) for bag, split in zip(self.bags, splits, strict=True))
        return replace(self.manifest, clips=tuple(clips))


@dataclass(frozen=True)
class Fold:
    """One fold, judged by a model that learnt from ``train_clips`` others, in epochs of so many seconds in all.

    Its ``metrics`` have no intervals: what all folds come to has them. ``notes`` are what its training told.
    """

    train_clips: int
    seconds: float
    metrics: Metrics
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Judged:
    """What folds came to: each by itself, and the out-of-fold predictions of all, fold after fold, judged as one.

    ``notes`` say why some species are judged on fewer clips than there are.
    """

    folds: tuple[Fold, ...]
    metrics: Metrics
    predictions: Predictions
    notes: tuple[str, ...]


def draw_folds(manifest: Manifest, store: Store, folds: int, seed: int) -> Folds:
    """Share out all clips but those of split test, in whole groups, so that each fold has its share of every species.

    Raises:
        ConfigError: fewer than two folds.
        ManifestError: no clip to judge, fewer groups than folds, and what ``join`` raises.
    """
    if folds < 2:
        raise ConfigError("--folds", f"{folds}, expected at least 2", "Pass 5")
    joined = join(manifest, store)
    bags, notes = [bag for bag in joined.bags if bag.clip.split != "test"], joined.notes()
    if left := len(joined.bags) - len(bags):
        notes.append(f"{count(left, 'clip')} of split test left out of the folds")
    if not bags:
        finding = "no clip to judge in folds: each is of split test, or was rejected by build"
        raise ManifestError(", ".join(map(str, manifest.csvs)), finding, "Add clips that are not of split test")
    clips = tuple(structs.replace(bag.clip, split=None) for bag in bags)
    names = tuple(f"fold {i}" for i in range(1, folds + 1))
    contents = {bag.clip.filename: bag.row.recording for bag in bags}
    drawn = draw_names(clips, dict.fromkeys(names, 1 / folds), seed, contents)
    shared = (bag.with_split(name) for bag, name in zip(bags, drawn, strict=True))
    calls = {name: found for name, found in read_calls(manifest.data_dir).items() if name in contents}
    return Folds(replace(manifest, clips=clips), tuple(shared), names, calls, tuple(notes))


def require_taught(config: Config, store: Store, folds: Folds) -> None:
    """See, before anything is trained, that for every fold the others can teach a model.

    Raises:
        ManifestError: a fold without which no species can be taught.
    """
    for name in folds.names:
        try:
            choose_taught_split(config, store, folds.part(name))
        except ManifestError as error:
            raise ManifestError(error.place, f"without {name}, {error.finding}", error.remedy) from None


def judge_folds(
    config: Config,
    store: Store,
    folds: Folds,
    device: torch.device,
    embeddings: Embeddings,
    *,
    on_progress: OnProgress = ignore_progress,
) -> Judged:
    """Train a model for each fold, in ``training.run_dir``, and judge the fold by it.

    A species that such a model was not taught leaves the clips of its fold without a score.

    Raises:
        BatcacheError: what ``train`` and ``evaluate`` raise.
    """
    judged, parts = [], []
    for name in folds.names:
        part, told = folds.part(name), _Listener()
        on_progress(Progress(name))
        report = train(config, store, part, device, embeddings=embeddings, on_progress=told)
        chosen = choose_clips(report.run / BEST, store, part, "test", as_trained=False, calls=folds.calls)
        evaluated = evaluate(chosen, device, embeddings=embeddings, in_full=False)
        judged.append(Fold(told.train_clips, told.seconds, evaluated.metrics, told.notes))
        parts.append(evaluated.predictions)
        on_progress(Progress(FOLDS, len(parts), len(folds.names)))
    predictions = _chain(parts)
    metrics, notes = judge(predictions, folds.calls), _explain_counts(folds, predictions)
    return Judged(tuple(judged), metrics, predictions, tuple(notes))


def _explain_counts(folds: Folds, predictions: Predictions) -> Iterator[str]:
    """Why a species is judged on fewer clips than there are, and on how many fewer."""
    labels = np.array([bag.clip.labels for bag in folds.bags])
    unknown, judged = (labels < 0).sum(0), (predictions.labels >= 0).sum(0)
    without_score = len(labels) - unknown - judged
    for lost, why in ((unknown, "are not annotated"), (without_score, "lie in a fold whose model was not taught it")):
        named = [f"{name} {clips:,}" for name, clips in zip(predictions.species, lost, strict=True) if clips]
        if named:
            yield f"clips on which a species is not judged, as they {why}: {', '.join(named)}"


class _Listener:
    """Takes down on how many clips a training learns, what it notes, and how long its epochs last."""

    def __init__(self) -> None:
        self.train_clips, self.seconds = 0, 0.0
        self.notes: tuple[str, ...] = ()

    def __call__(self, progress: Progress) -> None:
        if isinstance(progress.result, RunStarted):
            self.train_clips, self.notes = progress.result.train_clips, progress.result.notes
        elif isinstance(progress.result, Epoch):
            self.seconds += progress.result.seconds


def _chain(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of several parts as one. Where a part's model has no score, the label counts as unknown."""
    offsets = [0]
    for part in parts:
        offsets += (offsets[-1] + part.offsets[1:]).tolist()
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in vars(parts[0])
        if name not in ("species", "offsets")
    }
    joined["labels"] = np.where(np.isnan(joined["scores"]), np.int8(-1), joined["labels"])
    return Predictions(**joined, species=parts[0].species, offsets=np.array(offsets, np.int64))
