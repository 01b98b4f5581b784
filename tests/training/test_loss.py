"""The loss knows no unknown label, and weighs positives as it is told."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec import structs

from batcache.errors import ConfigError
from batcache.training.clips.bags import Bag, join
from batcache.training.loss import class_weights, masked_loss
from tests.small_world import SPECIES, SmallWorld, train_fully, tweak

ONES = torch.ones(3)


def test_the_loss_is_the_mean_over_known_labels_worked_by_hand() -> None:
    logits = torch.tensor([[0.0, 2.0], [-1.0, 3.0]])
    labels = torch.tensor([[1, 0], [-1, 1]], dtype=torch.int8)
    expected = (3 * math.log(2) + math.log(1 + math.exp(2)) + math.log(1 + math.exp(-3))) / 3
    assert masked_loss(logits, labels, torch.tensor([3.0, 1.0])).item() == pytest.approx(expected, rel=1e-6)


def test_an_unknown_label_adds_neither_loss_nor_gradient() -> None:
    labels = torch.tensor([[1, 0, -1], [0, -1, 1]], dtype=torch.int8)
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = masked_loss(logits, labels, ONES)
    loss.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad == 0, labels == -1)
    assert masked_loss(logits.detach().masked_fill(labels == -1, 50.0), labels, ONES) == loss


def test_a_bag_of_unknown_labels_adds_nothing() -> None:
    logits, labels = torch.randn(2, 3), torch.tensor([[1, 0, 1]], dtype=torch.int8)
    unknown = torch.full((1, 3), -1, dtype=torch.int8)
    assert masked_loss(logits, torch.cat([labels, unknown]), ONES) == masked_loss(logits[:1], labels, ONES)
    assert masked_loss(logits[1:], unknown, ONES) == 0


def labels_of(bags: Iterable[Bag]) -> list[tuple[int, ...]]:
    return [bag.clip.labels for bag in bags]


def weights(small: SmallWorld, given: Any) -> list[float]:
    config = tweak(small.config, training={"class_weights": given})
    return class_weights(config, labels_of(join(small.manifest, small.store).split("train")), SPECIES).tolist()


def test_class_weights_come_as_none_a_list_or_a_mapping(small: SmallWorld) -> None:
    assert weights(small, None) == [1, 1, 1]
    assert weights(small, (1.0, 2.0, 0.5)) == [1, 2, 0.5]
    assert weights(small, {"High": 4.0}) == [1, 4, 1]


def test_balanced_weights_are_known_negatives_over_known_positives(small: SmallWorld) -> None:
    labels = labels_of(join(small.manifest, small.store).split("train"))
    for weight, column in zip(weights(small, "balanced"), zip(*labels, strict=True), strict=True):
        assert weight == pytest.approx(column.count(0) / column.count(1))
    assert any(-1 in row for row in labels)


def test_balanced_weights_stay_between_a_hundredth_and_a_hundred(small: SmallWorld) -> None:
    manifest = small.read([f"night{n}/{i}.wav,1,0,,train,{n}" for n in range(4) for i in range(3)])
    config = tweak(small.config, training={"class_weights": "balanced"})
    bags = join(manifest, small.store).bags
    assert class_weights(config, labels_of(bags), SPECIES).tolist() == pytest.approx([0.01, 1, 1])
    many = [*bags[:1], *(structs.replace(b, clip=structs.replace(b.clip, labels=(0, 1, -1))) for b in bags[1:] * 20)]
    assert class_weights(config, labels_of(many), SPECIES).tolist() == pytest.approx([100, 1 / 100, 1])


@pytest.mark.parametrize(
    ("given", "finding"), [((1.0, 2.0), "2 numbers for 3 species"), ({"Hihg": 2.0}, "no such species: Hihg")]
)
def test_class_weights_of_other_species_are_an_error_before_there_is_a_run(
    small: SmallWorld, tmp_path: Path, given: Any, finding: str
) -> None:
    config = tweak(small.config, training={"class_weights": given})
    with pytest.raises(ConfigError, match=finding):
        train_fully(config, small.store, small.manifest, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
