import math
import shutil
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from batcache.cli.model_tables import of_training
from batcache.config.settings import ConvLayer, PoolingType
from batcache.errors import ManifestError, RunError
from batcache.inference.score import score_bags
from batcache.model.checkpoint import load_checkpoint
from batcache.model.crnn import BatMILModel
from batcache.model.start import Start
from batcache.progress import Progress, ignore_progress
from batcache.training import trainer
from batcache.training.clips.bags import instances_of, join
from batcache.training.clips.splits import read_splits
from batcache.training.events import Epoch, RunStarted, TimeLeft, TrainReport
from batcache.training.inputs import choose_split
from batcache.training.loop import train
from batcache.training.loss import masked_loss
from batcache.training.ranking import macro_average_precision
from batcache.training.runs import BEST, LAST, read_run, read_run_config
from tests.small_world import CPU, SPECIES, SmallWorld, drawing, train_fully, tweak
from tests.training.same_run import assert_same_run, epochs_of, metrics_of

TIMES = {"bags_per_s", "waited_s", "seconds"}
ONES = torch.ones(3)


# A run


def test_training_and_judging_open_no_recording(small: SmallWorld, trained: Path) -> None:
    assert not list(small.folder.rglob("*.wav"))
    assert (trained / BEST).is_file()


def test_a_run_folder_holds_what_it_was_given_and_what_it_made(small: SmallWorld, trained: Path) -> None:
    assert trained.name.endswith("Z-attention")
    files = {path.relative_to(trained).as_posix() for path in trained.rglob("*") if path.is_file()}
    named = {"config.yaml", "run.json", "split.csv", BEST.as_posix(), LAST.as_posix()}
    named |= {"logs/metrics.jsonl", "logs/training.lock"}
    assert (
        named
        <= files
        <= named
        | {f"logs/test_predictions.{kind}" for kind in ("npz", "csv")}
        | {
            "metrics.json",
            "logs/metrics.lock",
        }
    )
    assert read_run_config(trained) == tweak(small.config, training={"run_dir": trained.parent})
    about = read_run(trained)
    assert about["finished"] is True
    assert about["species"] == list(SPECIES)
    assert (trained / about["cache"]).resolve() == small.store.path.resolve()
    assert [(trained / csv).resolve() for csv in about["csvs"]] == [csv.resolve() for csv in small.manifest.csvs]
    splits = [row.split for row in read_splits(trained / "split.csv").values()]
    assert {name: splits.count(name) for name in set(splits)} == {"train": 12, "val": 6, "test": 6}


def test_progress_tells_the_run_in_order(small: SmallWorld, tmp_path: Path) -> None:
    told: list[Progress] = []
    config = tweak(small.config, training={"run_dir": tmp_path})
    report = train(config, small.store, small.manifest, CPU, on_progress=told.append)
    trained, validated = [(1, 3), (2, 3), (3, 3)], [(done, 6) for done in range(1, 7)]
    expected = [("train", 0, 2)]
    for epoch in (1, 2):
        expected += [(f"epoch {epoch}", *step) for step in trained]
        expected += [(f"epoch {epoch}, validating", *step) for step in validated]
        expected.append(("train", epoch, 2))
    assert [(one.stage, one.done, one.total) for one in told] == expected
    results = [one.result for one in told if one.result is not None]
    assert [type(result) for result in results] == [RunStarted, TimeLeft, Epoch, Epoch]
    started, left = results[:2]
    assert isinstance(started, RunStarted) and isinstance(left, TimeLeft)
    assert left.epochs == 2 and left.seconds > 0
    assert (started.train_clips, started.val_clips, started.first_epoch, started.epochs) == (12, 6, 1, 2)
    (note,) = started.notes
    assert note.startswith("1 recording left out, rejected by build: broken.wav")
    assert (report.epochs, report.metric, report.stopped_early) == (2, "val_macro_ap", False)
    val = np.array([clip.labels for clip in small.manifest.clips if clip.split == "val"])
    ranked = int(((val == 1).any(0) & (val == 0).any(0)).sum())
    assert report.ranked_species == ranked
    assert f"{report.best_score:.4f}, mean of {ranked} species" in str(list(of_training(report)))


