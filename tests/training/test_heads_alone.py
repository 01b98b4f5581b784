"""Training heads on a trunk that stays as it is."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from msgspec import structs

from batcache.config.load import load_config
from batcache.config.settings import Config, ModelConfig
from batcache.device import limit_threads
from batcache.errors import ManifestError
from batcache.model.checkpoint import load_checkpoint
from batcache.model.pretrained import pick_trunk
from batcache.training.clips.bags import join, read_bag
from batcache.training.clips.embeddings import embed_bags
from batcache.training.events import RunStarted, TimeLeft
from batcache.training.inputs import choose_split, describe_inputs
from batcache.training.loop import resume, train
from batcache.training.runs import BEST, read_run
from tests.small_world import CPU, SETTINGS, SmallWorld, train_fully, tweak
from tests.training.same_run import assert_equal, assert_same_run, epochs_of, stop_after


@pytest.fixture(scope="module")
def trunk_run(small: SmallWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose trunk has heard the small world's three species."""
    longer = tweak(small.config, training={"epochs": 4})
    return train_fully(longer, small.store, small.manifest, tmp_path_factory.mktemp("runs"))[0]


@pytest.fixture
def config(small: SmallWorld, trunk_run: Path) -> Config:
    model = ModelConfig("max", init=trunk_run, heads=2, head_size=8, rnn_hidden_size=4)
    settings = load_config(base={"data": SETTINGS["data"]})
    return replace(
        settings,
        data=small.config.data,
        model=model,
        training=replace(settings.training, epochs=3, batch_size=4, simulated_sounds=3),
    )


def test_the_trunk_stays_and_the_heads_learn(
    small: SmallWorld, config: Config, trunk_run: Path, tmp_path: Path
) -> None:
    run, told = train_fully(tweak(config, model={"adapt": 0.0}), small.store, small.manifest, tmp_path)
    before, after = load_checkpoint(trunk_run / BEST), load_checkpoint(run / BEST)
    kept = pick_trunk(after.weights)
    assert kept and all(torch.equal(value, kept[name]) for name, value in pick_trunk(before.weights).items())
    losses = [epoch.train_loss for epoch in epochs_of(told)]
    assert losses[-1] < losses[0]
    assert after.epoch == 3, "the last epoch is kept: none is chosen"


def test_all_training_clips_teach_where_no_validation_is_given(small: SmallWorld, config: Config) -> None:
    joined = join(small.manifest, small.store)
    bags = tuple(bag.with_split("train") for bag in joined.bags)
    split = choose_split(replace(joined, bags=bags), small.manifest, config)
    assert split.train == bags and not split.val
    drawn = choose_split(replace(joined, bags=bags), small.manifest, tweak(config, model={"train": "all"}))
    assert drawn.val, "where an epoch is chosen, clips are drawn to choose it by"


def test_a_run_without_validation_tells_its_training_loss(small: SmallWorld, config: Config, tmp_path: Path) -> None:
    clips = tuple(structs.replace(clip, split="train") for clip in small.manifest.clips)
    run, told = train_fully(config, small.store, replace(small.manifest, clips=clips), tmp_path)
    assert all(epoch.val_loss is None and epoch.val_macro_ap is None for epoch in epochs_of(told))
    assert (told[-1].metric, told[-1].best_score) == ("train_loss", epochs_of(told)[-1].train_loss)
    assert load_checkpoint(run / BEST).metric == "train_loss"


def test_a_stopped_run_goes_on_as_if_it_had_never_stopped(small: SmallWorld, config: Config, tmp_path: Path) -> None:
    whole, _ = train_fully(config, small.store, small.manifest, tmp_path / "whole")
    stopped = stop_after(config, small, small.manifest, tmp_path / "stopped", 2)
    resume(stopped, small.store, small.manifest, CPU)
    assert_same_run(whole, stopped)


def test_a_run_is_extended_without_the_trunk_that_it_began_with(
    small: SmallWorld, config: Config, trunk_run: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(trunk_run, tmp_path / "trunk"))
    settings = tweak(config, model={"init": copy})
    run, _ = train_fully(tweak(settings, training={"epochs": 2}), small.store, small.manifest, tmp_path / "short")
    whole, _ = train_fully(settings, small.store, small.manifest, tmp_path / "long")
    shutil.rmtree(copy)
    resume(run, small.store, small.manifest, CPU, epochs=3)
    assert_same_run(whole, run)
    assert read_run(run)["inputs"] == read_run(whole)["inputs"]


