"""Embeddings that several trainings share."""

from pathlib import Path

import pytest
import torch

from batcache.config.settings import ModelConfig
from batcache.errors import RunError
from batcache.model.pretrained import PretrainedMILModel
from batcache.model.start import start_model
from batcache.progress import Progress
from batcache.training.clips.bags import join
from batcache.training.clips.embeddings import Embeddings, embed_bags
from tests.small_world import CPU, SmallWorld


@pytest.fixture
def model(small: SmallWorld, trained: Path) -> PretrainedMILModel:
    started = start_model(ModelConfig(init=trained), small.store.features, small.manifest.species).model
    assert isinstance(started, PretrainedMILModel)
    return started


def test_shared_embeddings_are_those_computed_anew_and_are_computed_once(
    small: SmallWorld, model: PretrainedMILModel
) -> None:
    bags, frames = join(small.manifest, small.store).bags, small.config.data.frames_per_instance
    shared, told = Embeddings(), []
    for some in (bags[:4], bags[2:6], bags):
        found = shared.embed(model.trunk, small.store, some, frames, CPU, told.append)
        anew = embed_bags(model.trunk, small.store, some, frames, CPU, lambda _: None)
        assert found.bags == anew.bags
        assert all(map(torch.equal, found.embeddings, anew.embeddings))
    assert [progress.stage for progress in told if isinstance(progress, Progress)] == ["embed"] * len(bags)


def test_another_trunk_and_another_cut_are_computed_anew(small: SmallWorld, model: PretrainedMILModel) -> None:
    bags, frames = join(small.manifest, small.store).bags[:2], small.config.data.frames_per_instance
    shared, told = Embeddings(), []
    shared.embed(model.trunk, small.store, bags, frames, CPU, told.append)
    shared.embed(model.trunk, small.store, bags, frames // 2, CPU, told.append)
    with torch.no_grad():
        model.trunk.projection.weight[0, 0] += 1
    changed = shared.embed(model.trunk, small.store, bags, frames, CPU, told.append)
    assert len(told) == 3 * len(bags)
    anew = embed_bags(model.trunk, small.store, bags, frames, CPU, lambda _: None)
    assert all(map(torch.equal, changed.embeddings, anew.embeddings))


def test_what_nobody_asks_for_any_more_is_forgotten(small: SmallWorld, model: PretrainedMILModel) -> None:
    bags, frames = join(small.manifest, small.store).bags[:3], small.config.data.frames_per_instance
    shared, told = Embeddings(), []
    for _ in range(2):  # asked for by both of two trainings: it stays
        shared.embed(model.trunk, small.store, bags, frames, CPU, told.append)
        shared.forget_unasked()
    assert len(told) == 3
    shared.embed(model.trunk, small.store, bags[:1], frames, CPU, told.append)
    shared.forget_unasked()
    shared.embed(model.trunk, small.store, bags, frames, CPU, told.append)
    assert len(told) == 3 + 2, "the other two anew"


@pytest.mark.parametrize("weight", [1e9, float("nan")])
def test_a_trunk_beyond_half_precision_is_named_with_the_recording(
    small: SmallWorld, model: PretrainedMILModel, weight: float
) -> None:
    bags, frames = join(small.manifest, small.store).bags[:2], small.config.data.frames_per_instance
    with torch.no_grad():
        model.trunk.projection.bias.fill_(weight)
    with pytest.raises(RunError, match=rf"model\.init: its trunk makes of {bags[0].clip.filename} numbers") as caught:
        embed_bags(model.trunk, small.store, bags, frames, CPU, lambda _: None)
    assert "65,504" in str(caught.value) and "\n" not in str(caught.value)


def test_where_all_steps_are_there_their_maximum_is_not_computed_again(
    small: SmallWorld, model: PretrainedMILModel
) -> None:
    bags, frames = join(small.manifest, small.store).bags[:6], small.config.data.frames_per_instance
    anew = embed_bags(model.trunk, small.store, bags, frames, CPU, lambda _: None)
    told: list[Progress] = []
    embeddings = Embeddings()
    embeddings.embed(model.trunk, small.store, bags[:3], frames, CPU, told.append, by_steps=True)
    for _ in range(2):
        pooled = embeddings.embed(model.trunk, small.store, bags, frames, CPU, told.append)
        assert all(map(torch.equal, pooled.steps, anew.steps))
        assert [(step.done, step.total) for step in told] == [(i, 3) for _ in range(2) for i in (1, 2, 3)]
        embeddings.forget_unasked()