def test_two_runs_of_one_seed_are_equal_and_of_another_are_not(small: SmallWorld, tmp_path: Path) -> None:
    one, _ = train_fully(small.config, small.store, small.manifest, tmp_path)
    torch.rand(7)
    two, _ = train_fully(small.config, small.store, small.manifest, tmp_path)
    assert_same_run(one, two)
    other, _ = train_fully(tweak(small.config, training={"seed": 1}), small.store, small.manifest, tmp_path)
    assert metrics_of(other) != metrics_of(one)


@pytest.mark.slow
def test_workers_change_nothing(small: SmallWorld, tmp_path: Path) -> None:
    config = tweak(small.config, training={"epochs": 2})
    one, _ = train_fully(config, small.store, small.manifest, tmp_path)
    two, _ = train_fully(tweak(config, training={"workers": 2}), small.store, small.manifest, tmp_path)
    assert_same_run(one, two)


def test_every_epoch_shuffles_anew(small: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[list[list[int]]] = []

    def watch(logits: Tensor, labels: Tensor, positive_weights: Tensor) -> Tensor:
        if logits.requires_grad:
            batches.append(labels.tolist())
        return masked_loss(logits, labels, positive_weights)

    monkeypatch.setattr(trainer, "masked_loss", watch)
    train_fully(small.config, small.store, small.manifest, tmp_path)
    first, second = list(chain(*batches[:3])), list(chain(*batches[3:]))
    assert first != second
    assert sorted(first) == sorted(second)


def test_padding_to_another_bag_size_changes_nothing_but_rounding(small: SmallWorld, tmp_path: Path) -> None:
    """Pooling sums over padded zeros too, in another order. What is drawn for augmentation is the same."""
    _, one = train_fully(small.config, small.store, small.manifest, tmp_path)
    _, other = train_fully(tweak(small.config, data={"bag_size": 9}), small.store, small.manifest, tmp_path)
    for ours, theirs in zip(epochs_of(one), epochs_of(other), strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-4)


# Checkpoints, validation, stopping


def test_checkpoints_are_the_best_every_tenth_and_the_last(small: SmallWorld, tmp_path: Path) -> None:
    config = tweak(small.config, training={"epochs": 21, "patience": 30, "batch_size": 12})
    scores: dict[int, float] = {}
    events = []

    def look(progress: Progress) -> None:
        if isinstance(epoch := progress.result, Epoch):
            events.append(epoch)
            run = next(tmp_path.iterdir())
            assert load_checkpoint(run / LAST).epoch == epoch.epoch
            best = load_checkpoint(run / BEST)
            assert (best.epoch == epoch.epoch) == epoch.improved
            scores[epoch.epoch] = best.score

    run = train(tweak(config, training={"run_dir": tmp_path}), small.store, small.manifest, CPU, on_progress=look).run
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "best_model.pt",
        "epoch_010.pt",
        "epoch_020.pt",
        "last.pt",
    ]
    assert [load_checkpoint(run / "checkpoints" / f"epoch_0{n}0.pt").epoch for n in (1, 2)] == [10, 20]
    best_so_far = (0.0, -math.inf)
    for epoch in epochs_of(events):
        assert epoch.val_macro_ap is not None
        outcome = (epoch.val_macro_ap, -epoch.val_loss)
        assert epoch.improved == (outcome > best_so_far)
        best_so_far = max(best_so_far, outcome)
        assert scores[epoch.epoch] == best_so_far[0]


def test_training_stops_when_patience_is_spent(small: SmallWorld, tmp_path: Path) -> None:
    config = tweak(small.config, training={"epochs": 200, "patience": 3, "scheduler": "none"})
    run, events = train_fully(config, small.store, small.manifest, tmp_path)
    report = events[-1]
    assert isinstance(report, TrainReport)
    assert report.stopped_early
    assert report.epochs == report.best_epoch + 3 < 200
    assert report.best_score == load_checkpoint(run / BEST).score == max(e.val_macro_ap or 0 for e in epochs_of(events))
    assert read_run(run)["finished"] is True