def test_embeddings_are_what_the_trunk_makes_of_frames(small: SmallWorld, config: Config, trunk_run: Path) -> None:
    from batcache.model.start import start_model

    model = start_model(config.model, small.store.features, small.manifest.species).model
    bags, frames = join(small.manifest, small.store).bags[:5], config.data.frames_per_instance
    embedded = embed_bags(model.trunk, small.store, bags, frames, CPU, lambda _: None)
    for bag, embedding in zip(bags, embedded.embeddings, strict=True):
        expected = model.trunk.embed(read_bag(small.store, bag, frames).float())
        torch.testing.assert_close(embedding.float(), expected, rtol=2e-3, atol=1e-3)  # kept in half precision
    assert embedded.counts == [bag.instances(frames) for bag in bags]


def test_training_leaves_the_callers_threads_as_they_were(small: SmallWorld, config: Config, tmp_path: Path) -> None:
    with limit_threads(2):
        train_fully(config, small.store, small.manifest, tmp_path)
        assert torch.get_num_threads() == 2


def test_heads_never_stop_early_and_say_so(small: SmallWorld, config: Config, tmp_path: Path) -> None:
    told: list[object] = []
    settings = tweak(config, training={"patience": 1, "run_dir": tmp_path})
    report = train(settings, small.store, small.manifest, CPU, on_progress=lambda p: told.append(p.result))
    (left,) = (result for result in told if isinstance(result, TimeLeft))
    assert not left.may_stop_early and report.epochs == config.training.epochs
    (started,) = (result for result in told if isinstance(result, RunStarted))
    assert "without effect on heads alone: training.patience" in started.notes


def test_what_heads_do_not_use_changes_nothing_and_moves_no_digest(
    small: SmallWorld, config: Config, tmp_path: Path
) -> None:
    unused = {"scheduler": "plateau", "patience": 1, "workers": 3, "validation_share": 0.5, "keep_on_gpu": "off"}
    other = tweak(config, training=unused, augmentation={"noise_std": 9.0, "time_masking": False})
    run, _ = train_fully(config, small.store, small.manifest, tmp_path / "one")
    same, _ = train_fully(other, small.store, small.manifest, tmp_path / "other")
    one, two = load_checkpoint(run / BEST), load_checkpoint(same / BEST)
    assert_equal(dict(one.weights), dict(two.weights))
    assert read_run(run)["inputs"] == read_run(same)["inputs"]


@pytest.mark.parametrize("train", ["head", "all"])
def test_no_number_of_heads_depends_on_the_size_that_bags_are_padded_to(
    small: SmallWorld, config: Config, tmp_path: Path, train: str
) -> None:
    settings = tweak(config, model={"train": train}, training={"epochs": 1})
    run, padded = (
        train_fully(tweak(settings, data={"bag_size": size}), small.store, small.manifest, tmp_path / str(size))[0]
        for size in (1, 9)
    )
    assert_equal(dict(load_checkpoint(run / BEST).weights), dict(load_checkpoint(padded / BEST).weights))
    assert read_run(run)["inputs"] == read_run(padded)["inputs"]


def test_another_trunk_is_another_input(small: SmallWorld, config: Config, trunk_run: Path, tmp_path: Path) -> None:
    other = train_fully(tweak(small.config, training={"seed": 5}), small.store, small.manifest, tmp_path)[0]
    split = choose_split(join(small.manifest, small.store), small.manifest, config)

    def digest(init: Path) -> str:
        settings = tweak(config, model={"init": init})
        return describe_inputs(settings, small.store, split, small.manifest.species)

    assert digest(trunk_run) == digest(trunk_run / BEST) != digest(other)


def test_with_all_the_trunk_learns_too_and_more_slowly(
    small: SmallWorld, config: Config, trunk_run: Path, tmp_path: Path
) -> None:
    settings = tweak(config, model={"train": "all", "adapt": 0.0}, training={"epochs": 1, "weight_decay": 0.0})
    run, _ = train_fully(settings, small.store, small.manifest, tmp_path)
    before, after = pick_trunk(load_checkpoint(trunk_run / BEST).weights), load_checkpoint(run / BEST)
    now = pick_trunk(after.weights)
    moved = {name: float((now[name] - value).abs().max()) for name, value in before.items() if value.ndim}
    assert all(change > 0 for name, change in moved.items() if name.endswith("weight"))
    assert all(change == 0 for name, change in moved.items() if "running" in name), "statistics stay"
    steps = -(-len([clip for clip in small.manifest.clips if clip.split == "train"]) // 4)
    assert max(moved.values()) <= 1.01 * 0.1 * settings.training.learning_rate * steps + 1e-6


def test_heads_too_need_a_species_with_both_labels(small: SmallWorld, config: Config, tmp_path: Path) -> None:
    clips = tuple(structs.replace(clip, labels=(1, 1, 1)) for clip in small.manifest.clips)
    with pytest.raises(ManifestError, match="no species has both labels"):
        train_fully(config, small.store, replace(small.manifest, clips=clips), tmp_path)
