import json
import math
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from batcache.config.settings import AugmentationConfig, Config, ConvLayer, PoolingType
from batcache.errors import ManifestError, RunError
from batcache.inference.score import score_bags
from batcache.manifest.manifest import Manifest
from batcache.model.checkpoint import Checkpoint, load_checkpoint
from batcache.model.crnn import BatMILModel
from batcache.training import trainer
from batcache.training.bags import instances_of, join
from batcache.training.events import Epoch, Event, RunStarted, Step, TrainReport
from batcache.training.inputs import choose_split, describe_inputs, find_run
from batcache.training.loop import resume, train
from batcache.training.loss import masked_loss
from batcache.training.ranking import macro_average_precision
from batcache.training.runs import BEST, LAST, read_run, read_run_config
from batcache.training.splits import read_splits
from tests.small_world import CPU, SPECIES, SmallWorld, train_fully, tweak

TIMES = {"bags_per_s", "waited_s", "seconds"}
ONES = torch.ones(3)


def epochs_of(events: list[Event]) -> list[Epoch]:
    return [event for event in events if isinstance(event, Epoch)]


def metrics_of(run: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl`` without what a clock decided."""
    lines = [json.loads(line) for line in (run / "logs" / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def assert_equal(one: Any, other: Any, place: str = "") -> None:
    """Equal bit for bit, in nested mappings and lists too."""
    if isinstance(one, Tensor):
        assert torch.equal(one, other), place
    elif isinstance(one, Mapping):
        assert one.keys() == other.keys(), place
        for key in one:
            assert_equal(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for i, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{place}.{i}")
    else:
        assert one == other, place


def assert_same_run(one: Path, other: Path) -> None:
    assert metrics_of(one) == metrics_of(other)
    for name in (LAST, BEST):
        assert_equal(vars(load_checkpoint(one / name)), vars(load_checkpoint(other / name)), str(name))


def stop_after(events: Iterator[Event], epochs: int) -> Path:
    """Take events until so many epochs are done, then stop as a user does."""
    run = Path()
    for event in events:
        if isinstance(event, RunStarted):
            run = event.run
        if isinstance(event, Epoch) and event.epoch == epochs:
            break
    events.close()  # type: ignore[attr-defined]
    return run


# A run


def test_training_and_judging_open_no_recording(small: SmallWorld, trained: Path) -> None:
    assert not list(small.folder.rglob("*.wav"))
    assert (trained / BEST).is_file()


def test_a_run_folder_holds_what_it_was_given_and_what_it_made(small: SmallWorld, trained: Path) -> None:
    assert trained.name.endswith("Z-attention")
    files = {path.relative_to(trained).as_posix() for path in trained.rglob("*") if path.is_file()}
    named = {"config.yaml", "run.json", "split.csv", "logs/metrics.jsonl", BEST.as_posix(), LAST.as_posix()}
    assert named <= files <= named | {"metrics.json", "logs/test_predictions.npz", "logs/test_predictions.csv"}
    assert read_run_config(trained) == small.config
    about = read_run(trained)
    assert about["finished"] is True
    assert about["species"] == list(SPECIES)
    assert (trained / about["cache"]).resolve() == small.store.path.resolve()
    assert [(trained / csv).resolve() for csv in about["csvs"]] == [csv.resolve() for csv in small.manifest.csvs]
    splits = [row.split for row in read_splits(trained / "split.csv").values()]
    assert {name: splits.count(name) for name in set(splits)} == {"train": 12, "val": 6, "test": 6}


def test_events_tell_the_run_in_order(small: SmallWorld, tmp_path: Path) -> None:
    _, events = train_fully(small.config, small.store, small.manifest, tmp_path)
    kinds = [event.stage if isinstance(event, Step) else type(event).__name__ for event in events]
    assert kinds == ["RunStarted", *[*["train"] * 3, *["validate"] * 6, "Epoch"] * 2, "TrainReport"]
    started, report = events[0], events[-1]
    assert isinstance(started, RunStarted) and isinstance(report, TrainReport)
    assert (started.train_clips, started.val_clips, started.first_epoch, started.epochs) == (12, 6, 1, 2)
    (note,) = started.notes
    assert note.startswith("1 recording left out, rejected by build: broken.wav")
    assert (report.epochs, report.metric, report.stopped_early) == (2, "val_macro_ap", False)


def test_two_runs_of_one_seed_are_equal_and_of_another_are_not(small: SmallWorld, tmp_path: Path) -> None:
    one, _ = train_fully(small.config, small.store, small.manifest, tmp_path)
    torch.rand(7)
    two, _ = train_fully(small.config, small.store, small.manifest, tmp_path)
    assert_same_run(one, two)
    other, _ = train_fully(tweak(small.config, training={"seed": 1}), small.store, small.manifest, tmp_path)
    assert metrics_of(other) != metrics_of(one)


def check_resume(
    config: Config, small: SmallWorld, tmp_path: Path, manifest: Manifest, later: Manifest | None = None
) -> None:
    """``later`` is the manifest as it is read when the run is resumed."""
    whole, _ = train_fully(config, small.store, manifest, tmp_path / "whole")
    stopped = stop_after(train(config, small.store, manifest, tmp_path / "parts", CPU), 2)
    assert len(metrics_of(stopped)) == 2
    assert read_run(stopped)["finished"] is False
    torch.rand(13)
    events = list(resume(stopped, small.store, later or manifest, CPU))
    assert isinstance(events[0], RunStarted)
    assert events[0].first_epoch == 3
    assert_same_run(whole, stopped)
    assert read_run(stopped)["finished"] is True


@pytest.mark.parametrize("scheduler", ["plateau", "one_cycle", "none"])
def test_a_resumed_run_equals_one_that_never_stopped(small: SmallWorld, tmp_path: Path, scheduler: str) -> None:
    settings = {"epochs": 4, "scheduler": scheduler, "patience": 3, "max_instances": 2}
    config = tweak(small.config, training=settings, model={"dropout": 0.5})
    assert config.augmentation == AugmentationConfig()  # all of it is on
    check_resume(config, small, tmp_path, small.manifest)


@pytest.mark.slow
def test_a_run_with_workers_resumes_as_one_that_never_stopped(small: SmallWorld, tmp_path: Path) -> None:
    check_resume(tweak(small.config, training={"epochs": 3, "workers": 1}), small, tmp_path, small.manifest)


@pytest.mark.slow
def test_workers_change_nothing(small: SmallWorld, tmp_path: Path) -> None:
    config = tweak(small.config, training={"epochs": 2})
    one, _ = train_fully(config, small.store, small.manifest, tmp_path)
    two, _ = train_fully(tweak(config, training={"workers": 2}), small.store, small.manifest, tmp_path)
    assert_same_run(one, two)


def test_a_run_resumes_alike_though_the_rows_of_the_csv_were_sorted_anew(small: SmallWorld, tmp_path: Path) -> None:
    config = tweak(small.config, training={"epochs": 3})
    check_resume(config, small, tmp_path, small.manifest, later=small.read(small.rows()[::-1]))


def test_a_run_resumes_on_the_validation_clips_it_drew(small: SmallWorld, tmp_path: Path) -> None:
    drawn = small.read([row.replace(",val,", ",train,") for row in small.rows()])
    check_resume(tweak(small.config, training={"epochs": 3}), small, tmp_path, drawn)


@pytest.mark.parametrize("killed_in", ["save_checkpoint", "append"])
def test_a_run_killed_between_its_files_loses_and_repeats_no_line(
    small: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    config = tweak(small.config, training={"epochs": 3})
    whole, _ = train_fully(config, small.store, small.manifest, tmp_path / "whole")
    save, append = trainer.save_checkpoint, trainer.MetricsLog.append

    def save_or_die(path: Path, checkpoint: Checkpoint) -> None:
        if killed_in == "save_checkpoint" and path.name == LAST.name and checkpoint.epoch == 2:
            raise KeyboardInterrupt
        save(path, checkpoint)

    def append_or_die(log: trainer.MetricsLog, metrics: Mapping[str, Any]) -> None:
        if killed_in == "append" and metrics["epoch"] == 2:
            raise KeyboardInterrupt
        append(log, metrics)

    monkeypatch.setattr(trainer, "save_checkpoint", save_or_die)
    monkeypatch.setattr(trainer.MetricsLog, "append", append_or_die)
    with pytest.raises(KeyboardInterrupt):
        list(train(config, small.store, small.manifest, tmp_path / "parts", CPU))
    monkeypatch.undo()
    (run,) = (tmp_path / "parts").iterdir()
    list(resume(run, small.store, small.manifest, CPU))
    assert_same_run(whole, run)


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


def test_a_finished_run_resumed_has_nothing_left_to_do(small: SmallWorld, tmp_path: Path) -> None:
    run, events = train_fully(small.config, small.store, small.manifest, tmp_path)
    before = metrics_of(run)
    again = list(resume(run, small.store, small.manifest, CPU))
    assert [type(event).__name__ for event in again] == ["RunStarted", "TrainReport"]
    assert again[-1] == events[-1]
    assert metrics_of(run) == before


def test_a_run_whose_labels_have_changed_is_not_resumed(small: SmallWorld, tmp_path: Path) -> None:
    run = stop_after(train(small.config, small.store, small.manifest, tmp_path, CPU), 1)
    changed = small.read([row.replace("night0/0.wav,1,0,0", "night0/0.wav,0,0,0") for row in small.rows()])
    with pytest.raises(RunError, match=r"have changed since it began\. Start a new run"):
        list(resume(run, small.store, changed, CPU))
    fewer = small.read(small.rows()[1:])
    with pytest.raises(RunError, match="have changed since it began"):
        list(resume(run, small.store, fewer, CPU))


def test_a_run_without_a_finished_epoch_is_not_resumed(small: SmallWorld, tmp_path: Path) -> None:
    events = train(small.config, small.store, small.manifest, tmp_path, CPU)
    run = next(events).run  # type: ignore[union-attr]
    events.close()  # type: ignore[attr-defined]
    with pytest.raises(RunError, match="stopped before its first epoch was over"):
        list(resume(run, small.store, small.manifest, CPU))


def test_the_run_of_these_inputs_is_found_and_no_other(small: SmallWorld, tmp_path: Path) -> None:
    def inputs(config: Config) -> str:
        split = choose_split(join(small.manifest, small.store), small.manifest, 0.15, 0)
        return describe_inputs(config, split, SPECIES)

    assert find_run(tmp_path, inputs(small.config)) is None
    train_fully(small.config, small.store, small.manifest, tmp_path)
    second, _ = train_fully(small.config, small.store, small.manifest, tmp_path)
    assert find_run(tmp_path, inputs(small.config)) == second
    assert find_run(tmp_path, inputs(tweak(small.config, wandb={"project": "other"}))) == second
    for section in ({"model": {"dropout": 0.1}}, {"training": {"epochs": 3}}, {"data": {"bag_size": 4}}):
        assert find_run(tmp_path, inputs(tweak(small.config, **section))) is None


# Checkpoints, validation, stopping


def test_checkpoints_are_the_best_every_tenth_and_the_last(small: SmallWorld, tmp_path: Path) -> None:
    config = tweak(small.config, training={"epochs": 21, "patience": 30, "batch_size": 12})
    times: dict[int, float] = {}
    events = []
    for event in train(config, small.store, small.manifest, tmp_path, CPU):
        events.append(event)
        if isinstance(event, Epoch):
            run = next(tmp_path.iterdir())
            assert load_checkpoint(run / LAST).epoch == event.epoch
            best = load_checkpoint(run / BEST)
            assert (best.epoch == event.epoch) == event.improved
            times[event.epoch] = best.score
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "best_model.pt",
        "epoch_010.pt",
        "epoch_020.pt",
        "last.pt",
    ]
    assert [load_checkpoint(run / "checkpoints" / f"epoch_0{n}0.pt").epoch for n in (1, 2)] == [10, 20]
    best_so_far = 0.0
    for epoch in epochs_of(events):
        assert epoch.val_macro_ap is not None
        assert epoch.improved == (epoch.val_macro_ap > best_so_far)
        best_so_far = max(best_so_far, epoch.val_macro_ap)
        assert times[epoch.epoch] == best_so_far


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
    split = choose_split(join(manifest, small.store), manifest, 0.15, 0)
    assert "no clip of split val: validated on 4 training clips of 4 recordings, drawn by seed" in split.notes


@pytest.mark.parametrize("score", [-0.7, 0.7])
def test_a_score_that_stands_still_or_falls_slowly_lowers_the_learning_rate(small: SmallWorld, score: float) -> None:
    config = tweak(small.config, training={"scheduler": "plateau", "patience": 6})
    optimizer = torch.optim.SGD([torch.nn.Parameter(ONES)], 0.01)
    scheduler = trainer._make_scheduler(config, optimizer, 1)
    for epoch in range(4):
        scheduler.step(score - 1e-5 * epoch)
    assert optimizer.param_groups[0]["lr"] == 0.005


def test_no_training_clips_leave_no_run(small: SmallWorld, tmp_path: Path) -> None:
    manifest = small.read([row for row in small.rows() if ",train," not in row])
    with pytest.raises(ManifestError, match="no clip of split train"):
        list(train(small.config, small.store, manifest, tmp_path / "runs", CPU))
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
    logits = torch.stack([verdict.logits for verdict in verdicts])
    labels = torch.tensor([bag.clip.labels for bag in bags], dtype=torch.int8)
    outcome = epochs_of(events)[-1]
    assert float(masked_loss(logits, labels, ONES)) == pytest.approx(outcome.val_loss, rel=1e-6)
    assert macro_average_precision(logits.sigmoid().numpy(), labels.numpy()) == outcome.val_macro_ap


def test_augmentation_sees_training_batches_only(
    small: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def watch(features: Tensor, *rest: Any) -> Tensor:
        sizes.append(len(features))
        return features

    monkeypatch.setattr(trainer, "augment", watch)
    train_fully(tweak(small.config, training={"epochs": 1}), small.store, small.manifest, tmp_path)
    assert sizes == [4, 4, 4]


def test_labels_that_are_unknown_take_no_part_in_training(small: SmallWorld, tmp_path: Path) -> None:
    """Clips of nothing but unknown labels, alone in their batches, leave weights and validation as they were."""
    rows = [
        row if ",train," not in row else f"{row.split(',')[0]},,,,train,{row.split(',')[5]}" for row in small.rows()
    ]
    config = tweak(small.config, training={"epochs": 1, "weight_decay": 0.0})
    run, events = train_fully(config, small.store, small.read(rows), tmp_path)
    assert epochs_of(events)[0].train_loss == 0
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
        list(train(small.config, small.store, small.manifest, tmp_path, CPU))


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