def test_without_both_labels_in_validation_the_loss_decides_and_this_is_said(small: SmallWorld, tmp_path: Path) -> None:
    rows = [row if ",val," not in row else f"{row.split(',')[0]},1,0,,val,{row.split(',')[5]}" for row in small.rows()]
    config = tweak(small.config, training={"epochs": 4})
    run, events = train_fully(config, small.store, small.read(rows), tmp_path)
    started, report, epochs = events[0], events[-1], epochs_of(events)
    assert isinstance(started, RunStarted) and isinstance(report, TrainReport)
    assert (
        "no species has both labels in split val: the best epoch is the one of least validation loss" in started.notes
    )
    assert all(epoch.val_macro_ap is None for epoch in epochs)
    assert report.metric == "val_loss"
    assert report.best_score == min(epoch.val_loss for epoch in epochs)
    assert load_checkpoint(run / BEST).epoch == min(epochs, key=lambda epoch: epoch.val_loss).epoch
    assert [line["val_macro_ap"] for line in metrics_of(run)] == [None] * 4


def test_without_validation_rows_the_draw_is_said_and_kept_in_split_csv(small: SmallWorld, tmp_path: Path) -> None:
    manifest = small.read([row.replace(",val,", ",train,") for row in small.rows()])
    run, events = train_fully(small.config, small.store, manifest, tmp_path)
    assert isinstance(events[0], RunStarted)
    assert "no clip of split val: validated on 3 training clips of 1 group, drawn by seed" in events[0].notes
    rows = read_splits(run / "split.csv").values()
    assert [sum(row.split == name for row in rows) for name in ("train", "val", "test")] == [15, 3, 6]


def test_without_groups_the_draw_is_said_to_be_of_recordings(small: SmallWorld) -> None:
    rows = [",".join(row.split(",")[:4]) + ",train" for row in small.rows()]
    manifest = small.read(rows, "filename,Low,High,Sweep,split")
    split = choose_split(join(manifest, small.store), manifest, drawing(0.15))
    assert "no clip of split val: validated on 4 training clips of 4 recordings, drawn by seed" in split.notes


