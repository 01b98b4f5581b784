import shutil
import subprocess
import sys
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from batcache.config.settings import AugmentationConfig, Config
from batcache.errors import ConfigError, RunError
from batcache.manifest.manifest import Manifest, read_manifest
from batcache.model.checkpoint import Checkpoint, load_checkpoint
from batcache.pipeline import train_if_needed
from batcache.progress import Progress
from batcache.store.open import open_store
from batcache.training import inputs, trainer
from batcache.training.clips.splits import read_splits
from batcache.training.events import Epoch, RunStarted
from batcache.training.inputs import find_run
from batcache.training.loop import resume, train
from batcache.training.runs import LAST, list_runs, read_run, read_run_config
from tests.small_world import CPU, SmallWorld, train_fully, tweak
from tests.training.same_run import assert_same_run, metrics_of, stop_after

FROZEN = Path(__file__).parents[1] / "frozen" / "front_end_2"
"""A store and a run of the version before: front end 2."""


def check_resume(
    config: Config, small: SmallWorld, tmp_path: Path, manifest: Manifest, later: Manifest | None = None
) -> None:
    """``later`` is the manifest as it is read when the run is resumed."""
    whole, _ = train_fully(config, small.store, manifest, tmp_path / "whole")
    stopped = stop_after(config, small, manifest, tmp_path / "parts", 2)
    assert len(metrics_of(stopped)) == 2
    assert read_run(stopped)["finished"] is False
    torch.rand(13)
    told: list[Progress] = []
    resume(stopped, small.store, later or manifest, CPU, on_progress=told.append)
    assert isinstance(told[0].result, RunStarted)
    assert told[0].result.first_epoch == 3
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
        train_fully(config, small.store, small.manifest, tmp_path / "parts")
    monkeypatch.undo()
    (run,) = (tmp_path / "parts").iterdir()
    resume(run, small.store, small.manifest, CPU)
    assert_same_run(whole, run)


def test_a_finished_run_resumed_has_nothing_left_to_do(small: SmallWorld, tmp_path: Path) -> None:
    run, events = train_fully(small.config, small.store, small.manifest, tmp_path)
    before = metrics_of(run)
    told: list[Progress] = []
    assert resume(run, small.store, small.manifest, CPU, on_progress=told.append) == events[-1]
    assert [type(progress.result) for progress in told] == [RunStarted]
    assert metrics_of(run) == before


@pytest.mark.parametrize("scheduler", ["plateau", "none"])
def test_a_finished_run_told_more_epochs_becomes_the_run_that_had_them_from_the_start(
    small: SmallWorld, tmp_path: Path, scheduler: str
) -> None:
    config = tweak(small.config, training={"epochs": 2, "scheduler": scheduler})
    run, _ = train_fully(config, small.store, small.manifest, tmp_path / "short")
    report = resume(run, small.store, small.manifest, CPU, epochs=4)
    assert (report.epochs, read_run(run)["finished"], read_run_config(run).training.epochs) == (4, True, 4)
    longer = tweak(config, training={"epochs": 4})
    whole, _ = train_fully(longer, small.store, small.manifest, tmp_path / "whole")
    assert_same_run(whole, run)
    found = find_run(tweak(longer, training={"run_dir": tmp_path / "short"}), small.store, small.manifest)
    assert found == run, "up to date now for so many epochs"


def test_a_run_that_stopped_early_goes_on_when_told_and_counts_its_patience_anew(
    small: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.Best, "update", lambda best, epoch, ap, loss: epoch == 1 and _is_best(best, loss))
    config = tweak(small.config, training={"epochs": 50, "patience": 1})
    run, events = train_fully(config, small.store, small.manifest, tmp_path)
    assert events[-1].stopped_early and load_checkpoint(run / LAST).epoch == 2  # type: ignore[union-attr]
    with pytest.raises(KeyboardInterrupt):
        resume(run, small.store, small.manifest, CPU, epochs=50, on_progress=stop)
    assert load_checkpoint(run / LAST).epoch == 2, "stopped before its first epoch"
    assert resume(run, small.store, small.manifest, CPU).epochs == 3, "it was told so, and still is"
    assert resume(run, small.store, small.manifest, CPU).epochs == 3, "without a number it keeps to its patience"
    assert resume(run, small.store, small.manifest, CPU, epochs=50).epochs == 4


def test_a_run_is_trained_by_one_process_at_a_time(small: SmallWorld, tmp_path: Path) -> None:
    def train_it_too(progress: Progress) -> None:
        if isinstance(progress.result, Epoch):
            (run,) = list_runs(tmp_path)
            before, config = files_of(run), read_run_config(run)
            for again in (resume, lambda _, *others: train_if_needed(config, *others)):
                with pytest.raises(RunError, match=r"is being trained by another process\. Wait for it, or stop it"):
                    again(run, small.store, small.manifest, CPU)
            assert files_of(run) == before

    config = tweak(small.config, training={"run_dir": tmp_path})
    run = train(config, small.store, small.manifest, CPU, on_progress=train_it_too).run
    resume(run, small.store, small.manifest, CPU, epochs=3, on_progress=train_it_too)
    assert len(metrics_of(run)) == 3