def test_no_training_clips_leave_no_run(small: SmallWorld, tmp_path: Path) -> None:
    manifest = small.read([row for row in small.rows() if ",train," not in row])
    with pytest.raises(ManifestError, match="no clip of split train"):
        train_fully(small.config, small.store, manifest, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("noise_std", [0.0, 50.0])
def test_validation_scores_are_those_of_the_model_on_features_as_they_are(
    small: SmallWorld, tmp_path: Path, noise_std: float
) -> None:
    """Neither augmentation nor dropout nor the batch takes part: judging again from the file gives the same."""
    config = tweak(small.config, augmentation={"noise_std": noise_std}, model={"dropout": 0.9})
    run, events = train_fully(config, small.store, small.manifest, tmp_path)
    last, bags = load_checkpoint(run / LAST), join(small.manifest, small.store).split("val")
    verdicts = score_bags(
        last.restore(CPU), [instances_of(small.store, bag, last.frames_per_instance) for bag in bags], 4, 60
    )
    logits = torch.stack([torch.from_numpy(verdict.logits) for verdict in verdicts])
    labels = torch.tensor([bag.clip.labels for bag in bags], dtype=torch.int8)
    outcome = epochs_of(events)[-1]
    assert float(masked_loss(logits, labels, ONES)) == pytest.approx(outcome.val_loss, rel=1e-6)
    assert macro_average_precision(logits.sigmoid().numpy(), labels.numpy()) == outcome.val_macro_ap


def test_augmentation_sees_training_batches_only(
    small: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def watch(features: Tensor, *rest: Any) -> Tensor:
        counts.append(len(features))
        return features

    monkeypatch.setattr(trainer, "augment", watch)
    train_fully(tweak(small.config, training={"epochs": 1}), small.store, small.manifest, tmp_path)
    bags = join(small.manifest, small.store).split("train")
    assert len(counts) == 3
    assert sum(counts) == sum(bag.instances(small.config.data.frames_per_instance) for bag in bags), "and no padding"


@pytest.mark.parametrize("label", ["1", "", "0"])
def test_presence_alone_teaches_nothing_and_leaves_no_run(small: SmallWorld, tmp_path: Path, label: str) -> None:
    rows = [
        f"{row.split(',')[0]},{label},{label},{label},train,{row.split(',')[5]}" if ",train," in row else row
        for row in small.rows()
    ]
    finding = r"csv: no species has both labels among the training clips\. Write 0 where a species was looked for"
    with pytest.raises(ManifestError, match=finding):
        train_fully(small.config, small.store, small.read(rows), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_labels_that_are_unknown_take_no_part_in_training(small: SmallWorld, trained: Path, tmp_path: Path) -> None:
    """Clips of nothing but unknown labels, alone in their batches, leave weights and validation as they were."""
    rows = [
        row if ",train," not in row else f"{row.split(',')[0]},,,,train,{row.split(',')[5]}" for row in small.rows()
    ]
    config = tweak(small.config, training={"epochs": 1, "weight_decay": 0.0})
    manifest, run = small.read(rows), Path(shutil.copytree(trained, tmp_path / "run"))
    split = choose_split(join(manifest, small.store), manifest, drawing(0.15))
    torch.manual_seed(config.training.seed)
    model = BatMILModel(config.model, 64, 3)
    trainer.Trainer(config, small.store, SPECIES, split, run, Start(model), CPU).fit(ignore_progress)
    assert metrics_of(run)[0]["train_loss"] == 0
    torch.manual_seed(config.training.seed)
    fresh = dict(BatMILModel(config.model, 64, 3).named_parameters())
    for name, value in load_checkpoint(run / LAST).weights.items():
        if name in fresh:
            assert torch.equal(value, fresh[name]), name


def test_a_loss_that_is_not_finite_stops_the_run(
    small: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "masked_loss", lambda logits, *rest: logits.sum() * float("nan"))
    with pytest.raises(RunError, match=r"the loss of epoch 1 is nan. Lower training.learning_rate"):
        train_fully(small.config, small.store, small.manifest, tmp_path)


def test_gradients_are_clipped(small: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    clip = torch.nn.utils.clip_grad_norm_

    def watch(parameters: Any, most: float) -> Tensor:
        parameters = list(parameters)
        total = clip(parameters, most)
        norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in parameters)))
        return total

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watch)
    config = tweak(small.config, training={"epochs": 1, "grad_clip": 0.01})
    train_fully(config, small.store, small.manifest, tmp_path)
    assert len(norms) == 3
    assert max(norms) <= 0.01 * (1 + 1e-5)


@pytest.mark.parametrize(
    "pooling", ["attention", *(pytest.param(name, marks=pytest.mark.slow) for name in ("max", "linear_softmax"))]
)
def test_tones_of_45_and_50_khz_are_learnt_from_weak_labels(
    small: SmallWorld, tmp_path: Path, pooling: PoolingType
) -> None:
    """18 clips, each with one or both calls of 60 ms somewhere; 6 clips of two other nights are told right."""
    rows = []
    for row in small.rows():
        name, low, high, _, _, night = row.split(",")
        rows.append(f"{name},{low},{high},{'val' if night in ('night 3', 'night 7') else 'train'},{night}")
    manifest = small.read(rows, "filename,Low,High,split,group")
    config = tweak(
        small.config,
        model={
            "pooling_type": pooling,
            "conv_layers": (ConvLayer(8), ConvLayer(16)),
            "rnn_hidden_size": 32,
            "dropout": 0.0,
        },
        training={"epochs": 15, "learning_rate": 0.005},
    )
    run, events = train_fully(config, small.store, manifest, tmp_path)
    assert run.name.endswith(f"Z-{pooling}") or f"Z-{pooling}-" in run.name
    assert (epochs_of(events)[-1].val_macro_ap or 0) >= 0.9