def test_what_another_process_trains_is_refused_until_it_ends(small: SmallWorld, trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    code = (
        "import pathlib, sys\nfrom batcache.training.runs import held_alone\n"
        "with held_alone(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline().strip() == b"held"
        with pytest.raises(RunError, match="is being trained by another process"):
            resume(run, small.store, small.manifest, CPU, epochs=3)
        other.kill()
        other.wait(60)
    assert resume(run, small.store, small.manifest, CPU, epochs=3).epochs == 3


def files_of(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def _is_best(best: trainer.Best, loss: float) -> bool:
    best.epoch, best.ap, best.loss = 1, 0.5, loss
    return True


def stop(progress: Progress) -> None:
    if progress.stage.startswith("epoch"):
        raise KeyboardInterrupt


def test_a_number_of_epochs_that_makes_no_sense_is_refused(small: SmallWorld, tmp_path: Path) -> None:
    run, _ = train_fully(small.config, small.store, small.manifest, tmp_path / "a")
    with pytest.raises(RunError, match=r"has 2 epochs already, asked for 1\. Pass a larger --epochs"):
        resume(run, small.store, small.manifest, CPU, epochs=1)
    config = tweak(small.config, training={"scheduler": "one_cycle"})
    run, _ = train_fully(config, small.store, small.manifest, tmp_path / "b")
    with pytest.raises(RunError, match=r"was planned for 2 epochs \(training.scheduler one_cycle\)"):
        resume(run, small.store, small.manifest, CPU, epochs=3)


def test_a_run_is_not_resumed_on_other_features(small: SmallWorld, tmp_path: Path) -> None:
    """A store built anew, of the same recordings and as many bands, tells the same clips."""
    run = stop_after(small.config, small, small.manifest, tmp_path, 1)
    other = copy(small.store)
    other.features = replace(other.features, fmin=12_000.0)
    with pytest.raises(RunError, match="cache have changed since it began"):
        resume(run, other, small.manifest, CPU)


def test_what_goes_wrong_in_resuming_is_not_taken_for_a_damaged_file(
    small: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stop_after(small.config, small, small.manifest, tmp_path, 1)

    def refuse(*_: object) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(trainer, "class_weights", refuse)
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        resume(run, small.store, small.manifest, CPU)


# A run of an earlier version


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FROZEN, tmp_path / "frozen"))


def test_a_run_of_an_earlier_version_opens_with_its_settings(frozen: Path) -> None:
    assert read_run(frozen / "run")["species"] == ["Myotis myotis", "Nyctalus noctula"]
    text = (frozen / "run" / "config.yaml").read_text()
    assert "resident: 'off'" in text
    config = read_run_config(frozen / "run")
    assert (config.training.keep_on_gpu, config.training.epochs, config.data.n_mels) == ("off", 3, 8)
    (frozen / "run" / "config.yaml").write_text(text + "telepathy:\n  on: true\n")
    assert read_run_config(frozen / "run") == config, "a section that is no more"
    (frozen / "run" / "config.yaml").write_text(text.replace("  dropout:", "  drop_in: 3\n  dropout:"))
    assert read_run_config(frozen / "run") == config, "a key that is no more"
    (frozen / "run" / "config.yaml").write_text(text.replace("dropout: 0.1", "dropout: 7"))
    with pytest.raises(ConfigError, match=r"config\.yaml: model\.dropout: 7"):
        read_run_config(frozen / "run")


def test_a_run_of_an_earlier_version_goes_on_to_more_epochs(frozen: Path) -> None:
    run, store = frozen / "run", open_store(frozen / "store")
    manifest = read_manifest([frozen / "clips.csv"])
    report = resume(run, store, manifest, CPU, epochs=5)
    assert (report.epochs, len(metrics_of(run))) == (5, 5)
    lines = (frozen / "clips.csv").read_text().splitlines(keepends=True)
    shutil.rmtree(run)
    shutil.copytree(FROZEN / "run", run)
    (frozen / "clips.csv").write_text("".join(line for line in lines if not line.startswith(_first_trained(run))))
    with pytest.raises(RunError, match="have changed since it began"):
        resume(run, store, read_manifest([frozen / "clips.csv"]), CPU, epochs=5)


def _first_trained(run: Path) -> str:
    return next(key[0] for key, row in read_splits(run / "split.csv").items() if row.split == "train")


def test_a_run_whose_labels_have_changed_is_not_resumed(small: SmallWorld, tmp_path: Path) -> None:
    run = stop_after(small.config, small, small.manifest, tmp_path, 1)
    changed = small.read([row.replace("night0/0.wav,1,0,0", "night0/0.wav,0,0,0") for row in small.rows()])
    with pytest.raises(RunError, match=r"have changed since it began\. Start a new run"):
        resume(run, small.store, changed, CPU)
    fewer = small.read(small.rows()[1:])
    with pytest.raises(RunError, match="have changed since it began"):
        resume(run, small.store, fewer, CPU)


def test_a_run_without_a_finished_epoch_is_not_resumed(small: SmallWorld, tmp_path: Path) -> None:
    run = stop_after(small.config, small, small.manifest, tmp_path, 0)
    with pytest.raises(RunError, match="stopped before its first epoch was over"):
        resume(run, small.store, small.manifest, CPU)


def test_the_run_of_these_inputs_is_found_and_no_other(
    small: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tweak(small.config, training={"run_dir": tmp_path})

    def found(**sections: dict[str, Any]) -> Path | None:
        return find_run(tweak(config, **sections), small.store, small.manifest)

    assert found() is None
    train_fully(small.config, small.store, small.manifest, tmp_path)
    second, _ = train_fully(small.config, small.store, small.manifest, tmp_path)
    assert found() == found(wandb={"project": "other"}) == found(data={"bag_size": 4}) == second
    assert found(model={"dropout": 0.1}) is None
    assert found(training={"epochs": 3}) is None
    monkeypatch.setattr(inputs, "TRAINING_VERSION", inputs.TRAINING_VERSION + 1)
    assert found() is None, "what other code has trained is not up to date"
